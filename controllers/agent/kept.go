package agent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tierwall/tierwall/controllers/agent/kept"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// keepDelay is the least time from a change to the file that has it.
const keepDelay = 5 * time.Second

// keeper writes what the node is to enforce from its next boot until the source is in
// sync (package kept), and puts what was written into the kernel when the agent starts.
//
//	restore   before the first object is read
//	note      a change may concern what is kept
//	due       it is time to write, in a goroutine of its own
//	last      the agent ends
//
// Without Options.Boot it does nothing.
type keeper struct {
	*node
	intake *intake
	// at is when what has changed is to be written; zero: nothing has changed.
	at   time.Time
	busy atomic.Bool
}

// restore is the first thing that a starting agent does. It reports whether the kernel
// holds nothing of Tierwall's but what was kept; false where that is not known. A failure
// costs nothing but what was kept.
func (k *keeper) restore(ctx context.Context) (fresh bool) {
	if k.opts.Boot == nil {
		return false
	}
	boot := *k.opts.Boot
	if boot.Links == nil {
		boot.Links = k.opts.Links
	}
	err := k.own(func() error {
		restored, err := boot.Restore(ctx, k.opts.Backend, k.opts.Compiler, k.log)
		fresh = restored || err == nil && boot.Holds != nil && !boot.Holds()
		return err
	})
	if err != nil {
		k.metrics.failed("kept")
		k.log.Error("kept state is not in force: nothing is enforced before the cluster has been read", "error", err)
	}
	return fresh
}

// note notes a change that concerns what is kept.
func (k *keeper) note(d *index.Delta, ch *dataplane.Change) {
	if k.opts.Boot == nil || !k.at.IsZero() {
		return
	}
	changed := d.Settings || len(d.Nodes) > 0 || len(ch.Sets) > 0 // of whatever endpoint: Save compares
	for i := range ch.Endpoints {
		changed = changed || ch.Endpoints[i].Ref.Kind == model.KindHostEndpoint
	}
	if changed {
		k.at = k.clock.Now().Add(keepDelay)
	}
}

// due is called when it is time to write. It waits on while the kernel is not up to date:
// what the kernel does not take is not kept.
func (k *keeper) due(upToDate bool) {
	if !upToDate || !k.busy.CompareAndSwap(false, true) {
		k.at = k.clock.Now().Add(keepDelay)
		return
	}
	s := k.take()
	k.beside.Go(func() { // a slow disk holds up no transaction
		defer k.busy.Store(false)
		k.save(s)
	})
}

// last writes what has not been written when the agent ends.
func (k *keeper) last(upToDate bool) {
	if k.opts.Boot == nil || k.at.IsZero() || !upToDate {
		return
	}
	k.save(k.take())
}

// take returns what the node enforces on its own traffic, to be written.
func (k *keeper) take() *kept.State {
	var hosts []*model.Endpoint
	for _, e := range k.comp.Endpoints() {
		if e.Ref.Kind != model.KindHostEndpoint {
			continue
		}
		o := k.intake.objects[e.Ref]
		if _, held := k.intake.held[e.Ref]; held {
			o = k.intake.standIn(e.Ref)
		}
		if h, ok := o.(*model.Endpoint); ok {
			hosts = append(hosts, h)
		}
	}
	return kept.Take(k.ix, k.opts.Node, hosts)
}

func (k *keeper) save(s *kept.State) {
	small, err := k.opts.Boot.Store.Save(s)
	switch {
	case err != nil:
		k.metrics.failed("kept")
		k.log.Warn("state for the next boot cannot be kept", "error", err)
	case small:
		k.log.Warn("state for the next boot is too large: only the blocks of pod addresses are kept")
	}
}
