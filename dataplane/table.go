package dataplane

import (
	"iter"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
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
	asked  int // conditions on the peer's address
	// byFirst are the rules that ask for a set before any other, by its number;
	// after the last of them those that ask for none, though they may exclude some.
	byFirst [][]uint32
	// weights are those of the rules in each list of byFirst, size is what the rules
	// come to where they are written once (ruleList.size).
	weights []int
	size    int
	// lasts are the last rules that ask for a protocol; that of 0 is the last one
	// that asks for none or more than one.
	lasts map[model.Protocol]int
	// others are sets that the rules ask for besides.
	others []*Set
}

// tableRule is a rule whose conditions on the peer's address are numbers of sets.
type tableRule struct {
	*flatRule
	in, out []uint16
}

// Rest is what remains of a table's rules for a peer: rules without conditions
// on the peer's address. Who comes to the end of it goes on with the segment's end.
type Rest struct {
	// ID follows from the content: tables share equal rests.
	ID string
	// Rules are tried in turn; nil if there are Ports.
	Rules []Rule
	// Ports stands for the rules where they are many and ask for protocol and
	// destination port only.
	Ports *PortTable
}

// maxTableSets is the number of sets that a table can tell apart.
const maxTableSets = 1<<16 - 1

// tableID is the ID of the table of rules for a family.
func tableID(rules *digest, side CondKind, f Family) string {
	all := content("table")
	all.number(uint64(f))
	all.number(uint64(side))
	all.digest(rules)
	d := all.sum()
	return d.id()
}

// called returns the table of the same rules for the other family.
func (t *Table) called(id string) *Table {
	out := *t
	out.ID = id
	return &out
}

// newTable makes a table of rules that ask for the peer's address on one side.
func newTable(id string, lists []*ruleList, side CondKind, linear int) *Table {
	t := &Table{ID: id, Side: side, linear: linear}
	rules := 0
	for _, l := range lists {
		rules += len(l.rules)
		t.asked += l.asked
		t.size += l.size
		t.others = append(t.others, l.sets...)
	}
	t.rules = make([]tableRule, 0, rules)
	room := make([]uint16, 0, t.asked) // for all numbers; never outgrown
	number := map[*Set]uint16{}
	for _, l := range lists {
		for i := range l.rules {
			tr := tableRule{flatRule: &l.rules[i]}
			for _, not := range []bool{false, true} {
				from := len(room)
				for _, c := range tr.conds {
					if c.Kind != side || c.Not != not {
						continue
					}
					n, ok := number[c.Set]
					if !ok {
						n = uint16(len(t.Sets))
						number[c.Set] = n
						t.Sets = append(t.Sets, c.Set)
					}
					room = append(room, n)
				}
				if not {
					tr.out = room[from:len(room):len(room)]
				} else {
					tr.in = room[from:len(room):len(room)]
				}
			}
			t.rules = append(t.rules, tr)
		}
	}
	t.index()
	return t
}

// index files the rules by the set that they ask for first.
func (t *Table) index() {
	t.lasts = map[model.Protocol]int{}
	for i := range t.rules {
		t.lasts[t.rules[i].protocol] = i
	}
	counts := make([]int, len(t.Sets)+1)
	place := func(tr *tableRule) int {
		if len(tr.in) == 0 {
			return len(t.Sets)
		}
		return int(tr.in[0])
	}
	for i := range t.rules {
		counts[place(&t.rules[i])]++
	}
	room := make([]uint32, len(t.rules))
	t.byFirst = make([][]uint32, len(counts))
	for n, count := range counts {
		t.byFirst[n], room = room[:0:count], room[count:]
	}
	t.weights = make([]int, len(counts))
	for i := range t.rules {
		n := place(&t.rules[i])
		t.byFirst[n] = append(t.byFirst[n], uint32(i))
		t.weights[n] += t.rules[i].weight
	}
}

// weight is how much of the rules can be part of the rest for these numbers, each
// of which is there once. The rest may hold less, never more.
func (t *Table) weight(numbers []uint16) int {
	w := t.weights[len(t.Sets)]
	for _, n := range numbers {
		w += t.weights[n]
	}
	return w
}

// Rules are the rules of the segment, with their conditions on the peer's
// address: what a backend writes where TableState.Linear.
func (t *Table) Rules() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		for i := range t.rules {
			if !yield(t.rules[i].rule()) {
				return
			}
		}
	}
}

// rest returns what remains for an address that is in the sets of these
// numbers, which are sorted. Rules that no packet comes to are not part of it.
func (t *Table) rest(numbers []uint16) *Rest {
	is := func(n uint16) bool { _, ok := slices.BinarySearch(numbers, n); return ok }
	isNot := func(n uint16) bool { return !is(n) }
	var rules []*flatRule
	all := content("rest")
	var decided []model.Protocol // whose packets come no further
	end := len(t.rules)
	t.candidates(numbers, func(i int) bool {
		tr := &t.rules[i]
		if i >= end || slices.ContainsFunc(tr.in, isNot) || slices.ContainsFunc(tr.out, is) ||
			slices.Contains(decided, tr.protocol) {
			return i < end
		}
		rules = append(rules, tr.flatRule)
		all.digest(&tr.digest)
		if tr.whole && tr.leaf.Verdict != Continue {
			if tr.protocol == 0 {
				return false
			}
			decided = append(decided, tr.protocol)
			end = t.endWithout(decided)
		}
		return true
	})
	d := all.sum()
	r := &Rest{ID: d.id(), Ports: newPortTable(rules, t.linear)}
	if r.Ports == nil && len(rules) > 0 {
		r.Rules = make([]Rule, len(rules))
		for i, fr := range rules {
			r.Rules[i] = fr.remainder()
		}
	}
	return r
}

// endWithout returns the number of rules without those at the end that ask for
// one of these protocols.
func (t *Table) endWithout(decided []model.Protocol) int {
	end := 0
	for p, last := range t.lasts {
		if !slices.Contains(decided, p) {
			end = max(end, last+1)
		}
	}
	return end
}

// candidates visits, in order and until visit returns false, the rules that ask
// first for one of these sets, or for none.
func (t *Table) candidates(numbers []uint16, visit func(i int) bool) {
	lists := make([][]uint32, 0, len(numbers)+1)
	if l := t.byFirst[len(t.Sets)]; len(l) > 0 {
		lists = append(lists, l)
	}
	for _, n := range numbers {
		if l := t.byFirst[n]; len(l) > 0 {
			lists = append(lists, l)
		}
	}
	if len(lists) > 4 {
		all := slices.Concat(lists...)
		slices.Sort(all)
		lists = [][]uint32{all}
	}
	for len(lists) > 0 {
		next := 0
		for k := range lists {
			if lists[k][0] < lists[next][0] {
				next = k
			}
		}
		if !visit(int(lists[next][0])) {
			return
		}
		if lists[next] = lists[next][1:]; len(lists[next]) == 0 {
			lists = slices.Delete(lists, next, next+1)
		}
	}
}
