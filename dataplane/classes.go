package dataplane

import (
	"bytes"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"
)

// A table of many addresses is classed: it holds what remains of its rules for
// classes of addresses, by number, and one list for all classed tables of a
// family says which class an address is of. So a kernel holds an address once
// and not once for each table, and a pod that comes or goes is one element.
//
// A class of this kind, a group, is the addresses that no classed table tells
// apart: those in the same ones of the sets that classed tables ask for. Its
// number follows from these sets' IDs and is the same in every process, so that
// a restart finds in the kernel what it would write.

// DefaultClassed is where a table becomes classed; see Options.Classed.
const DefaultClassed = 1024

// maxClass is the largest number of a class; the next one is a word of its own
// in nft's language, as is 0.
const maxClass = 1<<32 - 2

// group is the classes that are in the same sets of those that classed tables ask for.
type group struct {
	content digest   // of the sets' IDs
	sets    []uint32 // by number, sorted, not empty
	classes int      // how many there are
	// home is the number that the content asks for; number is where it stands, 0
	// if nowhere, and was is where it stood before this change, once noted.
	home, number, was uint32
	noted             bool
}

// grouping is the groups of a family. Where several contents ask for one number
// each goes on to the next free one, in the contents' order, so that numbers
// follow from what groups there are and not from which came first.
type grouping struct {
	homes     uint32 // how many homes there are; less in tests
	byContent map[digest]*group
	byNumber  map[uint32]*group
	// idle groups have lost a class, changed ones have come, gone or moved.
	idle, changed []*group
}

func newGrouping(homes uint32) grouping {
	if homes == 0 {
		homes = maxClass
	}
	return grouping{homes: homes, byContent: map[digest]*group{}, byNumber: map[uint32]*group{}}
}

// hold returns the group of a content, for one class more.
func (s *grouping) hold(content digest, sets []uint32) *group {
	g := s.byContent[content]
	if g == nil {
		g = &group{content: content, sets: sets, home: binary.BigEndian.Uint32(content[:])%s.homes + 1}
		s.byContent[content] = g
		s.place(g)
	}
	g.classes++
	return g
}

func (s *grouping) release(g *group) {
	if g.classes--; g.classes == 0 {
		s.idle = append(s.idle, g)
	}
}

func nextClass(n uint32) uint32 { return n%maxClass + 1 }

// stepsTo is how many numbers on from one another one is.
func stepsTo(from, to uint32) uint64 { return (uint64(to) + maxClass - uint64(from)) % maxClass }

// place gives a group the first number from its home on that is free or held by
// a greater content, which goes on.
func (s *grouping) place(g *group) {
	for n := g.home; ; n = nextClass(n) {
		o := s.byNumber[n]
		if o == nil || bytes.Compare(g.content[:], o.content[:]) < 0 {
			s.move(g, n)
			if g = o; g == nil {
				return
			}
		}
	}
}

// sweep removes the groups without classes. Those that had to go on for them go back.
func (s *grouping) sweep() {
	for _, g := range s.idle {
		if g.classes > 0 || g.number == 0 {
			continue
		}
		free := g.number
		delete(s.byContent, g.content)
		s.move(g, 0)
		delete(s.byNumber, free)
		for n := nextClass(free); s.byNumber[n] != nil; n = nextClass(n) {
			if o := s.byNumber[n]; stepsTo(o.home, n) >= stepsTo(free, n) {
				s.move(o, free)
				delete(s.byNumber, n)
				free = n
			}
		}
	}
	s.idle = nil
}

func (s *grouping) move(g *group, n uint32) {
	if !g.noted {
		g.noted, g.was = true, g.number
		s.changed = append(s.changed, g)
	}
	if g.number = n; n != 0 {
		s.byNumber[n] = g
	}
}

// ClassChange is that the number of an address's class changed.
type ClassChange struct {
	Addr  netip.Addr
	Class uint32 // 0: no classed table knows the address any more
}

// Classes visits the addresses of a family that classed tables know, with the
// numbers of their classes, which are 1 to 2^32-2, in any order. Like a
// TableState it is safe for concurrent use while the Compiler does not work.
func (c *Compiler) Classes(f Family) iter.Seq2[netip.Addr, uint32] {
	return func(yield func(netip.Addr, uint32) bool) {
		space := c.spaces[familyIndex(f)]
		for _, cl := range space.classes {
			if cl.group == nil {
				continue
			}
			for _, n := range cl.members {
				if !yield(space.numbers.addr(n), cl.group.number) {
					return
				}
			}
		}
	}
}

// Classed says whether the table is to be held by class: it has many addresses
// and no blocks, and is not Linear.
func (s *TableState) Classed() bool { return s.classed }

// EachClass visits the classes of a classed table that have an entry, each with
// its rest, in any order.
func (s *TableState) EachClass() iter.Seq2[uint32, *Rest] {
	return func(yield func(uint32, *Rest) bool) {
		seen := map[*group]struct{}{}
		for cl := range s.relevant() {
			if _, ok := seen[cl.group]; ok || cl.group == nil {
				continue
			}
			seen[cl.group] = struct{}{}
			if r := s.entry(cl, nil, noCombo); r != nil && !yield(cl.group.number, r) {
				return
			}
		}
	}
}

