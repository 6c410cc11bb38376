package dataplane

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// PortTable is rules that ask for nothing but protocol and destination port,
// turned into disjoint ranges: one look-up in the place of many rules.
type PortTable struct {
	// Entries are disjoint and sorted by protocol and port. A protocol without
	// ports has one entry, for all of them.
	Entries []PortEntry
	// Other is for protocols that no entry has.
	Other Leaf
}

// PortEntry is a range of ports of a protocol; inclusive.
type PortEntry struct {
	Protocol    model.Protocol
	First, Last uint16
	Leaf        Leaf
}

// newPortTable returns the table of what rules ask for besides the peer, or nil
// if they are no more than linear, ask for something else, or the table would be
// much larger than the rules. Leaves with Verdict
// Continue stand for the end of the rules.
func newPortTable(rules []*flatRule, linear int) *PortTable {
	if len(rules) <= linear {
		return nil
	}
	var protocols []model.Protocol
	for _, r := range rules {
		ports := false
		for i := range r.rest {
			switch r.rest[i].Kind {
			case CondProtocol:
				protocols = append(protocols, r.rest[i].Protocol)
			case CondDstPorts:
				ports = true
			default:
				return nil
			}
		}
		if _, ok := protocolOf(r.rest); ports && !ok {
			return nil // ports of any protocol: convert does not make such rules
		}
	}
	slices.Sort(protocols)
	protocols = slices.Compact(protocols)
	if multiplies(rules, len(protocols)) {
		return nil
	}
	t := &PortTable{Other: leafAmong(rules)}
	for _, p := range protocols {
		t.sweep(rules, p)
	}
	return t
}

// multiplies reports whether a table of rules for so many protocols would take
// more than a few times what the rules take: each entry has the marks of all rules
// that a packet meets before it is decided, and each rule that asks for no protocol
// is part of all of them.
func multiplies(rules []*flatRule, protocols int) bool {
	const times, few = 8, 1 << 13
	marks, entries := 0, 0
	for _, r := range rules {
		entries += 2 * r.weight
		if r.leaf.Verdict == Continue {
			marks++
		}
	}
	room := times*entries + few
	return marks*entries > room || protocols*len(rules) > room
}

// protocolOf returns the protocol that conditions ask for.
func protocolOf(conds []Cond) (model.Protocol, bool) {
	for i := range conds {
		if c := &conds[i]; c.Kind == CondProtocol && !c.Not {
			return c.Protocol, true
		}
	}
	return 0, false
}

// leafAmong returns the leaf of a protocol that no rule names.
func leafAmong(rules []*flatRule) Leaf {
	var before []Mark
	for _, r := range rules {
		switch {
		case len(portsFor(r.rest, 0)) == 0:
		case r.leaf.Verdict != Continue:
			return r.leaf.after(before)
		default:
			before = append(before, Mark{r.leaf.Origin, r.leaf.Log})
		}
	}
	return Leaf{Verdict: Continue, Before: before}
}

// after is a leaf with the marks met before it.
func (l *Leaf) after(before []Mark) Leaf {
	out := *l
	out.Before = before
	return out
}

// heldPorts is a range of ports of a protocol for which a rule, by number, holds.
type heldPorts struct{ first, last, rule int }

// rulesHeld orders by rule, for package heap.
type rulesHeld []heldPorts

func (h rulesHeld) Len() int           { return len(h) }
func (h rulesHeld) Less(i, j int) bool { return h[i].rule < h[j].rule }
func (h rulesHeld) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *rulesHeld) Push(x any)        { *h = append(*h, x.(heldPorts)) }
func (h *rulesHeld) Pop() any {
	end := len(*h) - 1
	x := (*h)[end]
	*h = (*h)[:end]
	return x
}

