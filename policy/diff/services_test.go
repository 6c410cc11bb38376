package diff

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// randomServices are Services with endpoints at random addresses, known or not.
func randomServices(rng *rand.Rand, flows []model.Flow) []packets.Service {
	addrs := [][]string{{"198.51.100.1", "10.0.0.1", "203.0.113.7"}, {"2001:db8::1", "fd00:7::1"}}
	var out []packets.Service
	for i, name := range []string{"kube-dns", "web", "none"} {
		s := packets.Service{Ref: model.Ref{Kind: model.KindService, Namespace: []string{"kube-system", "a", "a"}[i], Name: name}}
		for _, family := range addrs {
			s.Addrs = append(s.Addrs, netip.MustParseAddr(family[rng.IntN(len(family))]))
		}
		for port := range uint16(3) {
			p := packets.ServicePort{Protocol: []model.Protocol{model.TCP, model.UDP}[rng.IntN(2)], Port: 53 + port}
			for range rng.IntN(4) {
				p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(flows[rng.IntN(len(flows))].Dst, []uint16{53, 80, 8080}[rng.IntN(3)]))
			}
			s.Ports = append(s.Ports, p)
		}
		out = append(out, s)
	}
	return out
}

// reaches reports whether stages before translation deny what a pod sends to a
// Service, and whether an endpoint of the Service gets it where they do not.
func reaches(ix *index.Index, f model.Flow, endpoints []netip.AddrPort) (denied model.Verdict, reached bool) {
	src := verdict.EndOf(ix, f.Src)
	early := verdict.DecideTranslatedAt(ix, src.Node(), f, f)
	for _, v := range early.Stages {
		if (v.Stage == model.StageUntracked || v.Stage == model.StagePreDNAT) && v.Action == model.Deny {
			return v, false
		}
	}
	for _, to := range endpoints {
		g := f
		if g.Dst, g.DstPort = to.Addr(), to.Port(); g.Dst.Is4() != f.Dst.Is4() {
			continue
		}
		if verdict.DecideTranslatedAt(ix, src.Node(), f, g).Action == model.Deny {
			continue
		}
		dst := verdict.EndOf(ix, g.Dst)
		if dst.Node() == src.Node() || dst.Node() == "" || verdict.DecideAt(ix, dst.Node(), g).Action == model.Allow {
			return model.Verdict{}, true
		}
	}
	return model.Verdict{}, len(endpoints) == 0
}

// Every packet to a Service that a stage before translation newly denies, or denies
// no longer, lies in exactly one change that names what denies it, and no other does.
func TestServicesAgainstSinglePackets(t *testing.T) {
	worlds := uint64(200)
	if testing.Short() {
		worlds = 40
	}
	kinds := map[Kind]int{}
	for seed := range worlds {
		rng := rand.New(rand.NewPCG(seed, 21))
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 20)), oracle.Config{Links: seed%2 == 0})
		for range 150 {
			stream.Next()
		}
		a, flows := indexes.Of(withPreDNAT(stream.Objects())), stream.Flows(200)
		services := randomServices(rng, flows)
		for range 1 + seed%8 {
			stream.Next()
		}
		b := indexes.Of(withPreDNAT(stream.Objects()))
		setWildcard(a, []model.Guard{model.GuardEnforce, model.GuardOff}[seed%2])
		setWildcard(b, []model.Guard{model.GuardEnforce, model.GuardCount}[seed/2%2])
		r := Compare(a, b, Options{ServicesBefore: services, ServicesAfter: services})
		w := newWorlds(a, b, Options{})
		for _, f := range flows {
			i := slices.IndexFunc(w.atoms, func(x atom) bool {
				return x.who.Kind == model.KindPod && x.a != nil && x.b != nil && x.a.Addr == f.Src && x.b.Addr == f.Src && x.a.Node != "" && x.b.Node != ""
			})
			if i < 0 {
				continue
			}
			for _, s := range services {
				for _, addr := range s.Addrs {
					if addr.Is4() == f.Src.Is4() && outside(a, addr) && outside(b, addr) {
						for _, p := range s.Ports {
							// What is on no known node is judged by all nodes' rules, which reaches leaves out.
							if slices.ContainsFunc(p.Endpoints, func(to netip.AddrPort) bool { return nowhere(a, to.Addr()) || nowhere(b, to.Addr()) }) {
								continue
							}
							checkService(t, seed, a, b, r, &w.atoms[i], f, s.Ref, addr, p, kinds)
						}
					}
				}
			}
		}
	}
	if kinds[Lost] == 0 || kinds[Gained] == 0 {
		t.Errorf("%v: the test tests nothing", kinds)
	}
	t.Log(kinds)
}

