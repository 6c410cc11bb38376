package nftables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

// A table of the program is a chain that looks the peer up, among addresses
// first and then among blocks, and goes on to the chain of the rest that
// remains for the peer. It goes there rather than jumps: so the end of a rest
// leads straight back to the program, past the other look-ups. The end of the
// tier is part of the rests, which is why a table exists once for each end that
// it has in a program; equal rules nearly always have equal ends.
//
// A table of many addresses is classed (dataplane.TableState.Classed): one map
// for each family leads from addresses to numbers of classes, and a small map of
// the table from these to rests. For whenever a verdict comes or goes the kernel
// looks at all verdicts of the table `inet tierwall`, a million where a hundred
// tables have ten thousand addresses each; maps without verdicts it leaves alone.
//
// A linear table (dataplane.TableState.Linear) is a chain of the rules themselves.

// tableUnit is one rendered form of a table.
type tableUnit struct {
	name   string
	side   dataplane.CondKind
	family dataplane.Family
	end    dataplane.Leaf
	spare  base.Sparing
	// classed and linear tell which of its three forms it has.
	classed, linear bool
	// other is the chain of the rest for peers in none of the maps.
	other string
}

// The names of its maps: by class, or by address. The one for blocks is there
// only if there are any.
func (tu *tableUnit) classes() string { return tu.name + "-c" }
func (tu *tableUnit) addrs() string   { return tu.name + "-a" }
func (tu *tableUnit) blocks() string  { return tu.name + "-b" }

