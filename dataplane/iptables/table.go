package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/naming"
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
	name := chainPrefix + "t-" + g.hash(t.ID, leafKey(end))
	return g.once(name, func() []rule {
		direction := "src"
		if t.Side == dataplane.CondDstAddr {
			direction = "dst"
		}
		s := g.state.Compiled.Table(t.ID)
		if s.Linear() {
			return g.inTurn(t, end)
		}
		found := g.peers(s)
		l := lookup{g, t.ID, direction, end, s.Empty, restsOf(s.Empty, found.nets), nil}
		if len(found.nets) == 0 {
			l.other = []rule{l.anyOther()}
		}
		// Addresses first: they differ from the blocks around them.
		rules := l.rules("a", typeAddrs, found.addrs, 0)
		rules = append(rules, l.rules("b", typeNets, found.nets, 0)...)
		return append(rules, l.anyOther())
	})
}

// inTurn is the rules of a linear table, and the end of its tier.
func (g *generator) inTurn(t *dataplane.Table, end *dataplane.Leaf) []rule {
	var rules []rule
	for r := range t.Rules() {
		rules = append(rules, g.rule(&r)...)
	}
	return append(rules, g.end(end)...)
}

// peers returns the addresses and blocks of a table.
func (g *generator) peers(s *dataplane.TableState) *peers {
	if p := g.memory.tables[s.Table.ID]; p != nil {
		return p
	}
	addrs, nets := map[string]*group{}, map[string]*group{}
	for a, r := range s.EachAddr() {
		add(addrs, r, single(a))
	}
	for _, b := range s.Blocks {
		add(nets, b.Rest, rangeElems(b.First, b.Last)...)
	}
	p := &peers{sortedGroups(addrs), sortedGroups(nets)}
	g.memory.tables[s.Table.ID] = p
	return p
}

// restsOf are the rests to which an address may lead that has no entry of its own.
func restsOf(empty *dataplane.Rest, nets []*group) []*dataplane.Rest {
	out := []*dataplane.Rest{empty}
	for _, g := range nets {
		out = append(out, g.rest)
	}
	return out
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
		g := groups[id]
		kept := g.elems[:0]
		for _, e := range g.elems {
			if e.inKernel() {
				kept = append(kept, e)
			}
		}
		g.elems = sortElems(kept)
		out = append(out, g)
	}
	return out
}

// lookup is the search for a peer in one table.
type lookup struct {
	*generator
	table, direction string
	end              *dataplane.Leaf
	// empty is the rest of peers that have no entry, fallbacks are those to which
	// addresses may lead that have none of their own.
	empty     *dataplane.Rest
	fallbacks []*dataplane.Rest
	// other ends the chains of parts, if nothing is to be asked after the addresses.
	other []rule
}

func (l *lookup) anyOther() rule { return rule{"", "-g " + l.rest(l.empty, l.end), "any other peer"} }

// effect is that of a set which leads to a rest.
func (l *lookup) effectOf(letter string, r *dataplane.Rest) effect {
	if letter == "b" {
		return effectOfRest(r, []*dataplane.Rest{l.empty}, l.end)
	}
	return effectOfRest(r, l.fallbacks, l.end)
}

// rules are those that lead to the rests of groups. Where there are many, they
// are parted by a letter of the rest's ID, so that groups that come and go leave
// the others where they are.
func (l *lookup) rules(letter, kind string, groups []*group, depth int) []rule {
	if len(groups) <= fewRests || depth >= idLen {
		var rules []rule
		for _, g := range groups {
			key := "t" + naming.Hash(l.table, letter, g.rest.ID)
			l.note(l.key(key), l.effectOf(letter, g.rest), false)
			rules = append(rules, rule{inSet("", l.sorted(key, kind, g.elems), l.direction), "-g " + l.rest(g.rest, l.end), ""})
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
		rules = append(rules, l.part(letter, kind, part, depth))
	}
	return rules
}

// part is the rule that leads to the chain of several groups.
func (l *lookup) part(letter, kind string, groups []*group, depth int) rule {
	path := ""
	for _, c := range []byte(groups[0].rest.ID[:depth+1]) {
		path += fmt.Sprint(c % fewRests)
	}
	var all []elem
	e := neutral
	for _, g := range groups {
		all = append(all, g.elems...)
		e = e.with(l.effectOf(letter, g.rest))
	}
	if l.other == nil {
		e = mixed // who is in the set and in none of the groups' would come out of the chain undecided
	}
	key := "u" + naming.Hash(l.table, letter, path)
	l.note(l.key(key), e, false)
	chain := chainPrefix + "u-" + l.hash(l.table, letter, path, leafKey(l.end))
	l.once(chain, func() []rule { return append(l.rules(letter, kind, groups, depth+1), l.other...) })
	return rule{inSet("", l.sorted(key, kind, sortElems(all)), l.direction), "-g " + chain, ""}
}

// idLen is the length of a rest's ID.
const idLen = 16

// rest returns the chain of a rest that ends so.
func (g *generator) rest(r *dataplane.Rest, end *dataplane.Leaf) string {
	name := chainPrefix + "r-" + g.hash(r.ID, leafKey(end))
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