// sweep adds the entries of a protocol: it goes through the ports from the
// lowest, and knows at each which rules hold.
func (t *PortTable) sweep(rules []*flatRule, p model.Protocol) {
	var coming []heldPorts
	for i, r := range rules {
		for _, ports := range portsFor(r.rest, p) {
			coming = append(coming, heldPorts{int(ports.First), int(ports.Last), i})
		}
	}
	slices.SortFunc(coming, func(a, b heldPorts) int { return cmp.Compare(a.first, b.first) })
	var deciding rulesHeld // ranges that are over stay until they would be the first
	var marks []heldPorts  // of rules that go on, sorted by rule
	own := len(t.Entries)
	for at := 0; at <= maxPort; {
		for ; len(coming) > 0 && coming[0].first == at; coming = coming[1:] {
			if rules[coming[0].rule].leaf.Verdict != Continue {
				heap.Push(&deciding, coming[0])
				continue
			}
			i, _ := slices.BinarySearchFunc(marks, coming[0].rule, func(m heldPorts, r int) int { return cmp.Compare(m.rule, r) })
			marks = slices.Insert(marks, i, coming[0])
		}
		marks = slices.DeleteFunc(marks, func(m heldPorts) bool { return m.last < at })
		next := maxPort + 1
		for _, m := range marks {
			next = min(next, m.last+1)
		}
		for len(deciding) > 0 && deciding[0].last < at {
			heap.Pop(&deciding)
		}
		if len(deciding) > 0 {
			next = min(next, deciding[0].last+1)
		}
		if len(coming) > 0 {
			next = min(next, coming[0].first)
		}
		leaf := leafOfHolding(rules, marks, deciding)
		if n := len(t.Entries); n > own && equalLeaves(t.Entries[n-1].Leaf, leaf) {
			t.Entries[n-1].Last = uint16(next - 1)
		} else {
			t.Entries = append(t.Entries, PortEntry{p, uint16(at), uint16(next - 1), leaf})
		}
		at = next
	}
}

// leafOfHolding returns the leaf where these rules hold and no others.
func leafOfHolding(rules []*flatRule, marks []heldPorts, deciding rulesHeld) Leaf {
	end, first := Leaf{Verdict: Continue}, len(rules)
	if len(deciding) > 0 {
		first = deciding[0].rule
		end = *rules[first].leaf
	}
	var before []Mark
	for _, m := range marks {
		if m.rule > first {
			break
		}
		before = append(before, Mark{rules[m.rule].leaf.Origin, rules[m.rule].leaf.Log})
	}
	return end.after(before)
}

const maxPort = 65535

// portsFor returns the ports of a protocol for which conditions on protocol and
// destination port hold, sorted and disjoint: all of them for a protocol without
// ports, unless the conditions do not hold for it. Protocol 0 is one that no rule names.
func portsFor(conds []Cond, p model.Protocol) []PortRange {
	out := []PortRange{{0, maxPort}}
	for i := range conds {
		switch c := &conds[i]; {
		case c.Kind == CondProtocol:
			if (c.Protocol == p) == c.Not {
				return nil
			}
		case !p.HasPorts():
			if !c.Not {
				return nil
			}
		case c.Not:
			out = intersect(out, complement(c.Ports))
		default:
			out = intersect(out, c.Ports)
		}
	}
	return out
}

func intersect(a, b []PortRange) []PortRange {
	var out []PortRange
	for len(a) > 0 && len(b) > 0 {
		if first, last := max(a[0].First, b[0].First), min(a[0].Last, b[0].Last); first <= last {
			out = append(out, PortRange{first, last})
		}
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

func complement(rs []PortRange) []PortRange {
	var out []PortRange
	next := 0
	for _, r := range rs {
		if next < int(r.First) {
			out = append(out, PortRange{uint16(next), r.First - 1})
		}
		next = int(r.Last) + 1
	}
	if next <= maxPort {
		out = append(out, PortRange{uint16(next), maxPort})
	}
	return out
}

func inRanges(rs []PortRange, port uint16) bool {
	return slices.ContainsFunc(rs, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

func equalLeaves(a, b Leaf) bool {
	return a.Verdict == b.Verdict && a.Origin == b.Origin && a.Log == b.Log && slices.Equal(a.Before, b.Before)
}
