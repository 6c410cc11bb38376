package agent

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// queue holds what the source has delivered and the agent has not yet taken, by
// writer. The agent takes it in rounds. All that waits is one round, unless it is
// more work than a slice: then writers with little waiting go first, and a writer
// with much has a slice of it in every second round.
//
// A writer's changes are taken in the order in which they came, and what one call
// said of its objects is taken together. So a cut shows a state that the writer's
// objects have had: a policy that takes another's place is there before that goes,
// and a pod does not come before policies of its namespace that are older. Between
// writers there is no order where there is a cut, as there is none between the kinds
// that an API server is watched for.
//
// What frees an address goes with every round, before all else: another pod that has
// the address by now must not be taken for the one that had it.
type queue struct {
	wake chan struct{} // of room 1

	mu       sync.Mutex
	backlogs map[string]*backlog
	freed    []*entry
	touched  []*backlog // by the call at hand
	served   uint64     // rounds of slices
	heavy    bool       // the next round is one of them, if there is need
	calls    uint64     // of Update and Synced
	synced   bool
	reports  []error
	said     bool // reports are new
}

// backlog is what waits of one writer: whoever writes the objects of a namespace or,
// under an empty name, those without one. Namespaces and nodes are among the latter:
// the labels by which a cluster's owner sets a namespace apart do not wait for what
// its tenant has written. Services, EndpointSlices and service accounts are among
// the former.
type backlog struct {
	name    string
	entries []*entry
	last    map[model.Ref]*entry // the latest of each object
	work    int
	served  uint64 // when it last had a slice
}

// entry is a change that waits.
type entry struct {
	change
	// before is the change of the same object that waits ahead of it; nil: none does.
	before *entry
	// call is the delivery that brought it, unit what it is taken together with.
	call, unit uint64
	work       int
	over       bool // something later stands for it
}

// change is an object that is new or changed or, with a nil object, gone.
type change struct {
	ref    model.Ref
	object runtime.Object
}

// staleMost is how many changes of a writer may wait, for each object that waits,
// before only the last ones of each count.
const staleMost = 2

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), backlogs: map[string]*backlog{}}
}

// Update implements Sink.
func (q *queue) Update(upserts []runtime.Object, deletes []model.Ref) {
	if len(upserts) == 0 && len(deletes) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls++
	for _, r := range deletes {
		q.put(change{ref: r})
	}
	for _, o := range upserts {
		if r, known := convert.RefOf(o); known {
			q.put(change{r, o})
		}
	}
	for _, b := range q.touched {
		b.bound()
	}
	q.touched = q.touched[:0]
	q.ring()
}

// writerOf names the backlog that changes of an object wait in.
func writerOf(r model.Ref) string {
	switch r.Kind {
	case model.KindNamespace, model.KindNode, model.KindNodeLinks:
		return ""
	}
	return r.Namespace
}

// frees reports whether a change goes ahead of its writer's others.
func (c *change) frees() bool {
	return c.ref.Kind == model.KindPodGhost || c.ref.Kind == model.KindPod && c.object == nil
}

func (q *queue) put(c change) {
	w := writerOf(c.ref)
	b := q.backlogs[w]
	if b == nil {
		b = &backlog{name: w, last: map[model.Ref]*entry{}}
		q.backlogs[w] = b
	}
	e := &entry{change: c, call: q.calls, unit: q.calls, work: convert.Entries(c.object)}
	if c.frees() {
		b.drop(c.ref)
		q.freed = append(q.freed, e)
		return
	}
	b.put(e)
	if n := len(q.touched); n == 0 || q.touched[n-1] != b {
		q.touched = append(q.touched, b)
	}
}

func (b *backlog) put(e *entry) {
	if n := len(b.entries); n > 0 {
		if at := b.entries[n-1]; !at.over && at.ref == e.ref && (n == 1 || b.entries[n-2].unit != at.unit) {
			// Nothing is between the two: the newer stands for both.
			b.work += e.work - at.work
			at.object, at.work, at.unit = e.object, e.work, e.unit
			return
		}
	}
	e.before = b.last[e.ref]
	b.entries, b.last[e.ref] = append(b.entries, e), e
	b.work += e.work
}

// bound unites what waits if there is much that something later stands for.
func (b *backlog) bound() {
	if len(b.entries) <= staleMost*len(b.last)+64 {
		return
	}
	b.entries = slices.DeleteFunc(b.entries, func(e *entry) bool { return e.over })
	if len(b.entries) > staleMost*len(b.last)+32 {
		b.unite()
	}
}

// drop forgets what waits of an object.
func (b *backlog) drop(r model.Ref) {
	for e := b.last[r]; e != nil && !e.over; e = e.before {
		b.work -= e.work
		e.over = true
	}
	delete(b.last, r)
}