func addrType(f dataplane.Family) string {
	if f == dataplane.IPv6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

// mapClasses is the map from addresses to classes, less the family's digit.
const mapClasses = "classes"

// unclass takes the class off a packet that has been through a classed table.
const unclass = "meta priority set none"

// chain is the table's chain.
func (tu *tableUnit) chain(blocks bool) *nft.Chain {
	field := ipOf(tu.family) + " saddr"
	if tu.side == dataplane.CondDstAddr {
		field = ipOf(tu.family) + " daddr"
	}
	var rules []nft.Rule
	if tu.classed {
		rules = append(rules, line("meta priority set "+field+" map @"+mapClasses+digit(tu.family)+" meta priority vmap @"+tu.classes(), ""))
	} else {
		rules = append(rules, line(field+" vmap @"+tu.addrs(), ""))
	}
	if blocks {
		rules = append(rules, line(field+" vmap @"+tu.blocks(), ""))
	}
	rules = append(rules, line("goto "+tu.other, "any other peer"))
	return &nft.Chain{Name: tu.name, Comment: "by peer: to what remains of the tier's rules", Rules: rules}
}

func leafKey(l *dataplane.Leaf) string {
	s := fmt.Sprintf("%s %v %s", l.Verdict, l.Log, l.Origin)
	for _, m := range l.Before {
		s += fmt.Sprintf(", %v %s", m.Log, m.Origin)
	}
	return s
}

// spared is the hash of a chain's content and of what it only counts.
func spared(s base.Sparing, parts ...string) string {
	if s != base.SpareNone {
		parts = append(parts, "spares", string(s))
	}
	return naming.Hash(parts...)
}

// table holds the unit of a table with an end.
func (w *world) table(t *dataplane.Table, end dataplane.Leaf, f dataplane.Family, spare base.Sparing) *unit {
	name := "t-" + spared(spare, t.ID, leafKey(&end))
	return w.hold(name, func(u *unit) {
		u.name = name
		tu := &tableUnit{name: name, side: t.Side, family: f, end: end, spare: spare}
		w.writeTable(u, tu, w.state.Compiled.Table(t.ID))
		if w.tables[t.ID] == nil {
			w.tables[t.ID] = map[*unit]*tableUnit{}
		}
		w.tables[t.ID][u] = tu
		u.over = func() bool { return w.state.Compiled.Table(t.ID) == nil }
		u.gone = func() {
			for _, verdict := range w.tableVerdicts(u) {
				w.releaseRest(verdict)
			}
			if delete(w.tables[t.ID], u); len(w.tables[t.ID]) == 0 {
				delete(w.tables, t.ID)
			}
			delete(w.reshaped, u)
		}
	})
}

// writeTable writes a table's chain and maps, in the form that it is to have.
func (w *world) writeTable(u *unit, tu *tableUnit, s *dataplane.TableState) {
	tu.classed, tu.linear = s.Classed(), s.Linear()
	if tu.linear {
		w.writeRules(u, tu, s.Table)
		return
	}
	tu.other = u.use(w.rest(s.Empty, tu)).name
	goTo := w.rests(tu)
	if tu.classed {
		u.use(w.classes(tu.family))
		m := &nft.Set{Name: tu.classes(), Types: nft.TypeClass, Verdicts: true, Elems: map[string]string{}}
		for n, r := range s.EachClass() {
			m.Elems[nft.ClassKey(n)] = goTo(r)
		}
		w.ownSet(u, m)
		w.own(u, tu.chain(false))
		return
	}
	addrs := &nft.Set{Name: tu.addrs(), Types: addrType(tu.family), Verdicts: true, Elems: make(map[string]string, s.Len())}
	for a, r := range s.EachAddr() {
		addrs.Elems[nft.AddrKey(a)] = goTo(r)
	}
	w.ownSet(u, addrs)
	blocks := w.blockRests(s, tu)
	if len(blocks) > 0 {
		w.ownSet(u, tu.blockMap(blocks))
	}
	w.own(u, tu.chain(len(blocks) > 0))
}

// writeRules writes the chain of a linear table: the rules themselves, and the end
// of the tier. The chain has no maps.
func (w *world) writeRules(u *unit, tu *tableUnit, t *dataplane.Table) {
	b := builder{w: w, u: u, family: tu.family}
	for r := range t.Rules() {
		b.rule(&r)
	}
	b.end(&tu.end)
	w.own(u, &nft.Chain{Name: tu.name, Comment: "in turn: too many combinations of peers for rules by peer", Rules: b.rules})
}

// tableVerdicts returns the verdicts in a table's maps, each of which holds its rest.
func (w *shared) tableVerdicts(u *unit) (out []string) {
	for _, m := range u.kernel {
		out = slices.AppendSeq(out, maps.Values(w.Ruleset.Sets[m].Elems))
	}
	return out
}

// rests returns what holds rests for elements of a table's maps, and says the
// verdict that leads there.
func (w *world) rests(tu *tableUnit) func(*dataplane.Rest) string {
	type target struct {
		unit    *unit
		verdict string
	}
	known := map[*dataplane.Rest]target{}
	return func(r *dataplane.Rest) string {
		t, ok := known[r]
		if ok {
			t.unit.refs++
			return t.verdict
		}
		u := w.rest(r, tu)
		known[r] = target{u, "goto " + u.name}
		return known[r].verdict
	}
}

// blockRests returns the elements for a table's blocks, each of which holds its rest.
func (w *world) blockRests(s *dataplane.TableState, tu *tableUnit) map[string]string {
	out := map[string]string{}
	goTo := w.rests(tu)
	for _, b := range s.Blocks {
		for _, r := range (nft.Range{First: b.First, Last: b.Last}).Halves() {
			out[r.Key()] = goTo(b.Rest)
		}
	}
	return out
}

// classes holds the unit of a family's map from addresses to classes.
func (w *world) classes(f dataplane.Family) *unit {
	name := mapClasses + digit(f)
	return w.hold(name, func(u *unit) {
		u.name = name
		m := &nft.Set{Name: name, Types: addrType(f), Classes: true, Comment: "address to its class in tables", Elems: map[string]string{}}
		keys := map[uint32]string{}
		for a, n := range w.state.Compiled.Classes(f) {
			if keys[n] == "" {
				keys[n] = nft.ClassKey(n)
			}
			m.Elems[nft.AddrKey(a)] = keys[n]
		}
		w.ownSet(u, m)
	})
}

// changeClasses brings the maps from addresses to classes up to date that are there.
func (w *world) changeClasses(changes []dataplane.ClassChange) {
	for _, c := range changes {
		name := mapClasses + digit(dataplane.FamilyOf(c.Addr))
		switch {
		case w.Ruleset.Sets[name] == nil:
		case c.Class == 0:
			w.DropElem(name, nft.AddrKey(c.Addr))
		default:
			w.PutElem(name, nft.AddrKey(c.Addr), nft.ClassKey(c.Class))
		}
	}
}

// changeTable brings the rendered forms of a table up to date.
func (w *world) changeTable(tc *dataplane.TableChange) {
	for u, tu := range w.tables[tc.State.Table.ID] {
		switch {
		case tu.classed != tc.State.Classed() || tu.linear != tc.State.Linear():
			w.reformTable(u, tu, tc.State)
		case tu.linear: // its sets are kept up to date by themselves
		case tu.classed:
			for _, n := range tc.Classes {
				w.place(tu.classes(), nft.ClassKey(n), tc.State.AtClass(n), tu)
			}
		default:
			for _, a := range tc.Addrs {
				w.place(tu.addrs(), nft.AddrKey(a), tc.State.At(a), tu)
			}
			if tc.Blocks {
				w.changeBlocks(tc.State, u, tu)
			}
		}
	}
}

// reformTable writes a table anew in its other form, and so the programs that jump to it
// if it is classed in one of them.
func (w *world) reformTable(u *unit, tu *tableUnit, s *dataplane.TableState) {
	if tu.classed != s.Classed() {
		w.reshaped[u] = struct{}{}
	}
	before, kernel, uses := w.tableVerdicts(u), u.kernel, u.uses
	u.chains, u.kernel, u.uses = nil, nil, nil
	w.writeTable(u, tu, s)
	for _, name := range kernel {
		w.DropSet(name)
	}
	for _, verdict := range before {
		w.releaseRest(verdict)
	}
	w.letGo(u, uses)
}

// changeBlocks brings a table's map of blocks up to date: it comes with its first and goes with its last.
func (w *world) changeBlocks(s *dataplane.TableState, u *unit, tu *tableUnit) {
	now := w.blockRests(s, tu)
	old := w.Ruleset.Sets[tu.blocks()]
	var before []string
	if old != nil {
		before = slices.Collect(maps.Values(old.Elems))
	}
	switch {
	case old != nil && len(now) > 0:
		w.SetElems(tu.blocks(), now)
	case old != nil:
		w.DropSet(tu.blocks())
		u.kernel = u.kernel[:1]
	case len(now) > 0:
		w.ownSet(u, tu.blockMap(now))
	}
	if (old != nil) != (len(now) > 0) {
		w.PutChain(tu.chain(len(now) > 0))
	}
	for _, verdict := range before {
		w.releaseRest(verdict)
	}
}

func (tu *tableUnit) blockMap(elems map[string]string) *nft.Set {
	return &nft.Set{Name: tu.blocks(), Types: addrType(tu.family), Interval: true, Verdicts: true, Elems: elems}
}

// place makes a key of a table's map lead to a rest, or to none.
func (w *world) place(name, key string, r *dataplane.Rest, tu *tableUnit) {
	before, was := w.Ruleset.Sets[name].Elems[key]
	if r != nil {
		w.PutElem(name, key, "goto "+w.rest(r, tu).name)
	} else {
		w.DropElem(name, key)
	}
	if was {
		w.releaseRest(before)
	}
}

func (w *shared) releaseRest(verdict string) {
	w.release(w.units[strings.TrimPrefix(verdict, "goto ")])
}

// rest holds the unit of a rest that ends in a way.
func (w *world) rest(r *dataplane.Rest, tu *tableUnit) *unit {
	name := "r-" + spared(tu.spare, r.ID, tu.family.String(), leafKey(&tu.end))
	return w.hold(name, func(u *unit) {
		u.name = name
		b := builder{w: w, u: u, family: tu.family, spare: tu.spare}
		if r.Ports != nil {
			b.portTable(r.Ports, name, &tu.end)
		} else {
			for i := range r.Rules {
				b.rule(&r.Rules[i])
			}
			b.end(&tu.end)
		}
		w.own(u, &nft.Chain{Name: name, Rules: b.rules})
	})
}
