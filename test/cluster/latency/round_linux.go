package latency

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Round is what one round has measured, from before the call.
type Round struct {
	// Took until, of an Allow, the first packet that got through arrived, and of a
	// Deny, the first of those was sent of which none gets through any more. That
	// is one Interval after the last packet that the deny should have stopped, or
	// more if the sender had to wait for a processor: a crowded machine makes
	// figures larger, never smaller.
	Took time.Duration
	// Call is what the call itself took.
	Call time.Duration
	// Odd counts packets that were stopped though one that was sent before them got
	// through after them: of an Allow, or of a Deny that let some through again.
	Odd int
}

// How long a stream must say the same before it is believed.
const (
	steady      = 10                     // flows before a call
	quiet       = 120 * time.Millisecond // and silentFlows of them, after a Deny
	silentFlows = 100
	roundLimit  = 10 * time.Second
	pollingTime = 2 * time.Millisecond
)

// Deny measures a call that closes what is open.
func (s *Stream) Deny(ctx context.Context, call func(context.Context) error) (Round, error) {
	defer s.start()()
	err := s.until(ctx, "packets to get through before a deny", func(l log) bool { return l.through >= steady && l.sent-l.lastNumber < steady })
	if err != nil {
		return Round{}, err
	}
	r, began, err := timed(ctx, call)
	if err != nil {
		return r, err
	}
	var end log
	err = s.until(ctx, "a deny", func(l log) bool {
		end = l
		return now()-max(l.last, began) > quiet && l.sent-l.lastNumber > silentFlows
	})
	r.Took, r.Odd = max(end.stopped-began, 0), end.odd
	return r, err
}

// Allow measures a call that opens what is closed.
func (s *Stream) Allow(ctx context.Context, call func(context.Context) error) (Round, error) {
	defer s.start()()
	err := s.until(ctx, "packets to be stopped before an allow", func(l log) bool { return l.sent >= 3*steady && l.sent-l.lastNumber > 2*steady })
	if err != nil {
		return Round{}, err
	}
	s.reset()
	r, began, err := timed(ctx, call)
	if err != nil {
		return r, err
	}
	var end log
	err = s.until(ctx, "an allow", func(l log) bool {
		end = l
		return l.through >= 2*steady
	})
	r.Took, r.Odd = end.first-began, end.odd
	return r, err
}

func timed(ctx context.Context, call func(context.Context) error) (r Round, began time.Duration, err error) {
	began = now()
	err = call(ctx)
	r.Call = now() - began
	return r, began, err
}

// start turns the stream on, with nothing noted; the result turns it off.
func (s *Stream) start() (stop func()) {
	s.reset()
	s.on.Store(true)
	return func() { s.on.Store(false) }
}

// reset forgets all flows; what is under way of them is not noted.
func (s *Stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base += uint64(len(s.flows))
	s.flows, s.err = nil, nil
}

// log sums up the flows since the last reset.
type log struct {
	sent, through int
	// first and last are when flows arrived, lastNumber how many had been sent
	// up to the last of those that have.
	first, last time.Duration
	lastNumber  int
	// stopped is when the first was sent after the last that arrived; zero: none was.
	stopped time.Duration
	// odd is how many did not arrive though one that was sent before them did.
	odd int
}

func (s *Stream) log() (l log, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.sent = len(s.flows)
	lost := 0
	for i, f := range s.flows {
		if f.through == 0 {
			if l.through > 0 {
				lost++
			}
			continue
		}
		l.odd, l.lastNumber = lost, i+1
		l.through++
		if l.first == 0 || f.through < l.first {
			l.first = f.through
		}
		l.last = max(l.last, f.through)
	}
	if l.lastNumber < len(s.flows) {
		l.stopped = s.flows[l.lastNumber].sent
	}
	return l, s.err
}

// until waits for the stream to show something.
func (s *Stream) until(ctx context.Context, what string, shows func(log) bool) error {
	tick := time.NewTicker(pollingTime)
	defer tick.Stop()
	limit := now() + cmp.Or(s.limit, roundLimit)
	for {
		if s.polled != nil {
			s.polled()
		}
		l, err := s.log()
		switch {
		case err != nil:
			return fmt.Errorf("%s %s: sender: %w", s.protocol, s.to, err)
		case shows(l):
			return nil
		case now() > limit:
			return fmt.Errorf("%s %s: waited %s for %s: %d of %d flows got through", s.protocol, s.to, cmp.Or(s.limit, roundLimit), what, l.through, l.sent)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
