package iptables

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
)

// Most changes have addresses come and go in sets that rules ask for already: a pod that
// starts or ends, a name's next answer. These need no rules, which take milliseconds to
// make anew even where none of them changes.

// applyElements makes such a change. ok is false where it is not one, or where rules have
// to change with it; nothing has been done then.
func (b *Backend) applyElements(ctx context.Context, ch *dataplane.Change, s *dataplane.State) (ok bool, err error) {
	if len(ch.Added)+len(ch.Removed)+len(ch.Tables)+len(ch.Classes)+len(ch.Endpoints) > 0 || !b.memory.inputs.Of(s) {
		return false, nil
	}
	p, mixedElems := &plan{}, 0
	for i := range ch.Sets {
		changes, ok := b.elementsOf(&ch.Sets[i])
		if !ok {
			return false, nil
		}
		for _, c := range changes {
			if b.have.effects[c.set.key] == mixed {
				mixedElems += len(c.add) + len(c.remove)
			}
			p.change = append(p.change, c)
		}
	}
	// See mustRenew: of a set of mixed effect, one member is all that may change under the
	// rules that ask for it.
	if mixedElems > 0 && (mixedElems > 1 || len(p.change) > 1) {
		return false, nil
	}
	changed := slices.Clone(p.change)
	b.split(p, b.have)
	if err := b.carryOut(ctx, p); err != nil {
		b.have = nil
		return true, fmt.Errorf("iptables: write to the kernel: %w", err)
	}
	sets := maps.Clone(b.have.sets) // a Watcher may be looking at them
	for _, c := range changed {
		sets[c.set.key] = c.set
	}
	b.settle(b.have.withSets(sets))
	b.memory.forget(ch)
	b.stats.ElementsOnly++
	return true, nil
}

// elementsOf returns what becomes of a set in the kernel, in both families; no change
// where no rule asks for it. ok is false where the set becomes one of another type, which
// rules have to ask for, or where its change cannot be had from its elements alone.
func (b *Backend) elementsOf(sc *dataplane.SetChange) (changes []setChange, ok bool) {
	m := b.memory.members[sc.Set.ID]
	if m == nil {
		return nil, true // no rule asks for it: it makes up tables at most
	}
	if sc.New || sc.Gone || !m.canChange(sc) {
		return nil, false
	}
	next := m.changed(sc)
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		at := familyIndex(f)
		if m.nets[at] != next.nets[at] {
			return nil, false
		}
		letter := "a"
		if m.nets[at] {
			letter = "n"
		}
		old := b.have.sets[fmt.Sprintf("%d%s%s", f, letter, m.hash)]
		if old == nil {
			continue
		}
		add, remove := difference(old.elems, next.elems[at])
		if len(add)+len(remove) == 0 {
			continue
		}
		s := *old
		s.elems = next.elems[at]
		changes = append(changes, setChange{set: &s, add: add, remove: remove})
	}
	return changes, true
}
