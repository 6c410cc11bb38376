package flows

import (
	"context"

	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// readDenied has the sample of denied packets read until sampled is called. Who was denied
// is known by the sample, how often by the rules' counters; see scale.
func (r *Recorder) readDenied() {
	if r.opts.OpenDenied == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	r.sampled = func() { cancel(); <-over }
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			if err := r.readSample(ctx); err != nil {
				r.log.Warn("who is denied is not recorded; all else is", "error", err, "tryingAgainEvery", retry)
			}
			t := r.clock.NewTimer(retry)
			select {
			case <-ctx.Done():
			case <-t.C():
			}
			t.Stop()
		}
	}()
}

func (r *Recorder) readSample(ctx context.Context) error {
	reader, err := r.opts.OpenDenied()
	if err != nil {
		return err
	}
	err = reader.Run(ctx, r.deny)
	if closed := reader.Close(); err == nil {
		err = closed
	}
	return err
}

// deny counts a packet that was denied.
func (r *Recorder) deny(p *nflog.Packet) {
	if !p.Src.IsValid() || p.Fragment || p.Src.IsLoopback() || p.Dst.IsLoopback() {
		return
	}
	e := events.Event{Kind: events.Began, Original: conntrack.Tuple{
		Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, SrcPort: p.SrcPort, DstPort: p.DstPort, Type: p.ICMPType, Code: p.ICMPCode,
	}, Reply: conntrack.Tuple{Src: p.Dst, Dst: p.Src, Protocol: p.Protocol, SrcPort: p.DstPort, DstPort: p.SrcPort}}
	r.world.Lock()
	defer r.world.Unlock()
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	if r.reader == nil {
		return
	}
	k := r.keyOf(&e)
	c := r.table.in(k)
	c.denied++
	c.generation = r.generation
	if k != nil {
		k.weight++
		c.generation = k.generation
	}
}

// countDenials returns how many packets each rule has denied so far; nil: that is not known.
func (r *Recorder) countDenials() map[flows.RuleKey]uint64 {
	if r.opts.Denials == nil || r.opts.OpenDenied == nil {
		return nil
	}
	now, err := r.opts.Denials()
	if err != nil {
		r.log.Debug("how many packets rules deny is not known", "error", err)
		return nil
	}
	return now
}

// scale has the sample of the open window stand for all that rules have denied, as their
// counters have it: each packet of the sample for as many as were denied by its rule for
// each in the sample. What was denied without a sample waits for one: samples come a
// little later than packets are counted. noted has what is in records already.
func (t *table) scale(denied, noted map[flows.RuleKey]uint64) {
	samples := map[flows.RuleKey]uint64{}
	each := func(visit func(*count, flows.RuleKey)) {
		for i := range t.open.counts {
			c := &t.open.counts[i]
			if c.key == nil || c.denied == 0 {
				continue
			}
			if k, ok := c.key.denier(); ok {
				visit(c, k)
			}
		}
	}
	each(func(c *count, k flows.RuleKey) { samples[k] += c.denied })
	left, rest := map[flows.RuleKey]uint64{}, map[flows.RuleKey]uint64{}
	for k, n := range samples {
		left[k], rest[k] = n, n
		if now, ok := denied[k]; ok {
			if _, begun := t.sampled[k]; !begun {
				t.sampled[k] = noted[k]
			}
			t.sampled[k] += n
			// Either may be behind the other.
			now = max(now, t.sampled[k], noted[k])
			left[k], noted[k] = now-noted[k], now
		}
	}
	each(func(c *count, k flows.RuleKey) {
		// What is left by rounding goes to those that follow.
		n := left[k] * c.denied / rest[k]
		left[k], rest[k] = left[k]-n, rest[k]-c.denied
		c.key.weight += n - min(n, c.denied)
		c.denied = n
	})
}

// denier is the rule that denied.
func (k *key) denier() (flows.RuleKey, bool) {
	d := k.decided.Value()
	for _, v := range []*verdictKey{&d.egress, &d.ingress} {
		if v.known && v.verdict.Action == model.Deny {
			return flows.RuleKey{Policy: v.verdict.Policy, Tier: v.verdict.Tier, Direction: v.verdict.Direction, Rule: v.verdict.Rule}, true
		}
	}
	return flows.RuleKey{}, false
}