// unite makes one unit of all that waits, in which only the last change of each
// object counts: a writer who changes the same objects again and again must not
// fill the agent's memory, and what lies between two changes of one may not be cut.
func (b *backlog) unite() {
	first := uint64(math.MaxUint64)
	var kept []*entry
	for _, e := range b.entries {
		first = min(first, e.call)
		if b.last[e.ref] == e {
			kept = append(kept, e)
		} else {
			b.work -= e.work
			e.over = true
		}
	}
	for _, e := range kept {
		e.call, e.unit, e.before = first, first, nil
	}
	b.entries = kept
}

// Synced implements Sink.
func (q *queue) Synced() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.synced = true
	q.calls++
	q.ring()
}

// Report implements Sink.
func (q *queue) Report(errs ...error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reports, q.said = errs, true
	q.ring()
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// delivered is how often the source has delivered something.
func (q *queue) delivered() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.calls
}

// waiting returns the last change of an object that waits.
func (q *queue) waiting(r model.Ref) (runtime.Object, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.backlogs[writerOf(r)]
	if b == nil || b.last[r] == nil {
		return nil, false
	}
	return b.last[r].object, true
}

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
	// what makes up sets of peers; large are writers of which there must not be both,
	// with so many entries of policies.
	mixed map[string]struct{}
	large func(writer string, more int) bool
	// reports are the source's; nil unless new ones have come, in which case said is
	// true.
	reports []error
	said    bool
}

// take returns the next round: no more work than the slice of a writer, where one
// unit is not more already. A negative slice means all. Nothing but what frees addresses
// is taken of writers that are blocked. Of those that are large nothing that bears on
// sets of peers is taken together with an older change of a policy: pods may wait for
// the latter, and would have what is older later.
func (q *queue) take(slice int, blocked func(writer string) bool, large func(writer string, more int) bool) *round {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.begin()
	if slice >= 0 {
		r.large = large
	}
	lists := q.sorted()
	all := 0
	var open []*backlog
	for _, b := range lists {
		if !blocked(b.name) {
			all += b.work
			open = append(open, b)
		}
	}
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
		left := &backlog{name: b.name, last: map[model.Ref]*entry{}}
		for _, e := range b.entries {
			if !e.over && of(e) {
				e.unit = math.MaxUint64 - uint64(len(left.entries))
				left.entries = append(left.entries, e)
				left.work += e.work
				if b.last[e.ref] == e {
					left.last[e.ref] = e
				}
			}
		}
		b.entries = slices.DeleteFunc(b.entries, of)
		r.add(b, math.MaxInt)
		q.backlogs[b.name] = left
	}
	for _, b := range q.sorted() {
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
	for _, b := range q.sorted() {
		if e := b.first(); e != nil {
			r.waiting[b.name] = e.call
			r.left += len(b.last)
		} else {
			delete(q.backlogs, b.name)
		}
	}
}

// sorted are the backlogs, that of what has no namespace first, then by their work.
func (q *queue) sorted() []*backlog {
	return slices.SortedFunc(maps.Values(q.backlogs), func(x, y *backlog) int {
		return cmp.Or(cmp.Compare(rankOf(x), rankOf(y)), cmp.Compare(x.work, y.work), cmp.Compare(x.name, y.name))
	})
}

// rankOf puts what has no namespace first.
func rankOf(b *backlog) int {
	if b.name == "" {
		return 0
	}
	return 1
}

// cut takes a part of what waits: of those without a namespace a slice, then of
// others, whole, as many as are a slice together; or else, and in every second
// round, a slice of the writer whose turn it is.
func (q *queue) cut(r *round, lists []*backlog, slice int) {
	var much []*backlog
	for _, b := range lists {
		if b.name != "" && b.work > slice {
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
			case b.work <= room:
				took = true
				room -= b.work
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
	return mixed && r.large != nil && !r.large(namespace, 0)
}

// first is the first change that waits, without those that something stands for.
func (b *backlog) first() *entry {
	for len(b.entries) > 0 && b.entries[0].over {
		b.entries = b.entries[1:]
	}
	if len(b.entries) == 0 {
		b.entries = nil
		return nil
	}
	return b.entries[0]
}

// add moves units of a backlog to the round: as many as are no more work than the
// limit, and one at least. Of several changes of an object the last is moved.
func (r *round) add(b *backlog, limit int) {
	n, sum, policies := 0, 0, false
	for n < len(b.entries) {
		end, work := n, 0
		for ; end < len(b.entries) && b.entries[end].unit == b.entries[n].unit; end++ {
			if !b.entries[end].over {
				work += b.entries[end].work
			}
		}
		if n > 0 && sum > 0 && sum+work > limit {
			break
		}
		bears, ofPolicies := kindsOf(b.entries[n:end])
		if policies && bears {
			if b.name != "" && r.large != nil && r.large(b.name, sum) {
				break
			}
			r.mixed[b.name] = struct{}{}
		}
		policies = policies || ofPolicies
		n, sum = end, sum+work
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
		b.work -= e.work
		e.over, e.before = true, nil
	}
	b.entries = b.entries[n:]
	r.work += sum
}
