package diff

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// nodePorts are ports of random flows, so that rules are about them too.
var nodePorts = []uint16{53, 80, 8080, 30080}

// withNodePorts gives Services node ports, each its own, local endpoints alone to some,
// and external addresses to one.
func withNodePorts(rng *rand.Rand, services []packets.Service) []packets.Service {
	out := slices.Clone(services)
	ports := slices.Clone(nodePorts)
	rng.Shuffle(len(ports), func(i, j int) { ports[i], ports[j] = ports[j], ports[i] })
	for i := range out {
		out[i].LocalExternal = rng.IntN(2) == 0
		if i == 0 {
			out[i].External = []netip.Addr{netip.MustParseAddr("198.51.100.200"), netip.MustParseAddr("2001:db8::200")}
		}
		out[i].Ports = slices.Clone(out[i].Ports)
		for j := range out[i].Ports {
			if len(ports) > 0 && rng.IntN(2) == 0 {
				out[i].Ports[j].NodePort, ports = ports[0], ports[1:]
			}
		}
	}
	return out
}

// changed replaces some endpoints, and some traffic policies.
func changed(rng *rand.Rand, services []packets.Service, flows []model.Flow) []packets.Service {
	out := slices.Clone(services)
	for i := range out {
		if rng.IntN(4) == 0 {
			out[i].LocalExternal = !out[i].LocalExternal
		}
		out[i].Ports = slices.Clone(out[i].Ports)
		for j := range out[i].Ports {
			if p := &out[i].Ports[j]; len(p.Endpoints) > 0 && rng.IntN(4) == 0 {
				p.Endpoints = slices.Clone(p.Endpoints)
				p.Endpoints[0] = netip.AddrPortFrom(flows[rng.IntN(len(flows))].Dst, 8080)
			}
		}
	}
	return out
}

// asked is the result for a packet to a node port.
type asked struct {
	allowed bool // at least one endpoint gets it
	// direct is the endpoints that can get it, and whether they would if it were sent
	// to them straight.
	direct map[netip.AddrPort]bool
}

// ask sends one packet to a node port.
func ask(ix *index.Index, f model.Flow, s *packets.Service, p *packets.ServicePort) asked {
	out := asked{direct: map[netip.AddrPort]bool{}}
	src, dst := verdict.EndOf(ix, f.Src), verdict.EndOf(ix, f.Dst)
	place := func(e *verdict.End) service.Place {
		return service.Place{Node: e.Node(), Inside: e.IsHost() || e.Pod() != model.Ref{}, Host: e.IsHost()}
	}
	m := service.Match{Service: s, Port: p, NodePort: dst.IsHost()}
	node, only := m.OnlyNode(place(&src), place(&dst))
	for _, to := range p.Endpoints {
		end := verdict.EndOf(ix, to.Addr())
		if to.Addr().Is4() != f.Dst.Is4() || only && end.Node() != node {
			continue
		}
		after := f
		after.Dst, after.DstPort = to.Addr(), to.Port()
		if verdict.ExplainTranslated(ix, f, after).Action == model.Allow {
			out.allowed = true
		}
		out.direct[to] = verdict.Decide(ix, after).Action == model.Allow
	}
	return out
}

