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

// newPortTable returns the table of rules, or nil if they are no more than
// linear or ask for something else. Leaves with Verdict Continue stand for the end of the rules.
func newPortTable(rules []Rule, linear int) *PortTable {
	if len(rules) <= linear {
		return nil
	}
	cuts := map[model.Protocol][]int{}
	for i := range rules {
		for _, c := range rules[i].Conds {
			switch c.Kind {
			case CondProtocol:
				cuts[c.Protocol] = append(cuts[c.Protocol], 0)
			case CondDstPorts:
			default:
				return nil
			}
		}
	}
	for i := range rules {
		p, ok := protocolOf(rules[i].Conds)
		for _, c := range rules[i].Conds {
			if c.Kind != CondDstPorts {
				continue
			}
			if !ok {
				return nil // ports of any protocol: convert does not make such rules
			}
			for _, r := range c.Ports {
				cuts[p] = append(cuts[p], int(r.First), int(r.Last)+1)
			}
		}
	}
	t := &PortTable{Other: walk(rules, 0, 0)}
	for p, at := range cuts {
		slices.Sort(at)
		at = slices.Compact(at)
		for i, first := range at {
			if first > 65535 {
				break
			}
			last := 65535
			if i+1 < len(at) {
				last = at[i+1] - 1
			}
			leaf := walk(rules, p, uint16(first))
			if n := len(t.Entries); n > 0 && t.Entries[n-1].Protocol == p && equalLeaves(t.Entries[n-1].Leaf, leaf) {
				t.Entries[n-1].Last = uint16(last)
				continue
			}
			t.Entries = append(t.Entries, PortEntry{p, uint16(first), uint16(last), leaf})
		}
	}
	slices.SortFunc(t.Entries, func(a, b PortEntry) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First))
	})
	return t
}

// protocolOf returns the protocol that conditions ask for.
func protocolOf(conds []Cond) (model.Protocol, bool) {
	for _, c := range conds {
		if c.Kind == CondProtocol && !c.Not {
			return c.Protocol, true
		}
	}
	return 0, false
}

// walk tries rules that ask for protocol and destination port only. Protocol 0
// is one that no rule names.
func walk(rules []Rule, p model.Protocol, port uint16) Leaf {
	var before []Mark
next:
	for i := range rules {
		for _, c := range rules[i].Conds {
			var holds bool
			if c.Kind == CondProtocol {
				holds = c.Protocol == p
			} else {
				holds = p.HasPorts() && inRanges(c.Ports, port)
			}
			if holds == c.Not {
				continue next
			}
		}
		l := rules[i].Leaf
		if l.Verdict == Continue {
			before = append(before, Mark{l.Origin, l.Log})
			continue
		}
		l.Before = before
		return l
	}
	return Leaf{Verdict: Continue, Before: before}
}

func inRanges(rs []PortRange, port uint16) bool {
	return slices.ContainsFunc(rs, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

func equalLeaves(a, b Leaf) bool {
	return a.Verdict == b.Verdict && a.Origin == b.Origin && a.Log == b.Log && slices.Equal(a.Before, b.Before)
}
