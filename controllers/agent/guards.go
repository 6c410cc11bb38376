package agent

import (
	"context"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// guardsEvery is how often what the guards have met is read for a Status where
// nothing else calls for one. Reports are renewed no more often than that.
const guardsEvery = time.Minute

// nodeGuards follows what the guards of the node do and have met, for a Status. Run's
// goroutine does so, but for the reading of counters, where the backend can be asked beside it.
type nodeGuards struct {
	*node
	at      time.Time // of the next reading; zero: with the next Status that finds the kernel up to date
	modes   *model.Guards
	packets map[model.GuardName]model.GuardPackets
	err     error // of the last reading
	// answer has what was read beside Run; reading: that is under way.
	answer  chan counters
	reading bool
}

// guardPacketsOf returns what the guards have met; without counters nil.
func guardPacketsOf(counts map[dataplane.Origin]dataplane.Count) map[model.GuardName]model.GuardPackets {
	if counts == nil {
		return nil
	}
	out := map[model.GuardName]model.GuardPackets{}
	for o, c := range counts {
		name, counted, ok := o.Guard()
		if !ok {
			continue
		}
		n := out[name]
		if counted {
			n.Counted += c.Packets
		} else {
			n.Dropped += c.Packets
		}
		out[name] = n
	}
	return out
}

// look notes what the guards of a kernel that is up to date do, and from
// time to time what they have met. After an error what was known stays.
func (g *nodeGuards) look(ctx context.Context) {
	if modes := g.ix.Settings().Guards; g.modes == nil || *g.modes != modes {
		g.modes = &modes
	}
	if !g.at.IsZero() {
		return
	}
	g.at = g.clock.Now().Add(guardsEvery)
	b, ok := g.opts.Backend.(dataplane.CounterReader)
	if !ok {
		g.take(countersOf(ctx, g.opts.Backend))
		return
	}
	if g.reading {
		return
	}
	g.reading = true
	g.beside.Go(func() {
		counts, err := b.ReadCounters(ctx)
		select {
		case g.answer <- counters{counts, err}:
		case <-ctx.Done():
		}
	})
}

// take notes what has been counted.
func (g *nodeGuards) take(c counters) {
	g.reading = false
	err := c.err
	if err == nil {
		g.packets, g.err = guardPacketsOf(c.counts), nil
		return
	}
	g.metrics.failed("counters")
	if g.err == nil || g.err.Error() != err.Error() {
		g.log.Error("cannot read the guards' counters; the last values are reported", "error", err)
	}
	g.err = err
}
