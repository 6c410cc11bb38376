package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
)

// tableRec is a table that programs ask for.
type tableRec struct {
	state *TableState
	refs  int
	fresh bool // no backend knows it yet
	// blocks are those of the table's sets, also where it is linear; tally is what it
	// holds, nil where most tells that it is small, and where it is linear.
	blocks *blockMap
	tally  *tally
	// charge is what the table is charged to the node's budget, 0 where it is small,
	// tooLarge where it is beyond its own limit.
	charge int
	// inTurn is its size if it is linear, where it is charged.
	inTurn int
	// heaviest and around are the largest weight of the rests for blocks alone, and
	// the sum of all of them.
	heaviest, around int
}

// hold keeps a table and what it holds, shared by all programs that have an
// equal one. A new one is filled when all that is new is known.
func (c *Compiler) hold(id string, f Family, create func() *Table) *Table {
	rec := c.tables[id]
	if rec == nil {
		rec = c.newTableRec(create(), f)
		c.tables[id] = rec
		c.freshTables = append(c.freshTables, rec)
	}
	rec.refs++
	return rec.state.Table
}

func (c *setStore) newTableRec(t *Table, f Family) *tableRec {
	s := &TableState{
		Table: t, family: f, space: c.spaces[familyIndex(f)],
		sets: make([]*setRec, len(t.Sets)), locals: make([]localSet, len(t.Sets)), rests: map[string]*Rest{},
		count: unknown, linear: true,
	}
	rec := &tableRec{state: s, fresh: true}
	for n, set := range t.Sets {
		sr := c.rec(set)
		s.sets[n], s.locals[n] = sr, localSet{sr.number, uint16(n)}
		if sr.tables == nil {
			sr.tables = map[*tableRec]struct{}{}
		}
		sr.tables[rec] = struct{}{}
	}
	slices.SortFunc(s.locals, func(a, b localSet) int { return cmp.Compare(a.set, b.set) })
	return rec
}

// measureTables measures what the new tables would hold. Until it is known whether
// that is too much they are linear.
func (c *Compiler) measureTables() {
	if len(c.freshTables) == 0 {
		return
	}
	var ch changes
	for _, t := range c.freshTables {
		for _, sr := range t.state.sets {
			if !sr.set.IsCore() && !sr.placed {
				sr.placed = true
				c.change(sr, slices.Values[[]netip.Prefix](nil), slices.Values(sr.set.Nets), &ch)
			}
		}
	}
	c.settle(&ch)
	for _, t := range c.freshTables {
		c.holdBlocks(t)
		c.measure(t)
	}
}

func (s *TableState) setNumbers() []uint32 {
	out := make([]uint32, len(s.locals))
	for i := range s.locals {
		out[i] = s.locals[i].set
	}
	return out
}

// drop gives a table back. Literal sets that no table asks for any more lose
// their places.
func (c *Compiler) drop(t *tableRec, out *Change, ch *changes) {
	if t.refs--; t.refs > 0 {
		return
	}
	delete(c.tables, t.state.Table.ID)
	delete(c.charged, t)
	delete(c.waiting, t)
	c.releaseBlocks(t.blocks)
	if t.state.classed {
		c.askByClass(t, false)
	}
	for _, sr := range t.state.sets {
		delete(sr.tables, t)
		if len(sr.tables) == 0 && !sr.set.IsCore() {
			sr.placed = false
			c.empty(sr, ch)
		}
	}
	if !t.fresh {
		out.Tables = append(out.Tables, TableChange{State: t.state, Gone: true})
	}
}

// retable makes changes of membership hold and says what changes in tables, and
// whose forms may.
func (c *Compiler) retable(ch *changes) (changes map[*tableRec]*TableChange, pending map[*tableRec]struct{}) {
	u := update{changes: map[*tableRec]*TableChange{}, before: map[*tableRec]*blockMap{}, moved: map[*tableRec]map[uint32]bool{}}
	touched := map[*tableRec]struct{}{}
	held := make([]*blockMap, 0, len(ch.blocks))
	for t := range ch.blocks {
		touched[t] = struct{}{}
		held = append(held, t.blocks)
		c.holdBlocks(t)
	}
	moves := c.moves(ch, touched)
	tabled := c.shrink(touched, &u)
	for t := range ch.blocks {
		if _, ok := tabled[t]; ok {
			u.reblock(t)
			c.unformed[t] = struct{}{}
		}
	}
	for _, m := range moves {
		for t := range m.tables {
			if _, ok := tabled[t]; ok {
				u.move(t, m.move)
			}
		}
	}
	for t, blocks := range ch.blocks {
		if _, ok := tabled[t]; ok {
			u.stay(t, blocks)
		}
	}
	for _, m := range held {
		c.releaseBlocks(m)
	}
	for t := range u.changes {
		c.unformed[t] = struct{}{}
		t.state.forgetRests()
	}
	return u.changes, touched
}

