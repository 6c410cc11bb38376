package dataplane

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// TableState is what a table holds: addresses and blocks, each with its rest.
// It follows from the members of the table's sets, which the Compiler keeps once
// for all tables. Reading it is safe for concurrent use while the Compiler does
// not work; a State that a TableChange says is Gone holds nothing to read.
type TableState struct {
	Table *Table
	// Empty is the rest for addresses in none of the sets; nil if the table is Linear.
	Empty *Rest
	// Blocks are disjoint ranges, sorted; ranges with the Empty rest are left out.
	Blocks []Block

	family Family
	space  *space
	sets   []*setRec  // parallel to Table.Sets
	locals []localSet // the same by the sets' own numbers, sorted
	around *blockMap  // blocks of the sets
	// count is Len where there are no blocks, or unknown.
	count           int
	classed, linear bool

	mu sync.Mutex
	// rests by the numbers of the table's sets; old ones may have had their day.
	rests, old map[string]*Rest
}

// unknown is a count that has to be made anew.
const unknown = -1

// localSet is the number of a set and its number in a table.
type localSet struct {
	set   uint32
	local uint16
}

// Block is a range of addresses, both ends included.
type Block struct {
	First, Last netip.Addr
	Rest        *Rest
}

// At returns the rest of an address that has an entry of its own, because its
// rest differs from that of the block around it; nil for all others.
func (s *TableState) At(a netip.Addr) *Rest {
	cl := s.space.classOf(a)
	if cl == nil || s.linear {
		return nil
	}
	return s.entry(cl, s.around, s.around.find(a))
}

// EachAddr visits the addresses that have an entry of their own, in any order.
func (s *TableState) EachAddr() iter.Seq2[netip.Addr, *Rest] {
	return func(yield func(netip.Addr, *Rest) bool) {
		if s.linear {
			return
		}
		for cl := range s.relevant() {
			rests := s.entries(cl)
			for _, n := range cl.members {
				a := s.space.numbers.addr(n)
				if r := rests(a); r != nil && !yield(a, r) {
					return
				}
			}
		}
	}
}

// Len is how many addresses have an entry of their own.
func (s *TableState) Len() (n int) {
	if s.linear {
		return 0
	}
	for cl := range s.relevant() {
		if s.around == nil {
			if s.entry(cl, nil, noCombo) != nil {
				n += len(cl.members)
			}
			continue
		}
		rests := s.entries(cl)
		for _, m := range cl.members {
			if rests(s.space.numbers.addr(m)) != nil {
				n++
			}
		}
	}
	return n
}

// Rests returns the rests that a table's addresses, blocks and all others lead to, by ID.
func (s *TableState) Rests() []*Rest {
	if s.linear {
		return nil
	}
	seen := map[string]*Rest{s.Empty.ID: s.Empty}
	for cl := range s.relevant() {
		rests := s.entries(cl)
		for _, m := range cl.members {
			if r := rests(s.space.numbers.addr(m)); r != nil {
				seen[r.ID] = r
			}
			if s.around == nil {
				break // they are all alike
			}
		}
	}
	for _, b := range s.Blocks {
		seen[b.Rest.ID] = b.Rest
	}
	return slices.SortedFunc(maps.Values(seen), func(a, b *Rest) int { return cmp.Compare(a.ID, b.ID) })
}

// Rest returns the rest for an address; nil if the table is Linear.
func (s *TableState) Rest(a netip.Addr) *Rest {
	if s.linear {
		return nil
	}
	if r := s.At(a); r != nil {
		return r
	}
	return s.restAround(s.around, s.around.find(a))
}

// Family of the addresses.
func (s *TableState) Family() Family { return s.family }

// relevant visits the classes of addresses that are in one of the table's sets.
func (s *TableState) relevant() iter.Seq[*class] {
	return func(yield func(*class) bool) {
		f := familyIndex(s.family)
		seen := map[*class]struct{}{}
		for _, rec := range s.sets {
			for _, cl := range rec.classes[f] {
				if len(cl.sets) > 1 { // others come once
					if _, ok := seen[cl]; ok {
						continue
					}
					seen[cl] = struct{}{}
				}
				if !yield(cl) {
					return
				}
			}
		}
	}
}

