package dataplane

import (
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/index"
)

// setRec is a set and its members: single addresses are kept by class, blocks
// and ports here.
type setRec struct {
	set    *Set
	number uint32
	refs   int // of a set of literal blocks: rules that ask for it
	// classes of single addresses that are in the set, and blocks, by family.
	classes [2][]*class
	blocks  [2]blockList
	ports   map[index.Member]struct{} // of a SetAddrPorts
	// tables that ask for the set, and whether a set of literal blocks has its
	// members in place for them.
	tables map[*tableRec]struct{}
	placed bool
	// askers are how many classed tables ask for the set, by family; asked says
	// whether any did when groups were last up to date.
	askers [2]int
	asked  [2]bool
}

// blockList is the blocks of a set that are no single addresses, sorted, and
// which version of them.
type blockList struct {
	nets    []netip.Prefix
	version uint64
}

// number gives a set a number. It must have no members.
func (c *Compiler) number(rec *setRec) *setRec {
	if end := len(c.freeNumbers) - 1; end >= 0 {
		rec.number = c.freeNumbers[end]
		c.freeNumbers = c.freeNumbers[:end]
		c.numbered[rec.number] = rec
	} else {
		rec.number = uint32(len(c.numbered))
		c.numbered = append(c.numbered, rec)
	}
	return rec
}

// set returns the set that stands for one of the core.
func (c *Compiler) set(s *index.Set) *Set {
	rec := c.sets[s.ID()]
	if rec == nil {
		rec = c.number(&setRec{set: &Set{ID: s.ID(), Kind: s.Kind(), Text: s.String()}})
		c.sets[s.ID()] = rec
	}
	return rec.set
}

// rec returns the record of a set.
func (c *Compiler) rec(s *Set) *setRec {
	if s.IsCore() {
		return c.sets[s.ID]
	}
	return c.literals[s.ID]
}

// changes is membership that changes in one go.
type changes struct {
	addrs [2][]membership
	// blocks that enter or leave sets which tables ask for, by those tables.
	blocks map[*tableRec][]netip.Prefix
}

// change takes members out of a set and puts others in; both sorted. Blocks
// change at once, single addresses when the changes are applied.
func (c *Compiler) change(rec *setRec, removed, added iter.Seq[netip.Prefix], ch *changes) {
	var gone, come [2][]netip.Prefix
	enter := func(p netip.Prefix, in bool, blocks *[2][]netip.Prefix) {
		f := familyIndex(FamilyOf(p.Addr()))
		if p.IsSingleIP() {
			ch.addrs[f] = append(ch.addrs[f], memberOf(c.spaces[f].intern(p.Addr()), rec.number, in))
		} else {
			blocks[f] = append(blocks[f], p)
		}
	}
	for p := range removed {
		enter(p, false, &gone)
	}
	for p := range added {
		enter(p, true, &come)
	}
	for f := range gone {
		if len(gone[f])+len(come[f]) > 0 {
			c.changeBlocks(rec, f, gone[f], come[f], ch)
		}
	}
}

func (c *Compiler) changeBlocks(rec *setRec, f int, gone, come []netip.Prefix, ch *changes) {
	c.versions++
	rec.blocks[f] = blockList{mergeBlocks(rec.blocks[f].nets, gone, come), c.versions}
	for t := range rec.tables {
		if familyIndex(t.state.family) == f {
			if ch.blocks == nil {
				ch.blocks = map[*tableRec][]netip.Prefix{}
			}
			ch.blocks[t] = append(append(ch.blocks[t], gone...), come...)
		}
	}
}

// mergeBlocks returns a sorted list without the blocks that are gone and with
// those that have come, which are sorted too.
func mergeBlocks(have, gone, come []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(have)+len(come))
	for _, p := range have {
		for len(come) > 0 && come[0].Compare(p) < 0 {
			out, come = append(out, come[0]), come[1:]
		}
		if len(come) > 0 && come[0] == p {
			come = come[1:]
		}
		for len(gone) > 0 && gone[0].Compare(p) < 0 {
			gone = gone[1:]
		}
		if len(gone) == 0 || gone[0] != p {
			out = append(out, p)
		}
	}
	return append(out, come...)
}

