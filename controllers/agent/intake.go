package agent

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// intake takes the objects of the source into the index: it converts each, holds the
// objects of namespaces to their budgets, and decides in which form an object is there:
// as it is written, as a stand-in while the kernel does not take it or it is past a
// budget, or not at all.
//
//	take                take a round of changes
//	hold, release       exchange objects and their stand-ins, for the kernel writer
//	asWritten, instead  what the index has of an object, for a Status
//
// It owns what is known of single objects; it writes nothing but the index.
//
// Files: intake.go (the way of a change), standin.go (forms of objects), budgets.go,
// nodebudget.go and oversized.go (budgets of namespaces and of the node), foreign.go,
// clashes.go and ghosts.go (what is to be known of pods beside).
type intake struct {
	*node
	queue  *queue
	late   *lateness
	ledger *ledger

	// objects are the converted objects that could be to blame for a failure, as
	// the source wants them.
	objects map[model.Ref]model.Object
	// suspects have changed since the kernel last took all.
	suspects map[model.Ref]suspect
	held     map[model.Ref]error // objects that the kernel did not take, and why
	problems map[model.Ref]int   // how many things are wrong with objects
	nodes    map[string]struct{} // that the source knows of

	foreign *foreign
	clashes *clashes
	ghosts  ghosts
	budgets budgets

	// left is how many changes wait in the queue after the round at hand.
	left int
}

func newIntake(n *node, q *queue, late *lateness, l *ledger) *intake {
	return &intake{
		node: n, queue: q, late: late, ledger: l,
		objects: map[model.Ref]model.Object{}, suspects: map[model.Ref]suspect{}, held: map[model.Ref]error{},
		problems: map[model.Ref]int{}, nodes: map[string]struct{}{},
		foreign: newForeign(n), clashes: newClashes(n), budgets: newBudgets(),
	}
}

// take takes a round of changes into the index.
func (in *intake) take(r *round) {
	in.left = r.left
	for _, c := range r.changes {
		in.feed(c)
	}
	in.settleBudgets()
	in.settleNodeBudget()
}

// read converts an object, and reports what is wrong with it. nil: it is gone.
func (in *intake) read(r model.Ref, object runtime.Object) (o model.Object) {
	var problems []model.Problem
	if object != nil {
		scope, entries := scopeOf(object, in.ix.Settings().Budgets)
		if o, problems, _ = convert.Object(scope); entries > 0 {
			o = denyScope(o, entries)
		}
	}
	delete(in.problems, r)
	if len(problems) > 0 {
		in.problems[r] = len(problems)
		for _, p := range problems {
			in.metrics.failed("object")
			in.log.Warn("object has problems", "object", r.String(), "field", p.Field, "problem", p.Message, "failsClosed", !p.Warning)
		}
	}
	in.metrics.invalid.Set(float64(len(in.problems)))
	return o
}

// feed takes a change of one object into the index.
func (in *intake) feed(c change) {
	if c.ref.Kind == model.KindNodeLinks && in.opts.Links != nil && in.local(c.ref.Name) {
		return // the kernel itself is asked
	}
	if c.ref.Kind == model.KindService {
		in.flows.Note(c.ref, c.object)
		return
	}
	o := in.read(c.ref, c.object)
	before := in.objects[c.ref]
	if blamable(c.ref.Kind) {
		in.suspect(c.ref, o)
	}
	if c.ref.Kind == model.KindTier {
		in.budgets.tiers = true
	}
	if budgeted(c.ref) {
		in.budgets.came(c.ref, c.object, in.ix.Settings().Budgets)
		in.charge(c.ref, before, o)
		return
	}
	if c.ref.Kind == model.KindPodGhost {
		e, _ := o.(*model.Endpoint) // nil: gone
		in.ghosts.note(c.ref, e)
	}
	if c.ref.Kind == model.KindPod {
		e, _ := o.(*model.Endpoint) // nil: gone
		in.evict(e)
		in.notePod(c.ref, e)
		in.foreign.note(c.ref, e)
	}
	if c.ref.Kind == model.KindNode {
		n, _ := o.(*model.Node)
		in.foreign.noteNode(c.ref.Name, n)
		if o == nil {
			delete(in.nodes, c.ref.Name)
		} else {
			in.nodes[c.ref.Name] = struct{}{}
		}
	}
	in.put(c.ref, o)
	if c.ref.Kind == model.KindPod {
		e, _ := o.(*model.Endpoint)
		in.clashes.note(c.ref, e)
	}
}

// evict removes the pod that has lost an address to this one, by a change of it that
// waits in the queue: until that is taken, the other pod is not in the index.
func (in *intake) evict(e *model.Endpoint) {
	if e == nil || in.left == 0 {
		return
	}
	for _, addr := range e.Addrs {
		r := in.ix.Owner(addr)
		if r.Kind != model.KindPod || r == e.Ref {
			continue
		}
		later, waits := in.queue.waiting(r)
		if !waits {
			continue
		}
		o, _, _ := convert.Object(later)
		if p, ok := o.(*model.Endpoint); ok && slices.Contains(p.Addrs, addr) {
			continue
		}
		in.put(r, nil)
		in.notePod(r, nil)
		in.foreign.note(r, nil)
		in.clashes.note(r, nil)
	}
}

// large reports whether the policies of some pods of a namespace, and so many entries
// more, are more than a part.
func (in *intake) large(namespace string, more int) bool {
	n := in.budgets.book.Entries(namespace) + more
	return n > partSize && in.ix.LargestIn(namespace)+more > partSize
}

// weigh is how much work a change is: what the object has in writing or, of a pod, how
// much changes where it is a peer. A pod's own policies are not part of it, for they
// are cut apart (late.go).
func (in *intake) weigh(c *change) int {
	if c.ref.Kind != model.KindPod || c.object == nil {
		return convert.Entries(c.object)
	}
	o, _, _ := convert.Object(c.object)
	e, ok := o.(*model.Endpoint)
	if !ok {
		return 1
	}
	in.flows.Begin(false)
	in.ixMu.Lock()
	defer in.ixMu.Unlock()
	return in.ix.PeerWeight(e)
}

// known reports whether the index has a pod with an address: without one it sends and
// gets nothing.
func (in *intake) known(r model.Ref) bool {
	o := in.ix.Find(r)
	return o != nil && len(o.Addrs()) > 0
}