// entries returns what says for the addresses of a class where each leads to,
// or nil. It remembers what it has said.
func (s *TableState) entries(cl *class) func(netip.Addr) *Rest {
	if s.around == nil {
		r := s.entry(cl, nil, noCombo)
		return func(netip.Addr) *Rest { return r }
	}
	known := map[uint32]*Rest{}
	return func(a netip.Addr) *Rest {
		combo := s.around.find(a)
		r, ok := known[combo]
		if !ok {
			r = s.entry(cl, s.around, combo)
			known[combo] = r
		}
		return r
	}
}

// entry returns where an address of a class leads to that lies within blocks of
// a combination, or nil if it leads where all within these blocks do.
func (s *TableState) entry(cl *class, around *blockMap, combo uint32) *Rest {
	if cl == nil {
		return nil
	}
	own := s.local(cl.sets, nil)
	if len(own) == 0 {
		return nil
	}
	r := s.restOf(s.local(around.sets(combo), own))
	if r.ID == s.restAround(around, combo).ID {
		return nil
	}
	return r
}

func (s *TableState) restAround(around *blockMap, combo uint32) *Rest {
	if combo == noCombo {
		return s.Empty
	}
	return s.restOf(s.local(around.sets(combo), nil))
}

// local adds to numbers those that the table has for sets, and sorts them.
func (s *TableState) local(sets []uint32, numbers []uint16) []uint16 {
	const few = 8 // times: where to search pays more than to walk
	compare := func(l localSet, n uint32) int { return cmp.Compare(l.set, n) }
	locals := s.locals
	switch {
	case len(locals) < len(sets)/few:
		for _, l := range locals {
			if _, ok := slices.BinarySearch(sets, l.set); ok {
				numbers = append(numbers, l.local)
			}
		}
	case len(sets) < len(locals)/few:
		for _, n := range sets {
			if i, ok := slices.BinarySearchFunc(locals, n, compare); ok {
				numbers = append(numbers, locals[i].local)
			}
		}
	default:
		for len(sets) > 0 && len(locals) > 0 {
			switch c := compare(locals[0], sets[0]); {
			case c < 0:
				locals = locals[1:]
			case c > 0:
				sets = sets[1:]
			default:
				numbers = append(numbers, locals[0].local)
				locals, sets = locals[1:], sets[1:]
			}
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// restOf returns the rest for numbers, made once for each combination.
func (s *TableState) restOf(numbers []uint16) *Rest {
	key := make([]byte, 0, 64)
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint16(key, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rests[string(key)]
	if r == nil {
		if r = s.old[string(key)]; r == nil {
			r = s.Table.rest(numbers)
		}
		s.rests[string(key)] = r
	}
	return r
}

// forgetRests keeps rests from piling up that no address leads to any more.
func (s *TableState) forgetRests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rests) < 256 {
		return
	}
	alive := 1
	if s.around != nil {
		alive += len(s.around.combos)
	}
	for _, rec := range s.sets {
		alive += len(rec.classes[familyIndex(s.family)])
	}
	if len(s.rests) > 2*alive {
		s.old, s.rests = s.rests, map[string]*Rest{}
	}
}

// setBlocks takes the blocks of the table's sets.
func (s *TableState) setBlocks(m *blockMap) {
	s.around, s.Blocks = m, nil
	if m == nil {
		return
	}
	// Equal rests are made the same, and the Empty one nil: ranges are many.
	same := map[string]*Rest{s.Empty.ID: nil}
	rests := make([]*Rest, len(m.combos))
	for i := range rests {
		r := s.restAround(m, uint32(i))
		if _, ok := same[r.ID]; !ok {
			same[r.ID] = r
		}
		rests[i] = same[r.ID]
	}
	n := 0
	for i := range m.ranges {
		if rests[m.ranges[i].combo] != nil {
			n++
		}
	}
	s.Blocks = make([]Block, 0, n)
	for i := range m.ranges {
		r := &m.ranges[i]
		rest := rests[r.combo]
		if rest == nil {
			continue
		}
		if n := len(s.Blocks); n > 0 && s.Blocks[n-1].Rest == rest && s.Blocks[n-1].Last.Next() == r.first {
			s.Blocks[n-1].Last = r.last
			continue
		}
		s.Blocks = append(s.Blocks, Block{r.first, r.last, rest})
	}
}
