package dataplane

import (
	"cmp"
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
// if they are no more than linear or ask for something else. Leaves with Verdict
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
	t := &PortTable{Other: leafAmong(rules)}
	slices.Sort(protocols)
	for _, p := range slices.Compact(protocols) {
		t.sweep(rules, p)
	}
	return t
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

// portEvent is where a rule, by number, begins to hold for the ports of a
// protocol, or the first port where it does not any more.
type portEvent struct {
	at, rule int
	begin    bool
}

// sweep adds the entries of a protocol: it goes through the ports from the
// lowest, and knows at each which rules hold.
func (t *PortTable) sweep(rules []*flatRule, p model.Protocol) {
	var events []portEvent
	for i, r := range rules {
		for _, ports := range portsFor(r.rest, p) {
			events = append(events, portEvent{int(ports.First), i, true})
			if ports.Last < maxPort {
				events = append(events, portEvent{int(ports.Last) + 1, i, false})
			}
		}
	}
	slices.SortFunc(events, func(a, b portEvent) int { return cmp.Compare(a.at, b.at) })
	var marks, deciding []int // rules that hold, sorted: those that go on, and the others
	own := len(t.Entries)
	for i, at := 0, 0; at <= maxPort; {
		for ; i < len(events) && events[i].at == at; i++ {
			list := &deciding
			if rules[events[i].rule].leaf.Verdict == Continue {
				list = &marks
			}
			j, _ := slices.BinarySearch(*list, events[i].rule)
			if events[i].begin {
				*list = slices.Insert(*list, j, events[i].rule)
			} else {
				*list = slices.Delete(*list, j, j+1)
			}
		}
		next := maxPort + 1
		if i < len(events) {
			next = events[i].at
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
func leafOfHolding(rules []*flatRule, marks, deciding []int) Leaf {
	end := Leaf{Verdict: Continue}
	if len(deciding) > 0 {
		end = *rules[deciding[0]].leaf
	}
	var before []Mark
	for _, m := range marks {
		if len(deciding) > 0 && m > deciding[0] {
			break
		}
		before = append(before, Mark{rules[m].leaf.Origin, rules[m].leaf.Log})
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
