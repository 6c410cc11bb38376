package verdict_test

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// decideFlows are connections of each kind that an agent's sweep meets.
var decideFlows = []struct{ name, src, dst string }{
	{"pod-to-local-pod", "10.1.0.1", "10.1.0.2"},
	{"pod-to-remote-pod", "10.1.0.1", "10.1.1.1"},
	{"outside-to-pod", "203.0.113.9", "10.1.0.1"},
	{"pod-to-outside", "10.1.0.1", "203.0.113.9"},
	{"outside-to-node", "203.0.113.9", "192.0.2.1"},
	{"node-to-outside", "192.0.2.1", "203.0.113.9"},
	{"pod-to-own-node", "10.1.0.1", "192.0.2.1"},
	{"transit", "203.0.113.9", "198.51.100.1"},
}

// decideWorld is a hundred nodes of ten pods, of which the first is local, with a
// host endpoint of all interfaces and twenty policies for pods and hosts each.
func decideWorld() *index.Index {
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n0" }})
	for i := range 100 {
		node := "n" + strconv.Itoa(i)
		ix.Upsert(&model.Node{
			Name: node, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})},
			PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24)},
		})
		for j := range 10 {
			ix.Upsert(&model.Endpoint{
				Ref:  model.Ref{Kind: model.KindPod, Namespace: "ns", Name: node + "-" + strconv.Itoa(j)},
				Node: node, Labels: map[string]string{"app": "a"}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j + 1)})},
			})
		}
	}
	ix.Upsert(&model.Endpoint{
		Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "all"}, Node: "n0", Labels: map[string]string{"host": "yes"},
		Host: &model.HostEndpoint{Interface: "*", DefaultAction: model.Allow},
	})
	for i := range 20 {
		name, from := strconv.Itoa(i), selector.And(selector.Equal("app", "b"+strconv.Itoa(i)), selector.NotEqual(model.LabelKind, model.OwnerNode))
		rule := model.Rule{Action: model.Allow, Match: model.Match{Source: model.Peer{Selector: from}}}
		ix.Upsert(globalPolicy("pods-"+name, float64(i), selector.Equal("app", "a"), rule))
		forward := globalPolicy("hosts-"+name, float64(i), selector.Has("host"), rule)
		forward.ApplyOnForward = true
		ix.Upsert(forward)
	}
	last := globalPolicy("last", 1000, selector.All(), model.Rule{Action: model.Allow})
	last.ApplyOnForward = true
	ix.Upsert(last)
	ix.Flush()
	return ix
}

// globalPolicy selects endpoints for ingress.
func globalPolicy(name string, order float64, sel *selector.Selector, rule model.Rule) *model.Policy {
	return &model.Policy{
		Ref:  model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name},
		Tier: model.TierDefault, Order: order, Selector: selector.And(sel, selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)),
		Ingress: true, IngressRules: []model.Rule{rule},
	}
}

// BenchmarkDecide is one verdict, as for each entry of a conntrack sweep.
func BenchmarkDecide(b *testing.B) {
	ix := decideWorld()
	for _, c := range decideFlows {
		f := model.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: model.TCP, SrcPort: 40000, DstPort: 80}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verdict.Decide(ix, f)
			}
		})
	}
}

// TestDecideAllocates: a verdict costs memory for its stages alone.
func TestDecideAllocates(t *testing.T) {
	ix := decideWorld()
	for _, c := range decideFlows {
		f := model.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: model.TCP, SrcPort: 40000, DstPort: 80}
		stages := len(verdict.Decide(ix, f).Stages)
		if n := testing.AllocsPerRun(10, func() { verdict.Decide(ix, f) }); n > float64(stages) {
			t.Errorf("%s: %v allocations for %d stages", c.name, n, stages)
		}
	}
}

// BenchmarkDecideAt is what a conntrack sweep asks once an entry, with the node's
// Links and without.
func BenchmarkDecideAt(b *testing.B) {
	links := &model.Links{
		Node:   "n0",
		Addrs:  []model.LinkAddr{{Addr: netip.MustParseAddr("10.1.0.254"), Interface: "cni0"}, {Addr: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"}},
		Routes: []model.LinkRoute{{Net: netip.MustParsePrefix("10.1.0.0/24"), Interface: "cni0"}, {Net: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"}},
	}
	for i := range 10 {
		links.Pods = append(links.Pods, model.PodLink{Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), Interface: "cni0", Port: "veth" + strconv.Itoa(i)})
	}
	for _, known := range []string{"objects", "links"} {
		ix := decideWorld()
		if known == "links" {
			ix.Upsert(links)
			ix.Upsert(&model.Endpoint{
				Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "eth0"}, Node: "n0", Labels: map[string]string{"host": "yes"},
				Host: &model.HostEndpoint{Interface: "eth0", DefaultAction: model.Allow},
			})
			ix.Flush()
		}
		for _, c := range decideFlows {
			f := model.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: model.TCP, SrcPort: 40000, DstPort: 80}
			b.Run(known+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					verdict.DecideAt(ix, "n0", f)
				}
			})
		}
	}
}
