package dataplane

import (
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Table is a segment of many rules, turned round: first who the peer is, then
// what remains of the rules for such a peer. Which addresses lead to which rest
// is for the Compiler to know (TableState), because it follows from the members
// of sets; the Table itself is immutable.
type Table struct {
	// ID follows from the content.
	ID string
	// Side is the peer's: CondSrcAddr or CondDstAddr.
	Side CondKind
	// Sets are what the rules ask of the peer's address, in the order in which
	// they first ask. An address is known by the numbers of those that it is in.
	Sets []*Set

	rules  []tableRule
	linear int // rules that a rest tries one by one
}

// tableRule is a rule whose conditions on the peer's address are numbers of
// sets; its own Conds are the others.
type tableRule struct {
	Rule
	in, out []uint16
}

// Rest is what remains of a table's rules for a peer: rules without conditions
// on the peer's address. Who comes to the end of it goes on with the segment's end.
type Rest struct {
	// ID follows from the content: tables share equal rests.
	ID    string
	Rules []Rule
	// Ports stands for the rules where they are many and ask for protocol and
	// destination port only.
	Ports *PortTable
}

// newTable makes a table of rules that ask for the peer's address on one side.
func newTable(rules []Rule, side CondKind, linear int) *Table {
	t := &Table{Side: side, linear: linear}
	number := map[*Set]uint16{}
	for _, r := range rules {
		tr := tableRule{Rule: Rule{Leaf: r.Leaf}}
		for _, c := range r.Conds {
			if c.Kind != side {
				tr.Conds = append(tr.Conds, c)
				continue
			}
			n, ok := number[c.Set]
			if !ok {
				n = uint16(len(t.Sets))
				number[c.Set] = n
				t.Sets = append(t.Sets, c.Set)
			}
			if c.Not {
				tr.out = append(tr.out, n)
			} else {
				tr.in = append(tr.in, n)
			}
		}
		t.rules = append(t.rules, tr)
	}
	return t
}

// eachSet visits the sets of the peer's side, and those that other conditions ask for.
func (t *Table) eachSet(visit func(*Set)) {
	for _, s := range t.Sets {
		visit(s)
	}
	for i := range t.rules {
		for _, c := range t.rules[i].Conds {
			if c.Set != nil {
				visit(c.Set)
			}
		}
	}
}

func tableID(t *Table, f Family) string {
	var b strings.Builder
	t.append(&b)
	return hashID("table " + f.String() + b.String())
}

// maxTableSets is the number of sets that a table can tell apart.
const maxTableSets = 1<<16 - 1

// rest returns what remains for an address that is in the sets of these
// numbers, which are sorted.
func (t *Table) rest(numbers []uint16) *Rest {
	r := &Rest{}
	is := func(n uint16) bool { _, ok := slices.BinarySearch(numbers, n); return ok }
	isNot := func(n uint16) bool { return !is(n) }
	for i := range t.rules {
		tr := &t.rules[i]
		if slices.ContainsFunc(tr.in, isNot) || slices.ContainsFunc(tr.out, is) {
			continue
		}
		r.Rules = append(r.Rules, tr.Rule)
		if len(tr.Conds) == 0 && tr.Leaf.Verdict != Continue {
			break // nothing comes past it
		}
	}
	r.Ports = newPortTable(r.Rules, t.linear)
	var b strings.Builder
	appendRules(&b, r.Rules)
	r.ID = hashID("rest " + b.String())
	return r
}

// TableState is what a table holds: addresses and blocks, each with its rest.
type TableState struct {
	Table *Table
	// Empty is the rest for addresses in none of the sets.
	Empty *Rest
	// Blocks are disjoint ranges, sorted; ranges with the Empty rest are left out.
	Blocks []Block

	family Family
	// addrs are single addresses whose rest differs from that of the block around them.
	addrs map[netip.Addr]*Rest
	// single holds the numbers of the sets of which an address is itself a member.
	single map[netip.Addr][]uint16
	// ranges are the blocks with the numbers of their sets, before rests.
	ranges []numberedRange
	rests  map[string]*Rest // by numbers
}

// Block is a range of addresses, both ends included.
type Block struct {
	First, Last netip.Addr
	Rest        *Rest
}

type numberedRange struct {
	first, last netip.Addr
	numbers     []uint16
}

// At returns the rest of an address that has an entry of its own, because its
// rest differs from that of the block around it; nil for all others.
func (s *TableState) At(a netip.Addr) *Rest { return s.addrs[a] }

// EachAddr visits the addresses that have an entry of their own, in any order.
func (s *TableState) EachAddr() iter.Seq2[netip.Addr, *Rest] { return maps.All(s.addrs) }

// Len is how many addresses have an entry of their own.
func (s *TableState) Len() int { return len(s.addrs) }

// restOf returns the rest for numbers, made once for each combination.
func (s *TableState) restOf(numbers []uint16) *Rest {
	key := make([]byte, 0, 2*len(numbers))
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint16(key, n)
	}
	r := s.rests[string(key)]
	if r == nil {
		r = s.Table.rest(numbers)
		s.rests[string(key)] = r
	}
	return r
}

