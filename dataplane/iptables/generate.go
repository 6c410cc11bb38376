package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// namer gives a set its name in the kernel.
type namer func(*ipset) string

// firstVersion is the namer of a kernel that holds nothing.
func firstVersion(s *ipset) string { return versionName(s.key, 0) }

// generate returns what a State asks for.
func generate(s *dataplane.State, o Options, name namer) *ruleset {
	rs := &ruleset{v4: familyRules{}, v6: familyRules{}, sets: map[string]*ipset{}, origins: map[string]dataplane.Origin{}}
	w := newWorld(s)
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		g := &generator{world: w, opts: o, family: f, name: name, rs: rs}
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

// generator writes the rules of one family.
type generator struct {
	*world
	opts   Options
	family dataplane.Family
	name   namer
	rs     *ruleset
	// t is the table that is being written: chains are not seen across tables.
	t *table
	// Names of the sets of the node itself.
	pods, guarded, hostAddrs, podCIDRs, foreign string
	hasCIDRs                                    bool
}

// in writes one of the tables.
func (g *generator) in(name string, write func()) {
	rules := g.rs.of(g.family)
	if rules[name] == nil {
		rules[name] = &table{hooks: map[string]string{}, chains: map[string][]rule{}}
	}
	g.t = rules[name]
	write()
	g.t = nil
}

// chain writes a chain.
func (g *generator) chain(name string, rules ...rule) { g.t.chains[name] = rules }

// once returns the name of a chain that several may ask for, written when it is not there.
func (g *generator) once(name string, rules func() []rule) string {
	if _, ok := g.t.chains[name]; !ok {
		g.t.chains[name] = nil
		g.t.chains[name] = rules()
	}
	return name
}

// set returns the kernel's name of a set.
func (g *generator) set(key, kind string, elems []elem) string {
	key = fmt.Sprintf("%d%s", g.family, key)
	s := g.rs.sets[key]
	if s == nil {
		kept := elems[:0:0]
		for _, e := range elems {
			if e.inKernel() {
				kept = append(kept, e)
			}
		}
		s = &ipset{key: key, kind: kind, family: g.family, elems: sortElems(kept)}
		s.name = g.name(s)
		g.rs.sets[key] = s
	}
	return s.name
}

// coreSet returns the kernel's name for a set of addresses. One that has blocks
// is of another type, and so of another key.
func (g *generator) coreSet(s *dataplane.Set) string {
	var elems []elem
	kind, letter := typeAddrs, "a"
	for _, m := range g.state.Compiled.Members(s) {
		switch {
		case dataplane.FamilyOf(m.Prefix.Addr()) != g.family:
		case m.Prefix.IsSingleIP():
			elems = append(elems, elem{net: m.Prefix})
		default:
			elems = append(elems, blocks(m.Prefix)...)
			kind, letter = typeNets, "n"
		}
	}
	return g.set(letter+dataplane.Hash(s.ID), kind, elems)
}

// portSets returns the kernel's names for a set of addresses with ports: one for
// those with a port, and one a protocol for those with all ports of it.
func (g *generator) portSets(s *dataplane.Set) (ports string, whole []protocolSet) {
	var elems []elem
	all := map[model.Protocol][]elem{}
	for _, m := range g.state.Compiled.Members(s) {
		switch {
		case dataplane.FamilyOf(m.Prefix.Addr()) != g.family:
		case m.Port == 0:
			all[m.Protocol] = append(all[m.Protocol], elem{net: m.Prefix})
		default:
			elems = append(elems, elem{net: m.Prefix, protocol: m.Protocol, port: m.Port})
		}
	}
	for p, elems := range all {
		whole = append(whole, protocolSet{p, g.set(fmt.Sprintf("q%d-%s", p, dataplane.Hash(s.ID)), typeAddrs, elems)})
	}
	slices.SortFunc(whole, func(a, b protocolSet) int { return cmp.Compare(a.protocol, b.protocol) })
	return g.set("p"+dataplane.Hash(s.ID), typePorts, elems), whole
}

// protocolSet is a set of addresses that count for one protocol.
type protocolSet struct {
	protocol model.Protocol
	name     string
}

// origin returns the chain that counts for a rule of a policy and does what the rule says.
func (g *generator) origin(l *dataplane.Leaf) string {
	o := l.Origin
	name := chainPrefix + "o-" + dataplane.Hash(o.String(), l.Verdict.String(), fmt.Sprint(l.Log))
	return g.once(name, func() []rule {
		g.rs.origins[name] = o
		rules := []rule{{"", "", o.String()}}
		switch l.Verdict {
		case dataplane.Accept:
			rules[0].target = setMark(g.opts.Accepted)
		case dataplane.Drop:
			rules[0].target = "-j DROP"
		}
		if l.Log {
			log := fmt.Sprintf("-j NFLOG --nflog-group %d --nflog-prefix %q", g.opts.LogGroup, dataplane.Plain(name+" "+o.String(), maxPrefix))
			rules = slices.Insert(rules, 0, rule{"", log, ""})
		}
		return rules
	})
}
