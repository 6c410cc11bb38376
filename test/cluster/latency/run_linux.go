package latency

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Results of a Trigger.
type Results struct {
	Name        string
	Deny, Allow []Round
}

// Run takes so many rounds of a trigger.
func Run(ctx context.Context, s *Stream, t Trigger, rounds int) (res Results, err error) {
	res.Name = fmt.Sprintf("%s, %s", t.Name, s.protocol)
	if t.Prepare != nil {
		if err := t.Prepare(ctx); err != nil {
			return res, fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	if t.Clean != nil {
		defer func() {
			if failed := t.Clean(context.WithoutCancel(ctx)); err == nil && failed != nil {
				err = fmt.Errorf("%s: %w", t.Name, failed)
			}
		}()
	}
	for i := range rounds {
		// Not in step with anything that happens every so often.
		time.Sleep(time.Duration(i*37%101) * time.Millisecond)
		d, err := s.Deny(ctx, t.Deny)
		if err != nil {
			return res, fmt.Errorf("%s, round %d: %w", res.Name, i, err)
		}
		a, err := s.Allow(ctx, t.Allow)
		if err != nil {
			return res, fmt.Errorf("%s, round %d: %w", res.Name, i, err)
		}
		res.Deny, res.Allow = append(res.Deny, d), append(res.Allow, a)
	}
	return res, nil
}

// Rows of the results: deny, allow, and what the calls took.
func (r Results) Rows() []Row {
	took := func(list []Round) (out []time.Duration) {
		for _, x := range list {
			out = append(out, x.Took)
		}
		return out
	}
	var calls []time.Duration
	for _, list := range [][]Round{r.Deny, r.Allow} {
		for _, x := range list {
			calls = append(calls, x.Call)
		}
	}
	return []Row{{r.Name + ": deny", took(r.Deny)}, {r.Name + ": allow", took(r.Allow)}, {r.Name + ": the call alone", calls}}
}

// odd says in which rounds packets fared otherwise than those around them; "": in none.
func (r Results) odd() string {
	var all []string
	for _, half := range []struct {
		name   string
		rounds []Round
	}{{"deny", r.Deny}, {"allow", r.Allow}} {
		packets, rounds := 0, 0
		for _, x := range half.rounds {
			if packets += x.Odd; x.Odd > 0 {
				rounds++
			}
		}
		if packets > 0 {
			all = append(all, fmt.Sprintf("%s: %s: %d in %d rounds", r.Name, half.name, packets, rounds))
		}
	}
	return strings.Join(all, "; ")
}
