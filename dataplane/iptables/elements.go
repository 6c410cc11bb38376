package iptables

import (
	"context"
	"fmt"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
)

// Most changes have addresses come and go in sets that rules ask for already: a pod that
// starts or ends, a name's next answer. These need no rules, which take milliseconds to
// make anew even where none of them changes.

// elementChange is what becomes of a set of the compiler's in the kernel.
type elementChange struct {
	of *dataplane.SetChange
	// come and gone are its elements, by family.
	come, gone [2][]elem
	sets       [2]*ipset // nil: no rule asks for it in the family
}

// applyElements makes such a change. ok is false where it is not one, or where rules have
// to change with it; nothing has been done then.
func (b *Backend) applyElements(ctx context.Context, ch *dataplane.Change, s *dataplane.State) (ok bool, err error) {
	if len(ch.Added)+len(ch.Removed)+len(ch.Tables)+len(ch.Classes)+len(ch.Endpoints) > 0 || !b.memory.inputs.Of(s) {
		return false, nil
	}
	p, mixedElems := &plan{}, 0
	var changes []elementChange
	for i := range ch.Sets {
		if b.memory.members[ch.Sets[i].Set.ID] == nil {
			continue // no rule asks for it: it makes up tables at most
		}
		c, ok := b.elementsOf(&ch.Sets[i])
		if !ok {
			return false, nil
		}
		changes = append(changes, c)
		for f, set := range c.sets {
			if set == nil || len(c.come[f])+len(c.gone[f]) == 0 {
				continue
			}
			if b.have.effects[set.key] == mixed {
				mixedElems += len(c.come[f]) + len(c.gone[f])
			}
			p.change = append(p.change, setChange{set: set, add: c.come[f], remove: c.gone[f]})
		}
	}
	// See mustRenew: of a set of mixed effect, one member is all that may change under the
	// rules that ask for it.
	if mixedElems > 0 && (mixedElems > 1 || len(p.change) > 1) {
		return false, nil
	}
	b.split(p, b.have)
	if err := b.carryOut(ctx, p); err != nil {
		b.have = nil
		return true, fmt.Errorf("iptables: write to the kernel: %w", err)
	}
	b.memory.take(changes)
	b.stats.ElementsOnly++
	return true, nil
}

// elementsOf returns what becomes of a set in the kernel, in both families. ok is false
// where the set becomes one of another type, which rules have to ask for, or where its
// change cannot be had from its elements alone.
func (b *Backend) elementsOf(sc *dataplane.SetChange) (c elementChange, ok bool) {
	m := b.memory.members[sc.Set.ID]
	if sc.New || sc.Gone || !m.canChange(sc) {
		return c, false
	}
	var come, gone members
	come.take(sc.Added)
	gone.take(sc.Removed)
	c.of = sc
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		at := familyIndex(f)
		letter := "a"
		switch {
		case !m.nets[at] && come.nets[at]:
			return c, false
		case m.nets[at]:
			if gone.nets[at] && !m.changed(sc).nets[at] {
				return c, false
			}
			letter = "n"
		}
		for _, e := range gone.elems[at] {
			if _, stays := slices.BinarySearchFunc(come.elems[at], e, elem.compare); !stays && m.has(at, e) {
				c.gone[at] = append(c.gone[at], e)
			}
		}
		for _, e := range come.elems[at] {
			if !m.has(at, e) {
				c.come[at] = append(c.come[at], e)
			}
		}
		set := b.have.sets[fmt.Sprintf("%d%s%s", f, letter, m.hash)]
		if set != nil && !same(set.elems, m.elems[at]) {
			return c, false // not what is known of it
		}
		c.sets[at] = set
	}
	return c, true
}

// has reports whether an element is a member.
func (m *members) has(at int, e elem) bool {
	_, ok := slices.BinarySearchFunc(m.elems[at], e, elem.compare)
	return ok
}

// take takes in what has become of sets. It is done in place, for a set may have a
// million members: who looks at it does so between transactions (Watcher.Own).
func (m *memory) take(changes []elementChange) {
	ids := map[string]bool{}
	for i := range changes {
		c := &changes[i]
		ids[c.of.Set.ID] = true
		of := m.members[c.of.Set.ID]
		for f := range of.elems {
			of.elems[f] = replaced(of.elems[f], c.gone[f], c.come[f])
			if c.sets[f] != nil {
				c.sets[f].elems = of.elems[f]
			}
		}
	}
	m.forgetPieces(ids, nil)
}

// replaced takes elements out of a sorted list, and puts others in. A few are moved to
// their places, many are merged.
func replaced(list, gone, come []elem) []elem {
	if few := 16; len(gone)+len(come) > few {
		return mergeElems(list, gone, come)
	}
	for _, e := range gone {
		if i, ok := slices.BinarySearchFunc(list, e, elem.compare); ok {
			list = slices.Delete(list, i, i+1)
		}
	}
	for _, e := range come {
		if i, ok := slices.BinarySearchFunc(list, e, elem.compare); !ok {
			list = slices.Insert(list, i, e)
		}
	}
	return list
}