// A packet to a node port lies in one change if what its sender reaches there differs,
// unless a change between the sender and an endpoint says so, and otherwise in none.
func TestNodePortsAgainstSinglePackets(t *testing.T) {
	worlds := uint64(60)
	if testing.Short() {
		worlds = 20
	}
	kinds := map[Kind]int{}
	for seed := range worlds {
		rng := rand.New(rand.NewPCG(seed, 31))
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 30)), oracle.Config{Links: seed%2 == 0})
		for range 150 {
			stream.Next()
		}
		a, flows := indexes.Of(withPreDNAT(stream.Objects())), stream.Flows(200)
		before := withNodePorts(rng, randomServices(rng, flows))
		after := before
		if seed%3 == 0 {
			after = changed(rng, before, flows)
		}
		for range 1 + seed%8 {
			stream.Next()
		}
		b := indexes.Of(withPreDNAT(stream.Objects()))
		r := Compare(a, b, Options{ServicesBefore: before, ServicesAfter: after})
		w := newWorlds(a, b, Options{ServicesBefore: before, ServicesAfter: after})
		for _, f := range flows {
			from := slices.IndexFunc(w.atoms, func(x atom) bool { return w.isAt(&x, f.Src) })
			if from < 0 {
				continue
			}
			for i := range w.atoms {
				y := &w.atoms[i]
				if y.a == nil || y.b == nil || y.a.Addr != y.b.Addr || y.family != w.atoms[from].family || from == i {
					continue
				}
				for j := range before {
					for k := range before[j].Ports {
						p := &before[j].Ports[k]
						f.Protocol, f.Dst, f.DstPort = p.Protocol, y.a.Addr, p.NodePort
						external := y.group >= 0 && slices.Contains(before[j].External, f.Dst)
						if external {
							f.DstPort = p.Port
						}
						if external && before[j].PortOf(p.Protocol, p.Port) == p || y.a.Host && y.b.Host && p.NodePort != 0 {
							checkNodePort(t, seed, a, b, r, w, from, y, f, [2]*packets.Service{&before[j], &after[j]}, k, kinds)
						}
					}
				}
			}
		}
	}
	if (kinds[Lost] == 0 || kinds[Gained] == 0) && !testing.Short() {
		t.Errorf("%v: the test tests nothing", kinds)
	}
	t.Log(kinds)
}

// isAt reports whether an address is an atom's in both worlds.
func (w *worlds) isAt(x *atom, addr netip.Addr) bool {
	if x.group < 0 {
		return x.a != nil && x.b != nil && x.a.Addr == addr && x.b.Addr == addr && (x.who.Kind != model.KindPod || x.a.Node != "" && x.b.Node != "")
	}
	return slices.ContainsFunc(w.groups[x.group].Ranges, func(r packets.Range) bool { return r.Contains(addr) })
}

func checkNodePort(t *testing.T, seed uint64, a, b *index.Index, r *Report, w *worlds, from int, y *atom, f model.Flow, s [2]*packets.Service, port int, kinds map[Kind]int) {
	t.Helper()
	x := &w.atoms[from]
	if x.group < 0 && x.who == y.who {
		return // to itself
	}
	p, q := &s[0].Ports[port], &s[1].Ports[port]
	for _, to := range slices.Concat(p.Endpoints, q.Endpoints) {
		if nowhere(a, to.Addr()) || nowhere(b, to.Addr()) {
			return // on no known node
		}
	}
	was, is := ask(a, f, s[0], p), ask(b, f, s[1], q)
	var got []Change
	for _, c := range r.Changes {
		if c.From.members.has(x.index) && c.To.members.has(y.index) && c.Traffic.Space.Contains(f) && c.holdsFor(x, y) {
			got = append(got, c)
		}
	}
	if len(p.Endpoints) == 0 || len(q.Endpoints) == 0 {
		return
	}
	want := Kind("")
	switch {
	case was.allowed && !is.allowed:
		want = Lost
	case !was.allowed && is.allowed:
		want = Gained
	}
	if len(got) > 1 || len(got) == 1 && got[0].Kind != want {
		t.Fatalf("seed %d: %+v to a node port of %v: want %q, got %d changes: %+v", seed, f, s[0].Ref, want, len(got), got)
	}
	if len(got) == 1 {
		kinds[want]++
		return
	}
	if want == "" {
		return
	}
	if len(was.direct) == 0 || len(is.direct) == 0 {
		return // nothing receives it, whatever the policies
	}
	for to, open := range was.direct {
		if now, still := is.direct[to]; still && open != now && open == was.allowed {
			return // it is compared between these two
		}
	}
	t.Fatalf("seed %d: %+v to a node port of %v: %q, in no change", seed, f, s[0].Ref, want)
}
