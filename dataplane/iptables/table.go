package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
)

// A table of a program is a chain that finds the peer's rest. iptables has no map
// from addresses to chains, so each rest has the set of its peers, and the chain
// asks the sets in turn; where they are many, sets of several rests' peers lead
// to chains of these.

// fewRests is how many rests a chain asks for in turn.
const fewRests = 8

// group is a rest and its peers.
type group struct {
	rest  *dataplane.Rest
	elems []elem
}

func leafKey(l *dataplane.Leaf) string {
	s := fmt.Sprintf("%s %v %s", l.Verdict, l.Log, l.Origin)
	for _, m := range l.Before {
		s += fmt.Sprintf(", %v %s", m.Log, m.Origin)
	}
	return s
}

// table returns the chain of a table whose tier ends so.
func (g *generator) table(t *dataplane.Table, end *dataplane.Leaf) string {
	name := chainPrefix + "t-" + dataplane.Hash(t.ID, leafKey(end))
	return g.once(name, func() []rule {
		direction := "src"
		if t.Side == dataplane.CondDstAddr {
			direction = "dst"
		}
		s := g.state.Compiled.Table(t.ID)
		l := lookup{g, t.ID, direction, end}
		// Addresses first: they differ from the blocks around them.
		addrs, nets := map[string]*group{}, map[string]*group{}
		for a, r := range s.EachAddr() {
			add(addrs, r, single(a))
		}
		for _, b := range s.Blocks {
			add(nets, b.Rest, rangeElems(b.First, b.Last)...)
		}
		rules := l.rules("a", typeAddrs, sortedGroups(addrs), 0)
		rules = append(rules, l.rules("b", typeNets, sortedGroups(nets), 0)...)
		return append(rules, rule{"", "-g " + g.rest(s.Empty, end), "any other peer"})
	})
}

func add(groups map[string]*group, r *dataplane.Rest, elems ...elem) {
	if groups[r.ID] == nil {
		groups[r.ID] = &group{rest: r}
	}
	groups[r.ID].elems = append(groups[r.ID].elems, elems...)
}

func sortedGroups(groups map[string]*group) []*group {
	out := make([]*group, 0, len(groups))
	for _, id := range sortedKeys(groups) {
		out = append(out, groups[id])
	}
	return out
}

// lookup is the search for a peer in one table.
type lookup struct {
	*generator
	table, direction string
	end              *dataplane.Leaf
}

// rules are those that lead to the rests of groups. Where there are many, they
// are parted by a letter of the rest's ID, so that groups that come and go leave
// the others where they are.
func (l *lookup) rules(letter, kind string, groups []*group, depth int) []rule {
	if len(groups) <= fewRests || depth >= idLen {
		var rules []rule
		for _, g := range groups {
			set := l.set("t"+dataplane.Hash(l.table, letter, g.rest.ID), kind, g.elems)
			rules = append(rules, rule{inSet("", set, l.direction), "-g " + l.rest(g.rest, l.end), ""})
		}
		return rules
	}
	var parts [fewRests][]*group
	for _, g := range groups {
		n := g.rest.ID[depth] % fewRests
		parts[n] = append(parts[n], g)
	}
	var rules []rule
	for _, part := range parts {
		if len(part) <= 1 {
			rules = append(rules, l.rules(letter, kind, part, depth)...)
			continue
		}
		path := ""
		for _, c := range []byte(part[0].rest.ID[:depth+1]) {
			path += fmt.Sprint(c % fewRests)
		}
		var all []elem
		for _, g := range part {
			all = append(all, g.elems...)
		}
		set := l.set("u"+dataplane.Hash(l.table, letter, path), kind, all)
		chain := chainPrefix + "u-" + dataplane.Hash(l.table, letter, path, leafKey(l.end))
		l.once(chain, func() []rule { return l.rules(letter, kind, part, depth+1) })
		rules = append(rules, rule{inSet("", set, l.direction), "-g " + chain, ""})
	}
	return rules
}

// idLen is the length of a rest's ID.
const idLen = 16

// rest returns the chain of a rest that ends so.
func (g *generator) rest(r *dataplane.Rest, end *dataplane.Leaf) string {
	name := chainPrefix + "r-" + dataplane.Hash(r.ID, leafKey(end))
	return g.once(name, func() []rule {
		if r.Ports != nil {
			return g.portTable(r.Ports, name, end)
		}
		var rules []rule
		for i := range r.Rules {
			rules = append(rules, g.rule(&r.Rules[i])...)
		}
		return append(rules, g.end(end)...)
	})
}

// portTable is the rules that look protocol and destination port up.
func (g *generator) portTable(t *dataplane.PortTable, name string, end *dataplane.Leaf) []rule {
	var rules []rule
	leaf := func(match string, l *dataplane.Leaf) []rule { return g.decided(match, l, end) }
	for i := 0; i < len(t.Entries); {
		p := t.Entries[i].Protocol
		j := i
		for j < len(t.Entries) && t.Entries[j].Protocol == p {
			j++
		}
		entries := t.Entries[i:j]
		i = j
		match := fmt.Sprintf("-p %d", p)
		if !p.HasPorts() {
			rules = append(rules, leaf(match, &entries[0].Leaf)...)
			continue
		}
		tree := fmt.Sprintf("%s-%d", name, p)
		g.portTree(tree, entries, leaf)
		rules = append(rules, rule{match, "-g " + tree, ""})
	}
	return append(rules, leaf("", &t.Other)...)
}

// decided is a leaf that leads nowhere on: where it goes on it comes to the tier's end.
func (g *generator) decided(match string, l, end *dataplane.Leaf) []rule {
	whole := *l
	if l.Verdict == dataplane.Continue {
		if l.Origin != (dataplane.Origin{}) { // a mark of its own
			whole.Before = append(slices.Clone(whole.Before), dataplane.Mark{Origin: l.Origin, Log: l.Log})
		}
		whole.Verdict, whole.Origin, whole.Log = end.Verdict, end.Origin, end.Log
		if whole.Verdict == dataplane.Continue {
			whole.Verdict = dataplane.Next
		}
	}
	return g.leaf(match, &whole)
}

// rangeElems returns a range of addresses as blocks.
func rangeElems(first, last netip.Addr) []elem {
	var out []elem
	for first.Compare(last) <= 0 {
		p := netip.PrefixFrom(first, first.BitLen())
		for p.Bits() > 1 {
			q := netip.PrefixFrom(first, p.Bits()-1)
			if q.Masked().Addr() != first || dataplane.LastAddr(q).Compare(last) > 0 {
				break
			}
			p = q
		}
		out = append(out, elem{net: p})
		if first = dataplane.LastAddr(p).Next(); !first.IsValid() {
			break
		}
	}
	return out
}
