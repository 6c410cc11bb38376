package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/model"
)

// namer gives a set its name in the kernel.
type namer func(*ipset) string

// firstVersion is the namer of a kernel that holds nothing.
func firstVersion(s *ipset) string { return versionName(s.key, 0) }

// generate returns what a State asks for.
func generate(s *dataplane.State, o Options, name namer) *ruleset {
	return newMemory(s).generate(s, o, name)
}

// generate returns what a State asks for, of the Compiler that the memory is of.
func (m *memory) generate(s *dataplane.State, o Options, name namer) *ruleset {
	m.inputs = dataplane.InputsOf(s)
	rs := newRuleset()
	rs.early = o.with(s).Early
	w := newWorld(s)
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		g := &generator{world: w, sink: sink{opts: o.with(s), family: f, name: name, rs: rs}, memory: m}
		g.base()
	}
	return rs
}

// world is a State, sorted by what the rules of a node ask for.
type world struct {
	state    *dataplane.State
	settings *model.Settings
	hosts    dataplane.Hosts // sorted by name
	// owners are the pods that addresses lead to; of several that claim an address the first by name.
	owners map[netip.Addr]dataplane.Endpoint
}

func newWorld(s *dataplane.State) *world {
	w := &world{state: s, settings: s.Settings, owners: map[netip.Addr]dataplane.Endpoint{}}
	if w.settings == nil {
		w.settings = model.DefaultSettings()
	}
	for _, e := range s.Compiled.Endpoints() {
		if e.Host != nil {
			w.hosts = append(w.hosts, e)
			continue
		}
		for _, a := range e.Addrs {
			if _, ok := w.owners[a]; !ok {
				w.owners[a] = e
			}
		}
	}
	return w
}

// addrs returns the addresses of local pods of a family, sorted.
func (w *world) addrs(f dataplane.Family) []netip.Addr {
	var out []netip.Addr
	for a := range w.owners {
		if dataplane.FamilyOf(a) == f {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// sink is where rules of one family are written to.
type sink struct {
	opts   Options
	family dataplane.Family
	name   namer
	rs     *ruleset
	// t is the table that is being written: chains are not seen across tables.
	t *table
}

// generator writes the rules of one family.
type generator struct {
	*world
	sink
	memory *memory
	// included are the chains of the table that are written out where they are included.
	included map[string][]base.Rule
}

// in writes one of the tables.
func (g *sink) in(name string, write func()) {
	rules := g.rs.of(g.family)
	if rules[name] == nil {
		rules[name] = newTable()
	}
	g.t = rules[name]
	write()
	g.t = nil
}

// chain writes a chain.
func (g *sink) chain(name string, rules ...rule) { g.t.chains[name] = rules }

// once returns the name of a chain that several may ask for, written when it is not there.
func (g *sink) once(name string, rules func() []rule) string {
	if _, ok := g.t.chains[name]; !ok {
		g.t.chains[name] = nil
		g.t.chains[name] = rules()
	}
	return name
}

// key is what a set is called, in the generator's family.
func (g *sink) key(key string) string { return fmt.Sprintf("%d%s", g.family, key) }

// set returns the kernel's name of a set.
func (g *sink) set(key, kind string, elems []elem) string {
	if s := g.rs.sets[g.key(key)]; s != nil {
		return s.name
	}
	kept := elems[:0:0]
	for _, e := range elems {
		if e.inKernel() {
			kept = append(kept, e)
		}
	}
	return g.sorted(key, kind, sortElems(kept))
}

// sorted returns the kernel's name of a set whose elements are as they should be.
func (g *sink) sorted(key, kind string, elems []elem) string {
	key = g.key(key)
	s := g.rs.sets[key]
	if s == nil {
		s = &ipset{key: key, kind: kind, family: g.family, elems: elems}
		s.name = g.name(s)
		g.rs.sets[key] = s
	}
	return s.name
}

// coreSet returns the kernel's name for a set of addresses. One that has blocks
// is of another type, and so of another key.
func (g *programWriter) coreSet(s *dataplane.Set, not bool) string {
	m, f := g.members(s), familyIndex(g.family)
	kind, letter := typeAddrs, "a"
	if m.nets[f] {
		kind, letter = typeNets, "n"
	}
	return g.asked(letter+m.hash, kind, m.elems[f], not)
}

// portSets returns the kernel's names for a set of addresses with ports: one for
// those with a port, and one a protocol for those with all ports of it.
func (g *programWriter) portSets(s *dataplane.Set, not bool) (ports string, whole []protocolSet) {
	m, f := g.members(s), familyIndex(g.family)
	for _, w := range m.whole[f] {
		whole = append(whole, protocolSet{w.protocol, g.asked(fmt.Sprintf("q%d-%s", w.protocol, m.hash), typeAddrs, w.elems, not)})
	}
	return g.asked("p"+m.hash, typePorts, m.elems[f], not), whole
}

// members returns those of a set, and remembers that the piece asks for it.
func (g *programWriter) members(s *dataplane.Set) *members {
	if s.IsCore() {
		g.piece.asks[s.ID] = true
	}
	return g.memory.of(s)
}

// asked returns the kernel's name of a set that the rule at hand asks for.
func (g *programWriter) asked(key, kind string, elems []elem, not bool) string {
	g.note(g.key(key), g.effect, not)
	return g.sorted(key, kind, elems)
}

// protocolSet is a set of addresses that count for one protocol.
type protocolSet struct {
	protocol model.Protocol
	name     string
}

// sampleDenied hands over some of the packets that are about to be dropped.
func sampleDenied() rule {
	return rule{
		fmt.Sprintf("-m limit --limit %d/sec --limit-burst %d", dataplane.DeniedRate, dataplane.DeniedBurst),
		fmt.Sprintf("-j NFLOG --nflog-group %d --nflog-prefix %q", dataplane.DeniedGroup, dataplane.DeniedPrefix), "",
	}
}

// origin returns the chain that counts for a rule of a policy and does what the rule says.
func (g *sink) origin(l *dataplane.Leaf) string {
	o := l.Origin
	name := chainPrefix + "o-" + naming.Hash(o.String(), l.Verdict.String(), fmt.Sprint(l.Log))
	return g.once(name, func() []rule {
		g.rs.origins[name] = o
		rules := []rule{{"", "", o.String()}}
		switch l.Verdict {
		case dataplane.Accept:
			rules[0].target = setMark(g.opts.Accepted)
		case dataplane.Drop:
			rules[0].target = "-j DROP"
			if g.opts.sampleDenied {
				rules = slices.Insert(rules, 0, sampleDenied())
			}
		}
		if l.Log {
			log := fmt.Sprintf("-j NFLOG --nflog-group %d --nflog-prefix %q", g.opts.LogGroup, naming.Plain(name+" "+o.String(), maxPrefix))
			rules = slices.Insert(rules, 0, rule{"", log, ""})
		}
		return rules
	})
}
