package dataplane

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// How large a table gets follows from who its peers are: each combination of its
// sets that some address is in has a rest of its own, with all the rules that ask
// for one of them. A thousand rules over a thousand sets that overlap can come to
// a million rules. So the size is counted before anything is built, and a table
// that would be larger than its limit is linear: its rules are written once, each
// with its sets as conditions, and tried in turn. That is slower for new
// connections of the endpoints that have these rules, and for nobody else.
//
// A linear table needs its sets in the kernel. Where they hold many addresses of few
// combinations that would be larger still, and the table is not linear.
//
// What a table saves is asking for one set after the other, so few such questions are
// worth a small table only: its limit grows with them (Options.Budget).
//
// Whether a table is linear follows from the rules and from what their sets hold at the
// time. Only between a limit and half of it does a table stay as it is: rests that are
// written anew cost as much as the table is large, and whoever adds and removes one
// address at its limit must not have that done each time. A restarted Compiler decides
// anew. The program that asks for the table stays the same.

// DefaultBudget is how large a table may get, besides what its own rules come to;
// see Options.Budget. In nftables, rests of this size take about a quarter of a
// second to write.
const DefaultBudget = 1 << 14

// DefaultNodeBudget is how large all tables together may get that are much larger
// than their rules; see Options.NodeBudget.
const DefaultNodeBudget = 1 << 16

// DefaultSpread is how often a table may hold its rules, besides its budget:
// where there are many rules, and each is about peers of its own, none is copied.
const DefaultSpread = 3

// Linear reports whether the table's rules are to be tried in turn (Table.Rules),
// because rests for its peers would be larger than its limit, and than its sets. Such a table holds
// no addresses, blocks or rests.
func (s *TableState) Linear() bool { return s.linear }

// tally counts the addresses and blocks of a table by the numbers of the table's
// sets that they are in: what is counted is what would have a rest.
type tally struct {
	kinds map[string]*kind
	size  int // the sum of the kinds' weights
}

type kind struct{ count, weight int }

// add counts n more (or fewer) of what is in the sets of these numbers, which are
// sorted.
func (ty *tally) add(t *Table, numbers []uint16, n int) {
	key := make([]byte, 0, 64)
	for _, number := range numbers {
		key = binary.BigEndian.AppendUint16(key, number)
	}
	k := ty.kinds[string(key)]
	if k == nil {
		k = &kind{weight: max(t.weight(numbers), 1)}
		ty.kinds[string(key)] = k
		ty.size += k.weight
	}
	if k.count += n; k.count == 0 {
		delete(ty.kinds, string(key))
		ty.size -= k.weight
	}
}

// fullBudget is how many conditions on the peer's address the rules of a table have that
// may have the whole Budget. Fewer have as much less.
const fullBudget = 256

// budgetOf is the part of the Budget that a table may have.
func (c *Compiler) budgetOf(t *Table) int {
	return (c.opts.Budget*min(t.asked, fullBudget) + fullBudget - 1) / fullBudget
}

// limitOf is how large a table may get.
func (c *Compiler) limitOf(t *Table) int {
	return c.budgetOf(t) + max(c.opts.Spread, 0)*t.size
}

// freeOf is how large a table may get without being charged to the node's budget.
func (c *Compiler) freeOf(t *Table) int {
	return min(c.opts.Budget/16, c.budgetOf(t)) + max(c.opts.Spread, 0)*t.size
}

// stays is what a limit is for a table: half of it where the table is linear already.
func (t *tableRec) stays(limit int) int {
	if t.state.linear && !t.fresh {
		return limit / 2
	}
	return limit
}

// tooLarge is the charge of a table beyond its limit.
const tooLarge = math.MaxInt