// reblock gives a table the blocks that its sets have now.
func (u *update) reblock(t *tableRec) {
	s := t.state
	u.before[t], u.moved[t] = s.around, map[uint32]bool{}
	blocks := s.Blocks
	s.count = unknown
	s.setBlocks(t.blocks)
	if !slices.EqualFunc(blocks, s.Blocks, sameBlock) {
		u.of(t).Blocks = true
	}
}

func sameBlock(a, b Block) bool {
	return a.First == b.First && a.Last == b.Last && a.Rest.ID == b.Rest.ID
}

// askers returns the tables that see a move: they ask for a set that only one
// of its two classes is in.
func (c *setStore) askers(m *move, f Family) map[*tableRec]struct{} {
	out := map[*tableRec]struct{}{}
	eachDifference(m.from, m.to, func(set uint32) {
		for t := range c.numbered[set].tables {
			if t.state.family == f {
				out[t] = struct{}{}
			}
		}
	})
	return out
}

// update finds out what changes in tables.
type update struct {
	changes map[*tableRec]*TableChange
	// before are the blocks that tables had whose blocks change, moved the
	// addresses of these tables that are dealt with already.
	before map[*tableRec]*blockMap
	moved  map[*tableRec]map[uint32]bool
}

func (u *update) of(t *tableRec) *TableChange {
	return changeOf(u.changes, t)
}

// move looks at addresses that went from a class to another.
func (u *update) move(t *tableRec, m *move) {
	s := t.state
	before, blocks := u.before[t]
	if !blocks {
		before = s.around
	}
	var changed []netip.Addr
	if before == nil && s.around == nil {
		from, to := s.entry(m.from, nil, noCombo), s.entry(m.to, nil, noCombo)
		if sameRest(from, to) {
			return
		}
		s.recount(from, to, len(m.addrs))
		for _, n := range m.addrs {
			changed = append(changed, s.space.numbers.addr(n))
		}
	} else {
		same := s.comparison(m.from, before, m.to)
		for _, n := range m.addrs {
			if a := s.space.numbers.addr(n); !same(a) {
				changed = append(changed, a)
			}
			if blocks {
				u.moved[t][n] = true
			}
		}
	}
	if len(changed) > 0 {
		tc := u.of(t)
		tc.Addrs = append(tc.Addrs, changed...)
	}
}

// recount takes note of addresses that lead to another rest, nil where they have
// no entry.
func (s *TableState) recount(from, to *Rest, addrs int) {
	switch {
	case s.count == unknown:
	case from == nil:
		s.count += addrs
	case to == nil:
		s.count -= addrs
	}
}

// stay looks at the addresses within blocks that came or went which have not
// moved, as far as the table can see.
func (u *update) stay(t *tableRec, blocks []netip.Prefix) {
	s, moved, before := t.state, u.moved[t], u.before[t]
	spans := ofFamily(blocks, s.family)
	var changed []netip.Addr
	for cl := range s.relevant() {
		same := s.comparison(cl, before, cl)
		for _, n := range cl.members {
			if a := s.space.numbers.addr(n); covered(spans, a) && !moved[n] && !same(a) {
				changed = append(changed, a)
			}
		}
	}
	if len(changed) > 0 {
		tc := u.of(t)
		tc.Addrs = append(tc.Addrs, changed...)
	}
}

// comparison returns what says whether an address leads to the same rest as
// before, when it was of another class and blocks were others. It remembers
// what it has said.
func (s *TableState) comparison(from *class, before *blockMap, to *class) func(netip.Addr) bool {
	known := map[[2]uint32]bool{}
	return func(a netip.Addr) bool {
		k := [2]uint32{before.find(a), s.around.find(a)}
		same, ok := known[k]
		if !ok {
			same = sameRest(s.entry(from, before, k[0]), s.entry(to, s.around, k[1]))
			known[k] = same
		}
		return same
	}
}

func sameRest(a, b *Rest) bool { return a == b || a != nil && b != nil && a.ID == b.ID }

// covered says whether an address is in one of some sorted, disjoint blocks.
func covered(spans []netip.Prefix, a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(spans, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && spans[i-1].Contains(a)
}
