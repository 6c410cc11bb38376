package agent

import (
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
)

// backlog is what waits of one writer: whoever writes the objects of a namespace or,
// under an empty name, those without one. Namespaces and nodes are among the latter:
// the labels by which a cluster's owner sets a namespace apart do not wait for what
// its tenant has written. Services, EndpointSlices and service accounts are among
// the former.
type backlog struct {
	name    string
	entries []*entry
	last    map[model.Ref]*entry // the latest of each object
	cost    int                  // as of the last look (costs)
	served  uint64               // when it last had a slice
	united  bool                 // since the last look, the first unit is what unite has made
}

// entry is a change that waits.
type entry struct {
	change
	// before is the change of the same object that waits ahead of it; nil: none does.
	before *entry
	// call is the delivery that brought it, unit what it is taken together with.
	call, unit uint64
	// work is how much it is: its entries in writing until it is weighed, then its weight.
	work    int
	weighed bool
	over    bool // something later stands for it
}

// change is an object that is new or changed or, with a nil object, gone.
type change struct {
	ref    model.Ref
	object runtime.Object
}

// staleMost is how many changes of a writer may wait, for each object that waits,
// before only the last ones of each count.
const staleMost = 2

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

func newBacklog(writer string) *backlog {
	return &backlog{name: writer, last: map[model.Ref]*entry{}}
}

func (b *backlog) put(e *entry) {
	if n := len(b.entries); n > 0 {
		if at := b.entries[n-1]; !at.over && at.ref == e.ref && (n == 1 || b.entries[n-2].unit != at.unit) {
			// Nothing is between the two: the newer stands for both.
			at.object, at.work, at.unit, at.weighed = e.object, e.work, e.unit, false
			return
		}
	}
	e.before = b.last[e.ref]
	b.entries, b.last[e.ref] = append(b.entries, e), e
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
			e.over = true
		}
	}
	for _, e := range kept {
		e.call, e.unit, e.before = first, first, nil
	}
	b.entries, b.united = kept, true
}

// looseUnit is the first number of units that no delivery has.
const looseUnit = 1 << 63

// loosen has pods that are new come one by one, behind all else that has been united with
// them: what is there by then is as it is to be with them, so none of it means more without
// them. known reports whether a pod is there already, units counts loose ones.
func (b *backlog) loosen(known func(model.Ref) bool, units *uint64) {
	if !b.united || b.first() == nil {
		return
	}
	b.united = false
	var rest, fresh []*entry
	n, unit := 0, b.entries[0].unit
	for ; n < len(b.entries) && b.entries[n].unit == unit; n++ {
		if e := b.entries[n]; !e.over && e.ref.Kind == model.KindPod && !known(e.ref) {
			*units++
			e.unit = looseUnit + *units
			fresh = append(fresh, e)
		} else {
			rest = append(rest, e)
		}
	}
	b.entries = slices.Concat(rest, fresh, b.entries[n:])
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

// bill adds up how much work changes of one writer are that are taken together.
type bill struct{ sum, policies int }

// add adds a change. What a pod that is weighed is as a peer of policies that come with it
// is not known yet: it may be one of each of their entries.
func (l *bill) add(e *entry) {
	l.sum += e.work
	switch {
	case e.ref.Kind.IsPolicy():
		l.policies += e.work
	case e.ref.Kind == model.KindPod && e.weighed:
		l.sum += l.policies
	}
}

// costs is how much work it is to take all that waits, as far as it matters whether that
// is more than a limit. It weighs what has not been weighed yet.
func (b *backlog) costs(limit int, weigh func(*change) int) int {
	var l bill
	for _, e := range b.entries {
		if e.over {
			continue
		}
		if !e.weighed && weigh != nil {
			e.work, e.weighed = weigh(&e.change), true
		}
		if l.add(e); l.sum > limit {
			break
		}
	}
	return l.sum
}