// measure counts what a table would hold, as far as it matters, and what it is
// charged with: its size, or nothing if it is small. A bound that follows from how
// many classes are in each set comes first, and is all that most tables need.
func (c *Compiler) measure(t *tableRec) {
	limit := t.stays(c.limitOf(t.state.Table))
	free := min(c.freeOf(t.state.Table), limit)
	t.charge, t.inTurn = 0, 0
	delete(c.charged, t)
	switch {
	case c.opts.Budget < 0:
		return
	case t.blocks != nil && t.blocks.crowded:
		t.charge = tooLarge
		return
	case t.most() <= free:
		t.tally = nil
		return
	}
	t.inTurn = t.linearSize()
	limit = max(limit, t.inTurn)
	if t.tally == nil {
		t.tally = t.count(limit)
	}
	switch size := t.tally.size; {
	case size > limit:
		t.charge, t.tally = tooLarge, nil
	case size > free:
		t.charge = size
		c.charged[t] = struct{}{}
	}
}

// linearSize is how large the table is if it is linear: the sets themselves are in
// the kernel then.
func (t *tableRec) linearSize() int {
	f := familyIndex(t.state.family)
	size := t.state.Table.size
	for _, rec := range t.state.sets {
		size += len(rec.blocks[f].nets)
		for _, cl := range rec.classes[f] {
			size += len(cl.members)
		}
	}
	return size
}

// admit decides, when all else of a change is known, which tables are linear:
// those beyond their limits, and of those that are charged to the node's budget
// the largest, until the others fit. None is that would only be larger for it.
func (c *Compiler) admit(pending map[*tableRec]struct{}, out map[*tableRec]*TableChange) {
	for t := range c.waiting {
		pending[t] = struct{}{}
	}
	clear(c.waiting)
	sum, room := 0, refill
	for _, t := range slices.SortedFunc(maps.Keys(c.charged), byCharge) {
		sum += t.charge
		delete(pending, t)
		linear := c.opts.NodeBudget >= 0 && sum > t.stays(c.opts.NodeBudget) && t.inTurn < t.charge
		c.takeBack(t, linear, &room, out)
	}
	for _, t := range slices.SortedFunc(maps.Keys(pending), byCharge) {
		if t.refs > 0 {
			c.takeBack(t, t.charge == tooLarge, &room, out)
		}
	}
}

// refill is how large the tables may be together, beside the first one, that cease to be
// linear in one change. Nothing is wrong while they are, so others wait for the next change:
// one that takes many addresses away must not have all tables written anew.
const refill = 2048

// takeBack is take, but a table ceases to be linear only where there is room.
func (c *Compiler) takeBack(t *tableRec, linear bool, room *int, out map[*tableRec]*TableChange) {
	if !linear && t.state.linear && !t.fresh {
		if *room <= 0 {
			c.waiting[t] = struct{}{}
			return
		}
		*room -= t.most()
	}
	c.take(t, linear, out)
}

// byCharge puts tables with larger charges last. Charges that differ by less than a factor
// of two or so are alike: tables that grow together must not change places all the time.
func byCharge(a, b *tableRec) int {
	return cmp.Or(cmp.Compare(bits.Len(uint(a.charge)), bits.Len(uint(b.charge))), cmp.Compare(a.state.Table.ID, b.state.Table.ID))
}

// take gives a table its form, if it has another one.
func (c *Compiler) take(t *tableRec, linear bool, out map[*tableRec]*TableChange) {
	switch {
	case linear == t.state.linear:
		return
	case linear:
		c.clear(t)
	default:
		t.fill()
	}
	c.unformed[t] = struct{}{}
	if !t.fresh {
		changeOf(out, t).Reformed = true
	}
}

// holdBlocks gives a table the blocks that its sets have now. Its tally is no
// longer true.
func (c *setStore) holdBlocks(t *tableRec) {
	s := t.state
	t.blocks = c.blockMapOf(s.setNumbers(), familyIndex(s.family))
	t.tally, t.heaviest, t.around = nil, 0, 0
	if t.blocks == nil {
		return
	}
	for _, sets := range t.blocks.combos {
		w := max(s.Table.weight(s.local(sets, nil)), 1)
		t.heaviest = max(t.heaviest, w)
		t.around += w
	}
}