// around returns the numbers of the blocks that an address lies in.
func (s *TableState) around(a netip.Addr) []uint16 {
	i, found := slices.BinarySearchFunc(s.ranges, a, func(r numberedRange, a netip.Addr) int {
		switch {
		case r.last.Less(a):
			return -1
		case a.Less(r.first):
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return s.ranges[i].numbers
}

// Rest returns the rest for an address.
func (s *TableState) Rest(a netip.Addr) *Rest {
	if r := s.addrs[a]; r != nil {
		return r
	}
	return s.restOf(s.around(a))
}

// place puts an address where it belongs now and says whether that changed.
func (s *TableState) place(a netip.Addr) bool {
	around := s.around(a)
	want := (*Rest)(nil)
	if own := s.single[a]; len(own) > 0 {
		if r := s.restOf(union(own, around)); r.ID != s.restOf(around).ID {
			want = r
		}
	}
	have := s.addrs[a]
	switch {
	case want == nil && have == nil, want != nil && have != nil && want.ID == have.ID:
		return false
	case want == nil:
		delete(s.addrs, a)
	default:
		s.addrs[a] = want
	}
	return true
}

// union joins two sorted lists.
func union(a, b []uint16) []uint16 {
	if len(b) == 0 {
		return a
	}
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// setBlocks takes the blocks of all sets, by number, and cuts them into
// disjoint ranges.
func (s *TableState) setBlocks(blocks [][]netip.Prefix) {
	type edge struct {
		at     netip.Addr
		number uint16
		open   bool
	}
	var edges []edge
	for n, list := range blocks {
		for _, p := range list {
			edges = append(edges, edge{p.Addr(), uint16(n), true})
			if next := lastAddr(p).Next(); next.IsValid() && FamilyOf(next) == s.family {
				edges = append(edges, edge{next, uint16(n), false})
			}
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return a.at.Compare(b.at) })
	s.ranges = nil
	depth := map[uint16]int{}
	for i := 0; i < len(edges); {
		at := edges[i].at
		for ; i < len(edges) && edges[i].at == at; i++ {
			if edges[i].open {
				depth[edges[i].number]++
			} else if depth[edges[i].number]--; depth[edges[i].number] == 0 {
				delete(depth, edges[i].number)
			}
		}
		if len(depth) == 0 {
			continue
		}
		last := maxAddr(s.family)
		if i < len(edges) {
			last = edges[i].at.Prev()
		}
		numbers := make([]uint16, 0, len(depth))
		for n := range depth {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		s.ranges = append(s.ranges, numberedRange{at, last, numbers})
	}
	s.Empty = s.restOf(nil)
	s.Blocks = nil
	for _, r := range s.ranges {
		rest := s.restOf(r.numbers)
		if rest.ID == s.Empty.ID {
			continue
		}
		if n := len(s.Blocks); n > 0 && s.Blocks[n-1].Rest.ID == rest.ID && s.Blocks[n-1].Last.Next() == r.first {
			s.Blocks[n-1].Last = r.last
			continue
		}
		s.Blocks = append(s.Blocks, Block{r.first, r.last, rest})
	}
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		if bits := p.Bits() - 8*i; bits <= 0 {
			b[i] = 0xff
		} else if bits < 8 {
			b[i] |= 0xff >> bits
		}
	}
	a, _ := netip.AddrFromSlice(b) // of 4 or 16 bytes, as it was
	return a
}

func maxAddr(f Family) netip.Addr {
	if f == IPv4 {
		return netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return lastAddr(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}
