package agent

import (
	"context"
	"maps"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// partSize is how large the policies are, together, of the pods that get a new effective
// policy in one transaction, in entries: those of a group of pods with the same
// policies count once. A group with larger policies has a transaction of its own.
const partSize = 1000

// lateness is what transactions have left: groups of pods whose policies are large wait
// for their new effective policy while others' changes go first. Each keeps the one that
// it has until then; new pods have none and are denied all.
//
// While pods of a namespace wait, nothing more is taken of what it writes, so that for
// each pod things happen in the order in which they were written.
type lateness struct {
	// since is, by namespace whose pods wait, the first delivery that the kernel may
	// not hold what it says of them.
	since map[string]uint64
	// longest: the next transaction is of the group that has waited longest. preparing:
	// the backend has work that packets do not see; ready: what the group is to have is
	// in the kernel.
	longest, preparing, ready bool
	// skipped: the last transaction has left that work, for others'. failed is how often
	// it has failed since it was last done.
	skipped bool
	failed  int
	// holding are, by namespace, the last delivery before the first transaction, where
	// something of what there was is still left in the queue: until that is taken its pods
	// are denied all.
	holding map[string]uint64
	// last is the round before.
	last *round
}

func newLateness() *lateness {
	return &lateness{since: map[string]uint64{}, holding: map[string]uint64{}, last: &round{}}
}

// blocks reports whether nothing is to be taken of what a namespace writes.
func (l *lateness) blocks(namespace string) bool {
	_, late := l.since[namespace]
	return late && namespace != "" && !l.holds(namespace)
}

// holds reports whether pods of a namespace wait for what there was at the start.
func (l *lateness) holds(namespace string) bool {
	_, held := l.holding[namespace]
	return held
}

// noteHolding notes for what a round has left, the first one of all or a later one.
func (l *lateness) noteHolding(r *round, first bool) {
	for ns, at := range r.waiting {
		if first && ns != "" {
			l.holding[ns] = max(at, r.calls)
		}
	}
	for ns, until := range l.holding {
		if at, left := r.waiting[ns]; !left || at > until {
			delete(l.holding, ns)
		}
	}
}

// flushPart brings the index up to date, but for what waits on, as far as a round asks
// for. Before the kernel holds anything of pods all that is small comes first; where
// it holds rules of another agent's already they stay whole until all of them
// can be replaced.
func (w *kernelWriter) flushPart(r *round, first bool) *index.Delta {
	l := w.late
	part := index.Part{Limit: partSize, Longest: l.longest, Whole: r.whole, Ready: l.ready, Hold: l.holds}
	if _, prepares := w.opts.Backend.(dataplane.Preparer); prepares {
		part.Ahead = l.failed < isolateAfter // then it is done at once, to see whether an object is to blame
	}
	if first {
		part.Whole = nil
	}
	// Nothing may wait when the first transaction comes, neither here nor, for that, in the
	// queue: it would lose the rules that the agent before has left for it.
	if (first || !w.synced) && !w.fresh {
		part.Limit, part.Hold = 0, nil
	}
	d := w.flushIndex(&part)
	l.ready = false
	w.noteLate(r)
	return d
}

// prepare has the backend do some of the work that packets do not see. Where the round
// before it has left it to a later one, others' changes do not go first again.
func (w *kernelWriter) prepare(ctx context.Context, r *round) error {
	b, ok := w.opts.Backend.(dataplane.Preparer)
	if !ok {
		return nil
	}
	if w.late.skipped = len(r.changes) > 0 && !w.late.skipped; w.late.skipped {
		w.late.preparing = true
		return nil
	}
	e, refs := w.ix.Ahead()
	ends := w.comp.Ahead(e, refs)
	if !w.late.preparing && len(ends) == 0 {
		return nil
	}
	var done bool
	prepare := func() (err error) {
		done, err = b.Prepare(ctx, ends, w.state())
		return err
	}
	err := w.own(prepare)
	w.late.preparing = err == nil && !done
	if w.late.ready = err == nil && done && len(ends) > 0; w.late.ready {
		w.late.failed = 0
	}
	if err != nil && ctx.Err() == nil {
		w.late.failed++
		w.syncNext()
		w.metrics.failed("prepare")
	}
	return err
}

// noteLate notes whose pods wait after a round.
func (w *kernelWriter) noteLate(r *round) {
	l := w.late
	before := l.since
	l.since = map[string]uint64{}
	for _, ns := range w.ix.Late() {
		first, waited := before[ns]
		if !waited {
			first = l.last.calls + 1
			for _, from := range []string{"", ns} {
				if at, left := l.last.waiting[from]; left {
					first = min(first, at)
				}
			}
		}
		l.since[ns] = first
	}
	l.longest = len(l.since) > 0 && !l.longest
	l.last = r
	w.metrics.late.Set(float64(len(l.since)))
}

// waits reports whether pods of some namespace wait.
func (l *lateness) waits() bool { return len(l.since) > 0 }

// goesOn reports whether there is something to do though nothing new has come.
func (l *lateness) goesOn() bool { return l.waits() || l.preparing }

// waiting is, by writer, the first delivery that something waits of: in the queue
// after a round, or here.
func (l *lateness) waiting(r *round) map[string]uint64 {
	out := maps.Clone(r.waiting)
	for ns, first := range l.since {
		if at, left := out[ns]; !left || first < at {
			out[ns] = first
		}
	}
	return out
}

// latePolicies are the policies for which pods wait.
func (n *node) latePolicies() map[model.Ref]struct{} {
	out := map[model.Ref]struct{}{}
	n.ix.LatePolicies(func(r model.Ref) { out[r] = struct{}{} })
	return out
}
