package agent

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// round is what the agent takes at once.
type round struct {
	// changes of an object each.
	changes []change
	// work is what they are estimated at.
	work int
	// calls is how many deliveries there had been, waiting which of them is the
	// first of each writer's that something is left of.
	calls   uint64
	waiting map[string]uint64
	// left is how many changes wait on.
	left int
	// slice is true if it is a slice of what one writer has waiting.
	slice  bool
	synced bool
	// mixed are the writers of which there are changes of policies and later ones of
	// what makes up sets of peers.
	mixed map[string]struct{}
	terms terms
	// reports are the source's; nil unless new ones have come, in which case said is
	// true.
	reports []error
	said    bool
}

// terms are what bears on how much may be taken. The zero value sets none.
type terms struct {
	// blocked reports whether nothing is to be taken of a writer but what frees addresses.
	blocked func(writer string) bool
	// large reports whether a writer's pods may wait for policies, with so many entries
	// of policies more. Nothing of it that bears on sets of peers is taken together with
	// an older change of a policy: pods would have what is older later.
	large func(writer string, more int) bool
	// weigh is how much work a change is.
	weigh func(*change) int
	// known reports whether a pod is in force already, in some version.
	known func(model.Ref) bool
}

// take returns the next round: no more work than the slice of a writer, where one
// unit is not more already. A negative slice means all, but for writers that are blocked.
func (q *queue) take(slice int, t terms) *round {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.begin()
	if slice < 0 {
		t.large = nil
	}
	r.terms = t
	var open []*backlog
	for _, b := range q.backlogs {
		if t.blocked == nil || !t.blocked(b.name) {
			open = append(open, b)
		}
	}
	all := 0
	if slice >= 0 {
		for _, b := range open {
			if t.known != nil {
				b.loosen(t.known, &q.loose)
			}
			b.cost = b.costs(slice, t.weigh)
			all += b.cost
		}
	}
	slices.SortFunc(open, inOrder)
	switch {
	case slice < 0 || all <= slice:
		for _, b := range open {
			r.add(b, math.MaxInt)
		}
		q.heavy = false
	default:
		q.cut(r, open, slice)
	}
	q.end(r)
	return r
}

// takeStart returns the first round of an agent whose kernel holds nothing: all that
// waits but, of namespaces with more than so much work in policies and NetworkSets, these.
// They are taken one by one later: the pods of the namespace wait for all of them anyway.
func (q *queue) takeStart(most int) *round {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.begin()
	of := func(e *entry) bool { return e.ref.Kind.IsPolicy() || e.ref.Kind == model.KindNetworkSet }
	held := map[string]bool{}
	for _, b := range q.backlogs {
		work := 0
		for _, e := range b.entries {
			if !e.over && of(e) {
				work += e.work
			}
		}
		if b.name == "" || !q.synced || work <= most {
			continue
		}
		held[b.name] = true
		left := newBacklog(b.name)
		for _, e := range b.entries {
			if !e.over && of(e) {
				e.unit = math.MaxUint64 - uint64(len(left.entries))
				left.entries = append(left.entries, e)
				if b.last[e.ref] == e {
					left.last[e.ref] = e
				}
			}
		}
		b.entries = slices.DeleteFunc(b.entries, of)
		r.add(b, math.MaxInt)
		q.backlogs[b.name] = left
	}
	for _, b := range slices.SortedFunc(maps.Values(q.backlogs), inOrder) {
		if !held[b.name] {
			r.add(b, math.MaxInt)
		}
	}
	q.end(r)
	return r
}

// begin makes a round of what goes with every one.
func (q *queue) begin() *round {
	r := &round{calls: q.calls, synced: q.synced, reports: q.reports, said: q.said, waiting: map[string]uint64{}, mixed: map[string]struct{}{}}
	q.reports, q.said = nil, false
	for _, e := range q.freed {
		r.changes = append(r.changes, e.change)
		r.work += e.work
	}
	q.freed = nil
	return r
}

// end notes what a round has left.
func (q *queue) end(r *round) {
	for name, b := range q.backlogs {
		if e := b.first(); e != nil {
			r.waiting[name] = e.call
			r.left += len(b.last)
		} else {
			delete(q.backlogs, name)
		}
	}
}

// inOrder puts what has no namespace first, and then those with least work.
func inOrder(x, y *backlog) int {
	if (x.name == "") != (y.name == "") {
		return cmp.Compare(len(x.name), len(y.name))
	}
	return cmp.Or(cmp.Compare(x.cost, y.cost), cmp.Compare(x.name, y.name))
}

// cut takes a part of what waits: of those without a namespace a slice, then of
// others, whole, as many as are a slice together; or else, and in every second
// round, a slice of the writer whose turn it is.
func (q *queue) cut(r *round, lists []*backlog, slice int) {
	var much []*backlog
	for _, b := range lists {
		if b.name != "" && b.cost > slice {
			much = append(much, b)
		}
	}
	if !q.heavy || len(much) == 0 {
		room, took := slice, false
		for _, b := range lists {
			switch {
			case b.first() == nil:
			case b.name == "":
				took = true
				r.add(b, slice)
			case b.cost <= room:
				took = true
				room -= b.cost
				r.add(b, math.MaxInt)
			}
		}
		if q.heavy = true; took {
			return
		}
	}
	b := slices.MinFunc(much, func(x, y *backlog) int { return cmp.Compare(x.served, y.served) })
	q.served++
	q.heavy, b.served = false, q.served
	r.slice = true
	r.add(b, slice)
}

// kindsOf reports whether some of the changes bear on sets of peers, and whether some
// are of policies.
func kindsOf(list []*entry) (bears, policies bool) {
	for _, e := range list {
		switch {
		case e.over:
		case e.ref.Kind.IsPolicy():
			policies = true
		default:
			bears = true
		}
	}
	return bears, policies
}

// whole reports whether all pods of a namespace are to have what the round brings.
func (r *round) whole(namespace string) bool {
	_, mixed := r.mixed[namespace]
	return mixed && r.terms.large != nil && !r.terms.large(namespace, 0)
}

// add moves units of a backlog to the round: as many as are no more work than the
// limit, and one at least. Of several changes of an object the last is moved.
func (r *round) add(b *backlog, limit int) {
	n, policies := 0, false
	var sum bill
	for n < len(b.entries) {
		end, with := n, sum
		for ; end < len(b.entries) && b.entries[end].unit == b.entries[n].unit; end++ {
			if !b.entries[end].over {
				with.add(b.entries[end])
			}
		}
		if n > 0 && sum.sum > 0 && with.sum > limit {
			break
		}
		bears, ofPolicies := kindsOf(b.entries[n:end])
		if policies && bears {
			if b.name != "" && r.terms.large != nil && r.terms.large(b.name, sum.policies) {
				break
			}
			r.mixed[b.name] = struct{}{}
		}
		policies = policies || ofPolicies
		n, sum = end, with
	}
	latest := make(map[model.Ref]*entry, n)
	for _, e := range b.entries[:n] {
		if !e.over {
			latest[e.ref] = e
		}
	}
	for _, e := range b.entries[:n] {
		if e.over {
			continue
		}
		if latest[e.ref] == e {
			r.changes = append(r.changes, e.change)
		}
		if b.last[e.ref] == e {
			delete(b.last, e.ref)
		}
		e.over, e.before = true, nil
	}
	b.entries = b.entries[n:]
	r.work += sum.sum
}