// AtClass returns the rest of the class of a number in a classed table, or nil
// if it has no entry there.
func (s *TableState) AtClass(number uint32) *Rest {
	g := s.space.groups.byNumber[number]
	if g == nil {
		return nil
	}
	own := s.local(g.sets, nil)
	if len(own) == 0 {
		return nil
	}
	if r := s.restOf(own); r.ID != s.Empty.ID {
		return r
	}
	return nil
}

// form decides anew whether tables are classed. Whether one is follows from what
// it holds alone.
func (c *Compiler) form(tables map[*tableRec]struct{}, out map[*tableRec]*TableChange) {
	for t := range tables {
		s := t.state
		if t.refs <= 0 || s.linear {
			continue
		}
		if s.around != nil {
			s.count = unknown
		} else if s.count == unknown {
			s.count = s.Len()
		}
		if classed := c.opts.Classed > 0 && s.count >= c.opts.Classed; classed != s.classed {
			c.askByClass(t, classed)
			if !t.fresh {
				changeOf(out, t).Reformed = true
			}
		}
	}
}

func changeOf(changes map[*tableRec]*TableChange, t *tableRec) *TableChange {
	tc := changes[t]
	if tc == nil {
		tc = &TableChange{State: t.state}
		changes[t] = tc
	}
	return tc
}

// askByClass makes a table classed, or not any more.
func (c *setStore) askByClass(t *tableRec, classed bool) {
	s := t.state
	s.classed = classed
	f := familyIndex(s.family)
	for _, sr := range s.sets {
		if classed {
			sr.askers[f]++
		} else {
			sr.askers[f]--
		}
		if n := sr.askers[f]; n == 0 || n == 1 && classed {
			c.spaces[f].flipped = append(c.spaces[f].flipped, sr)
		}
	}
}

// regroup brings the groups of a family up to date, after all else of a change.
// It returns the addresses whose class has another number now, and notes the
// classes that changed in tables.
func (c *Compiler) regroup(f int, out map[*tableRec]*TableChange) []ClassChange {
	s := c.spaces[f]
	stale := map[*class]struct{}{}
	for _, sr := range s.flipped {
		if asked := sr.askers[f] > 0; asked != sr.asked[f] {
			sr.asked[f] = asked
			for _, cl := range sr.classes[f] {
				stale[cl] = struct{}{}
			}
		}
	}
	for _, cl := range s.fresh {
		if !cl.forgotten {
			stale[cl] = struct{}{}
		}
	}
	touched := s.moved
	for cl := range stale {
		old := cl.group
		if cl.group = c.groupOf(cl, f); cl.group != old {
			touched = append(touched, cl.members...)
		}
		if old != nil {
			s.groups.release(old)
		}
	}
	for _, cl := range s.dead {
		if cl.group != nil {
			s.groups.release(cl.group)
			cl.group = nil
		}
	}
	s.groups.sweep()
	for _, g := range s.groups.changed {
		if g.noted = false; g.was == g.number {
			continue
		}
		if g.was != 0 && g.number != 0 {
			touched = c.membersOf(g, f, touched)
		}
		c.tellTables(g, f, out)
	}
	s.flipped, s.fresh, s.dead, s.moved, s.groups.changed = nil, nil, nil, nil, nil
	return s.renumbered(touched)
}

// groupOf holds the group of a class, or returns nil if no classed table knows it.
func (c *setStore) groupOf(cl *class, f int) *group {
	var sets []uint32
	for _, n := range cl.sets {
		if c.numbered[n].asked[f] {
			sets = append(sets, n)
		}
	}
	if len(sets) == 0 {
		return nil
	}
	ids := make([]string, len(sets))
	for i, n := range sets {
		ids[i] = c.numbered[n].set.ID
	}
	slices.Sort(ids)
	whole := content("class")
	for _, id := range ids {
		whole.text(id)
	}
	return c.spaces[f].groups.hold(whole.sum(), sets)
}

// membersOf adds the members of a group to a list.
func (c *setStore) membersOf(g *group, f int, list []uint32) []uint32 {
	if rec := c.numbered[g.sets[0]]; rec != nil {
		for _, cl := range rec.classes[f] {
			if cl.group == g {
				list = append(list, cl.members...)
			}
		}
	}
	return list
}

// tellTables notes the numbers that a group had and has with the classed tables that know it.
func (c *setStore) tellTables(g *group, f int, out map[*tableRec]*TableChange) {
	for _, n := range g.sets {
		if c.numbered[n] == nil {
			continue // gone, and so are the tables that asked for it
		}
		for t := range c.numbered[n].tables {
			if t.fresh || !t.state.classed || familyIndex(t.state.family) != f {
				continue
			}
			tc := changeOf(out, t)
			for _, number := range []uint32{g.was, g.number} {
				if number != 0 {
					tc.Classes = append(tc.Classes, number)
				}
			}
		}
	}
}

// renumbered returns those of some addresses, and of those that have gone, whose
// class has another number than it was told.
func (s *space) renumbered(touched []uint32) []ClassChange {
	var out []ClassChange
	for a, number := range s.leaving {
		if n, ok := s.numbers.find(a); ok { // it is back
			s.told[n] = number
			touched = append(touched, n)
		} else {
			out = append(out, ClassChange{a, 0})
		}
	}
	s.leaving = nil
	out = slices.Grow(out, len(touched))
	for _, n := range touched {
		now := uint32(0)
		if cl := s.class[n]; cl != nil && cl.group != nil {
			now = cl.group.number
		}
		if s.told[n] != now {
			s.told[n] = now
			out = append(out, ClassChange{s.numbers.addr(n), now})
		}
	}
	return out
}
