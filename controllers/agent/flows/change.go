package flows

import (
	"time"
	"unique"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
)

// change is one that is under way, or so new that events from before it may come.
type change struct {
	// ambiguous: what is read may have been decided before or after it.
	ambiguous bool
	// policies: those have changed, not only pods.
	policies bool
	// before are the flows known before it, of generation; ports are those that rules
	// told apart then.
	before     map[flow]*key
	ports      *sourcePorts
	generation uint64
	settled    time.Time // zero: the kernel is not up to date
}

// Begin is called before the index changes; policies says that more than pods do. The
// index is not asked before Settle. It may be called again before that. All calls of Begin,
// Settle, Note, Configure and Samples come from one goroutine.
func (r *Recorder) Begin(policies bool) {
	if r == nil {
		return
	}
	if !r.changing {
		r.world.Lock()
		r.changing = true
		if r.reader != nil && !r.change.ambiguous {
			r.readAhead()
		}
		r.portsBefore = r.ports
	}
	r.change.policies = r.change.policies || policies
	if policies {
		r.ports = nil
	}
}

// readAhead reads what has come before a change. It waits for nothing.
func (r *Recorder) readAhead() {
	if !r.tableMu.TryLock() {
		return
	}
	defer r.tableMu.Unlock()
	_, _ = r.reader.Read(ahead, r.take) // an error comes again
}

// Settle is called when the agent has done what a change needs. upToDate says that the
// kernel's rules are what the index says.
func (r *Recorder) Settle(upToDate bool) {
	if r == nil || !r.changing && upToDate == r.said {
		return
	}
	if !r.changing {
		r.world.Lock()
	} else {
		if !r.change.ambiguous {
			r.change.before, r.change.generation = r.cache, r.generation
			r.change.ports = r.portsBefore
		}
		r.cache = nil
		r.generation++
		r.change.ambiguous = true
	}
	r.change.settled = time.Time{}
	if upToDate {
		r.change.settled = r.clock.Now()
		if !r.ready {
			r.ready = true
			r.ring()
		}
	}
	// What the Index finds out when it is first asked is found before two ask at once.
	_, _ = r.opts.Index.ClusterAddrs(), r.opts.Index.ClusterBlocks()
	r.changing, r.said = false, upToDate
	r.world.Unlock()
}

// doubt is the key of a connection of which it cannot be said whether it began before or
// after a change: k, if both decide alike. What would have been decided before is known of
// flows that were seen before.
func (r *Recorder) doubt(k *key, e *events.Event) *key {
	before := &key{decided: unknown, generation: r.change.generation}
	if r.change.ports != nil {
		if known, ok := r.change.before[flowOf(e, r.change.ports)]; ok {
			before.decided = known.decided
		}
	}
	if before.decided == k.decided || before.decided == unknown && !r.change.policies {
		return k
	}
	a := attribution{identity: k.identity, decided: k.decided, srcNode: k.srcAddrs.node, dstNode: k.dstAddrs.node}
	if found := r.table.find(&a, k.generation, before); found != nil {
		found.generation = k.generation
		return found
	}
	return k
}

// unknown is what would have been decided about a flow that nobody asked about in time.
var unknown = unique.Make(decidedKey{})