// most is a size that the table cannot be larger than.
func (t *tableRec) most() int {
	s := t.state
	f := familyIndex(s.family)
	common := s.Table.weights[len(s.Table.Sets)]
	sum, around := max(common, 1)+t.around, 1
	if t.blocks != nil {
		around += len(t.blocks.combos)
	}
	for n, rec := range s.sets {
		// An address of a class is counted for each set, so the weights of all its sets
		// add up to that of its rest.
		sum += len(rec.classes[f]) * around * max(s.Table.weights[n]+common+t.heaviest, 1)
	}
	return sum
}

// count counts what a table would hold, and stops where that is more than the limit.
func (t *tableRec) count(limit int) *tally {
	s := t.state
	ty := &tally{kinds: map[string]*kind{}}
	ty.add(s.Table, nil, 1)
	if t.blocks != nil {
		for i := range t.blocks.combos {
			if ty.add(s.Table, s.local(t.blocks.combos[i], nil), 1); ty.size > limit {
				return ty
			}
		}
	}
	for cl := range s.relevant() {
		if ty.enter(t, cl, cl.members, 1); ty.size > limit {
			return ty
		}
	}
	return ty
}

// enter counts addresses of a class n times more.
func (ty *tally) enter(t *tableRec, cl *class, addrs []uint32, n int) {
	if cl == nil {
		return
	}
	s := t.state
	own := s.local(cl.sets, nil)
	if len(own) == 0 {
		return
	}
	if t.blocks == nil {
		ty.add(s.Table, own, n*len(addrs))
		return
	}
	counts := map[uint32]int{}
	for _, a := range addrs {
		counts[t.blocks.find(s.space.numbers.addr(a))]++
	}
	for combo, count := range counts {
		ty.add(s.Table, s.local(t.blocks.sets(combo), own[:len(own):len(own)]), n*count)
	}
}

// shrink makes the tables linear that are beyond their limits now, before anything
// is looked up in them, and returns those that are not linear. What else is to be
// decided of touched tables waits until all is known (admit).
func (c *Compiler) shrink(touched map[*tableRec]struct{}, u *update) map[*tableRec]struct{} {
	tabled := map[*tableRec]struct{}{}
	for t := range touched {
		if c.measure(t); t.charge == tooLarge {
			c.take(t, true, u.changes)
		}
		if !t.state.linear {
			tabled[t] = struct{}{}
		}
	}
	return tabled
}

// clear makes a table linear.
func (c *setStore) clear(t *tableRec) {
	s := t.state
	if s.classed {
		c.askByClass(t, false)
	}
	s.linear, s.count = true, unknown
	s.Empty, s.Blocks, s.around = nil, nil, nil
	s.rests, s.old = map[string]*Rest{}, nil
}

// fill gives a table that is not linear its rests and blocks.
func (t *tableRec) fill() {
	s := t.state
	s.linear, s.count = false, unknown
	s.Empty = s.restOf(nil)
	s.setBlocks(t.blocks)
}

// askedBy is a move and the tables that see it.
type askedBy struct {
	*move
	tables map[*tableRec]struct{}
}

// moves makes changes of single addresses hold and returns the moves that follow.
// Tables count them; those whose blocks change count anew.
func (c *setStore) moves(ch *changes, touched map[*tableRec]struct{}) []askedBy {
	var out []askedBy
	for f, space := range c.spaces {
		for _, m := range space.apply(ch.addrs[f]) {
			a := askedBy{m, c.askers(m, families[f])}
			for t := range a.tables {
				touched[t] = struct{}{}
				if t.tally != nil {
					t.tally.enter(t, m.from, m.addrs, -1)
					t.tally.enter(t, m.to, m.addrs, 1)
				}
			}
			out = append(out, a)
		}
	}
	return out
}