// applySet takes a set's changed members.
func (c *Compiler) applySet(sd *index.SetDelta, ch *changes) SetChange {
	set := c.set(sd.Set)
	rec := c.sets[set.ID]
	if set.Kind == index.SetAddrPorts {
		if rec.ports == nil {
			rec.ports = make(map[index.Member]struct{}, len(sd.Added))
		}
		for _, m := range sd.Added {
			rec.ports[m] = struct{}{}
		}
		for _, m := range sd.Removed {
			delete(rec.ports, m)
		}
	} else {
		c.change(rec, prefixes(sd.Removed), prefixes(sd.Added), ch)
	}
	return SetChange{Set: set, New: sd.New, Added: sd.Added, Removed: sd.Removed}
}

func prefixes(ms []index.Member) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for i := range ms {
			if !yield(ms[i].Prefix) {
				return
			}
		}
	}
}

// empty takes all members out of a set that no table asks for.
func (c *Compiler) empty(rec *setRec, ch *changes) {
	for f := range rec.classes {
		for _, cl := range rec.classes[f] {
			for _, a := range cl.members {
				ch.addrs[f] = append(ch.addrs[f], memberOf(a, rec.number, false))
			}
		}
		rec.blocks[f] = blockList{}
	}
}

// literal returns the set of a rule's own blocks, one for each distinct list.
// Its members have places only while tables ask for it.
func (c *Compiler) literal(nets []netip.Prefix) *Set {
	text := make([]byte, 0, 20*len(nets))
	for i, p := range nets {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = p.AppendTo(text)
	}
	def := string(text)
	id := naming.Hash("nets " + def)
	rec := c.literals[id]
	if rec == nil {
		rec = c.number(&setRec{set: &Set{ID: id, Kind: index.SetAddrs, Text: def, Nets: nets}})
		c.literals[id] = rec
		c.freshLiterals = append(c.freshLiterals, rec)
	}
	return rec.set
}

// keepLiterals counts the sets of literal blocks that a new list of rules asks
// for, and forgets those of rules that turned out to match nothing.
func (c *Compiler) keepLiterals(p *policyRec, l *ruleList) {
	for i := range l.rules {
		for _, cond := range l.rules[i].conds {
			if cond.Set != nil && !cond.Set.IsCore() {
				rec := c.literals[cond.Set.ID]
				rec.refs++
				p.literals = append(p.literals, rec)
			}
		}
	}
	for _, rec := range c.freshLiterals {
		if rec.refs == 0 {
			c.forgetLiteral(rec)
		}
	}
	c.freshLiterals = nil
}

func (c *Compiler) forgetLiteral(rec *setRec) {
	delete(c.literals, rec.set.ID)
	c.freeNumber(rec)
}

func (c *Compiler) freeNumber(rec *setRec) {
	c.numbered[rec.number] = nil
	c.freeNumbers = append(c.freeNumbers, rec.number)
}

// settle makes changes of membership hold that no table can see.
func (c *Compiler) settle(ch *changes) {
	for f := range ch.addrs {
		c.spaces[f].apply(ch.addrs[f])
	}
}

// Members returns the members of a set, sorted.
func (c *Compiler) Members(s *Set) []index.Member {
	if !s.IsCore() {
		out := make([]index.Member, len(s.Nets))
		for i, p := range s.Nets {
			out[i] = index.Member{Prefix: p}
		}
		return out
	}
	rec := c.sets[s.ID]
	switch {
	case rec == nil:
		return nil
	case s.Kind == index.SetAddrPorts:
		return slices.SortedFunc(maps.Keys(rec.ports), index.Member.Compare)
	}
	n := 0
	for f := range rec.classes {
		n += len(rec.blocks[f].nets)
		for _, cl := range rec.classes[f] {
			n += len(cl.members)
		}
	}
	out := make([]index.Member, 0, n)
	for f := range rec.classes {
		for _, p := range rec.blocks[f].nets {
			out = append(out, index.Member{Prefix: p})
		}
		for _, cl := range rec.classes[f] {
			for _, a := range cl.members {
				addr := c.spaces[f].numbers.addr(a)
				out = append(out, index.Member{Prefix: netip.PrefixFrom(addr, addr.BitLen())})
			}
		}
	}
	slices.SortFunc(out, index.Member.Compare)
	return out
}

// contains says whether an address is in a set.
func (c *Compiler) contains(s *Set, a netip.Addr) bool {
	if !s.IsCore() {
		return slices.ContainsFunc(s.Nets, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	rec, f := c.sets[s.ID], familyIndex(FamilyOf(a))
	if cl := c.spaces[f].classOf(a); cl != nil {
		if _, found := slices.BinarySearch(cl.sets, rec.number); found {
			return true
		}
	}
	return slices.ContainsFunc(rec.blocks[f].nets, func(p netip.Prefix) bool { return p.Contains(a) })
}
