package nftables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// A table of the program is a chain that looks the peer up, among addresses
// first and then among blocks, and goes on to the chain of the rest that
// remains for the peer. It goes there rather than jumps: so the end of a rest
// leads straight back to the program, past the other look-ups. The end of the
// tier is part of the rests, which is why a table exists once for each end that
// it has in a program; equal rules nearly always have equal ends.

// tableUnit is one rendered form of a table.
type tableUnit struct {
	name   string
	side   dataplane.CondKind
	family dataplane.Family
	end    dataplane.Leaf
	// other is the chain of the rest for peers in neither map.
	other string
}

// The names of its maps. The one for blocks is there only if there are any.
func (tu *tableUnit) addrs() string  { return tu.name + "-a" }
func (tu *tableUnit) blocks() string { return tu.name + "-b" }

func (tu *tableUnit) types() string {
	if tu.family == dataplane.IPv6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

// chain is the table's chain.
func (tu *tableUnit) chain(blocks bool) *chain {
	field := ipOf(tu.family) + " saddr"
	if tu.side == dataplane.CondDstAddr {
		field = ipOf(tu.family) + " daddr"
	}
	rules := []rule{{field + " vmap @" + tu.addrs(), ""}}
	if blocks {
		rules = append(rules, rule{field + " vmap @" + tu.blocks(), ""})
	}
	rules = append(rules, rule{"goto " + tu.other, "any other peer"})
	return &chain{name: tu.name, comment: "by peer: to what remains of the tier's rules", rules: rules}
}

func leafKey(l *dataplane.Leaf) string {
	s := fmt.Sprintf("%s %v %s", l.Verdict, l.Log, l.Origin)
	for _, m := range l.Before {
		s += fmt.Sprintf(", %v %s", m.Log, m.Origin)
	}
	return s
}

// table holds the unit of a table with an end.
func (w *world) table(t *dataplane.Table, end dataplane.Leaf, f dataplane.Family) *unit {
	name := "t-" + hash(t.ID, leafKey(&end))
	return w.hold(name, func(u *unit) {
		u.name = name
		state := w.state.Compiled.Table(t.ID)
		tu := &tableUnit{name: name, side: t.Side, family: f, end: end}
		tu.other = u.use(w.rest(state.Empty, tu)).name
		addrs := &set{name: tu.addrs(), types: tu.types(), verdicts: true, elems: make(map[string]string, state.Len())}
		for a, r := range state.EachAddr() {
			addrs.elems[addrKey(a)] = "goto " + w.rest(r, tu).name
		}
		w.ownSet(u, addrs)
		blocks := w.blockRests(state, tu)
		if len(blocks) > 0 {
			w.ownSet(u, tu.blockMap(blocks))
		}
		w.own(u, tu.chain(len(blocks) > 0))
		if w.tables[t.ID] == nil {
			w.tables[t.ID] = map[*unit]*tableUnit{}
		}
		w.tables[t.ID][u] = tu
		u.gone = func() {
			for _, m := range u.kernel {
				for _, verdict := range w.ruleset.sets[m].elems {
					w.releaseRest(verdict)
				}
			}
			if delete(w.tables[t.ID], u); len(w.tables[t.ID]) == 0 {
				delete(w.tables, t.ID)
			}
		}
	})
}

// blockRests returns the elements for a table's blocks, each of which holds its rest.
func (w *world) blockRests(s *dataplane.TableState, tu *tableUnit) map[string]string {
	out := map[string]string{}
	for _, b := range s.Blocks {
		for _, r := range (addrRange{b.First, b.Last}).halves() {
			out[r.key()] = "goto " + w.rest(b.Rest, tu).name
		}
	}
	return out
}

// changeTable brings the rendered forms of a table up to date.
func (w *world) changeTable(tc *dataplane.TableChange) {
	for u, tu := range w.tables[tc.State.Table.ID] {
		for _, a := range tc.Addrs {
			w.placeAddr(tc.State, tu, a)
		}
		if tc.Blocks {
			w.changeBlocks(tc.State, u, tu)
		}
	}
}

// changeBlocks brings a table's map of blocks up to date: it comes with its first and goes with its last.
func (w *world) changeBlocks(s *dataplane.TableState, u *unit, tu *tableUnit) {
	now := w.blockRests(s, tu)
	old := w.ruleset.sets[tu.blocks()]
	var before []string
	if old != nil {
		before = slices.Collect(maps.Values(old.elems))
	}
	switch {
	case old != nil && len(now) > 0:
		w.setElems(tu.blocks(), now)
	case old != nil:
		w.dropSet(tu.blocks())
		u.kernel = u.kernel[:1]
	case len(now) > 0:
		w.ownSet(u, tu.blockMap(now))
	}
	if (old != nil) != (len(now) > 0) {
		w.putChain(tu.chain(len(now) > 0))
	}
	for _, verdict := range before {
		w.releaseRest(verdict)
	}
}

func (tu *tableUnit) blockMap(elems map[string]string) *set {
	return &set{name: tu.blocks(), types: tu.types(), interval: true, verdicts: true, elems: elems}
}

func (w *world) placeAddr(s *dataplane.TableState, tu *tableUnit, a netip.Addr) {
	key := addrKey(a)
	before, was := w.ruleset.sets[tu.addrs()].elems[key]
	if r := s.At(a); r != nil {
		w.putElem(tu.addrs(), key, "goto "+w.rest(r, tu).name)
	} else {
		w.dropElem(tu.addrs(), key)
	}
	if was {
		w.releaseRest(before)
	}
}

func (w *world) releaseRest(verdict string) {
	w.release(w.units[strings.TrimPrefix(verdict, "goto ")])
}

// rest holds the unit of a rest that ends in a way.
func (w *world) rest(r *dataplane.Rest, tu *tableUnit) *unit {
	name := "r-" + hash(r.ID, tu.family.String(), leafKey(&tu.end))
	return w.hold(name, func(u *unit) {
		u.name = name
		b := builder{w: w, u: u, family: tu.family}
		if r.Ports != nil {
			b.portTable(r.Ports, name, &tu.end)
		} else {
			for i := range r.Rules {
				b.rule(&r.Rules[i])
			}
			b.end(&tu.end)
		}
		w.own(u, &chain{name: name, rules: b.rules})
	})
}

// portTable writes rules that look protocol and destination port up: single
// ports in a hash map, ranges in an interval map, and what most of the ranges
// lead to in neither.
func (b *builder) portTable(t *dataplane.PortTable, name string, end *dataplane.Leaf) {
	for i := 0; i < len(t.Entries); {
		p := t.Entries[i].Protocol
		j := i
		for j < len(t.Entries) && t.Entries[j].Protocol == p {
			j++
		}
		entries := t.Entries[i:j]
		i = j
		match := "meta l4proto " + protocol(p)
		other := b.leafChain(&commonest(entries).Leaf, end)
		if p.HasPorts() {
			b.portMaps(entries, fmt.Sprintf("%s-%d", name, p), match, other, end)
		}
		b.add(match+" goto "+other, "")
	}
	b.add("goto "+b.leafChain(&t.Other, end), "other protocols")
}

func (b *builder) portMaps(entries []dataplane.PortEntry, name, match, other string, end *dataplane.Leaf) {
	single := &set{name: name + "s", types: "inet_service", verdicts: true, elems: map[string]string{}}
	ranges := &set{name: name + "r", types: "inet_service", verdicts: true, interval: true, elems: map[string]string{}}
	for k := range entries {
		e := &entries[k]
		to := b.leafChain(&e.Leaf, end)
		switch {
		case e.First == e.Last:
			single.elems[portKey(e.First)] = "goto " + to
		case to != other:
			ranges.elems[portRangeKey(e.First, e.Last)] = "goto " + to
		}
	}
	for _, m := range []*set{single, ranges} {
		if len(m.elems) > 0 {
			b.w.ownSet(b.u, m)
			b.add(match+" th dport vmap @"+m.name, "")
		}
	}
}

// commonest returns an entry with the leaf that most of the ranges have.
func commonest(entries []dataplane.PortEntry) *dataplane.PortEntry {
	count := map[string]int{}
	best, most := 0, 0
	for i := range entries {
		if e := &entries[i]; e.First != e.Last || !e.Protocol.HasPorts() {
			k := leafKey(&e.Leaf)
			if count[k]++; count[k] > most {
				best, most = i, count[k]
			}
		}
	}
	return &entries[best]
}

// leafChain holds the chain of a leaf, to which port tables lead.
func (b *builder) leafChain(l *dataplane.Leaf, end *dataplane.Leaf) string {
	whole := *l
	if l.Verdict == dataplane.Continue {
		if l.Origin != (dataplane.Origin{}) { // a mark of its own
			whole.Before = append(whole.Before[:len(whole.Before):len(whole.Before)], dataplane.Mark{Origin: l.Origin, Log: l.Log})
		}
		whole.Verdict, whole.Origin, whole.Log = end.Verdict, end.Origin, end.Log
	}
	name := "l-" + hash(leafKey(&whole))
	return b.u.use(b.w.hold(name, func(u *unit) {
		u.name = name
		sub := builder{w: b.w, u: u, family: b.family}
		sub.leaf("", &whole)
		comment := ""
		if whole.Origin.Policy != (model.Ref{}) {
			comment = whole.Origin.String()
		}
		b.w.own(u, &chain{name: name, comment: comment, rules: sub.rules})
	})).name
}
