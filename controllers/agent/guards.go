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

// nodeGuards is what the guards of the node do and have met. All of it is Run's.
type nodeGuards struct {
	at      time.Time // of the next reading; zero: with the next Status that finds the kernel up to date
	modes   *model.Guards
	packets map[model.GuardName]model.GuardPackets
	err     error // of the last reading
	// read has what was read beside Run, reading: that is under way.
	read    chan counters
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

// lookAtGuards notes what the guards of a kernel that is up to date do, and from
// time to time what they have met. After an error what was known stays.
func (a *Agent) lookAtGuards(ctx context.Context) {
	g := &a.guards
	if modes := a.ix.Settings().Guards; g.modes == nil || *g.modes != modes {
		g.modes = &modes
	}
	if !g.at.IsZero() {
		return
	}
	g.at = a.clock.Now().Add(guardsEvery)
	b, ok := a.opts.Backend.(dataplane.CounterReader)
	if !ok {
		a.guardsRead(a.countersNow(ctx))
		return
	}
	if g.reading {
		return
	}
	g.reading = true
	a.listers.Go(func() {
		counts, err := b.ReadCounters(ctx)
		select {
		case a.guards.read <- counters{counts, err}:
		case <-ctx.Done():
		}
	})
}

func (a *Agent) countersNow(ctx context.Context) counters {
	counts, err := a.opts.Backend.Counters(ctx)
	return counters{counts, err}
}

// guardsRead takes what has been counted.
func (a *Agent) guardsRead(c counters) {
	g, counts, err := &a.guards, c.counts, c.err
	if err == nil {
		g.packets, g.err = guardPacketsOf(counts), nil
		return
	}
	a.metrics.failed("counters")
	if g.err == nil || g.err.Error() != err.Error() {
		a.log.Error("the counters of guards cannot be read; the last ones that were are reported", "error", err)
	}
	g.err = err
}