// withPreDNAT adds host endpoints of all interfaces, and makes preDNAT policies for
// them of the global policies.
func withPreDNAT(objects []runtime.Object) []runtime.Object {
	out := slices.Clone(objects)
	for _, node := range []string{"n0", "n1", "n2"} {
		h := &v1alpha1.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "a-" + node}}
		h.Spec.Node, h.Spec.InterfaceName = node, "*"
		out = append(out, h)
	}
	for _, o := range objects {
		if p, ok := o.(*v1alpha1.GlobalNetworkPolicy); ok && len(p.Spec.Ingress) > 0 {
			pre := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: p.Name + "-pre"}}
			pre.Spec.Tier, pre.Spec.Order, pre.Spec.Ingress = p.Spec.Tier, p.Spec.Order, p.Spec.Ingress
			pre.Spec.PreDNAT, pre.Spec.ApplyOnForward = true, true
			out = append(out, pre)
		}
	}
	return out
}

func setWildcard(ix *index.Index, g model.Guard) {
	s := *ix.Settings()
	s.Guards.Wildcard = g
	ix.Upsert(&s)
	ix.Flush()
}

func nowhere(ix *index.Index, a netip.Addr) bool {
	end := verdict.EndOf(ix, a)
	return end.Pod() != model.Ref{} && end.Node() == ""
}

func outside(ix *index.Index, a netip.Addr) bool {
	end := verdict.EndOf(ix, a)
	return !end.IsHost() && end.Pod() == model.Ref{}
}

func checkService(t *testing.T, seed uint64, a, b *index.Index, r *Report, x *atom, f model.Flow, service model.Ref, addr netip.Addr, p packets.ServicePort, kinds map[Kind]int) {
	t.Helper()
	f.Dst, f.Protocol, f.DstPort = addr, p.Protocol, p.Port
	wasDenied, was := reaches(a, f, p.Endpoints)
	isDenied, is := reaches(b, f, p.Endpoints)
	want, verdict := Kind(""), model.Verdict{}
	switch {
	case was && isDenied.Action == model.Deny:
		want, verdict = Lost, isDenied
	case is && wasDenied.Action == model.Deny:
		want, verdict = Gained, wasDenied
	}
	kinds[want]++
	var got []Change
	for _, c := range r.Changes {
		if slices.Contains(c.To.Services, service) && c.From.members.has(x.index) && c.Traffic.Space.Contains(f) {
			got = append(got, c)
		}
	}
	if want == "" && len(got) == 0 {
		return
	}
	if len(got) != 1 || got[0].Kind != want {
		t.Fatalf("seed %d: %+v to %v: want %q, got %d changes: %+v", seed, f, service, want, len(got), got)
	}
	denial := got[0].After
	if want == Gained {
		denial = got[0].Before
	}
	if verdict.Endpoint, verdict.Audit = (model.Ref{}), nil; denial.Ingress == nil || *denial.Ingress != verdict {
		t.Fatalf("seed %d: %+v to %v: the report says %+v, want %+v", seed, f, service, denial, verdict)
	}
}
