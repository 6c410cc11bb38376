package reporter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func TestNodeLinks(t *testing.T) {
	if nodeLinks(nil) != nil {
		t.Error("something is reported of nothing")
	}
	l := &model.Links{
		Addrs: []model.LinkAddr{
			{Addr: netip.MustParseAddr("10.1.1.1"), Interface: "cni0"}, {Addr: netip.MustParseAddr("10.96.0.1"), Interface: "lo"},
			{Addr: netip.MustParseAddr("127.0.0.1"), Interface: "lo"}, {Addr: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"},
			{Addr: netip.MustParseAddr("192.0.2.1"), Interface: "eth1"}, {Addr: netip.MustParseAddr("fe80::1"), Interface: "eth0"},
		},
		Routes:  []model.LinkRoute{{Net: netip.MustParsePrefix("10.1.1.0/24"), Interface: "cni0"}, {Net: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"}},
		Pods:    []model.PodLink{{Addr: netip.MustParseAddr("10.1.1.10"), Interface: "cni0", Port: "veth1"}},
		Tunnels: []model.Tunnel{{Interface: "tunl0", Protocol: 4}, {Interface: "vxlan0", Protocol: model.UDP, Port: 4789}},
	}
	want := &v1alpha1.NodeLinks{
		Addresses: []v1alpha1.NodeAddress{{Address: "10.1.1.1", Interface: "cni0", LeadsToPods: true}, {Address: "192.0.2.1", Interface: "eth0"}, {Address: "10.96.0.1", Interface: "lo"}},
		Routes:    []v1alpha1.NodeRoute{{Net: "0.0.0.0/0", Interface: "eth0"}, {Net: "10.1.1.0/24", Interface: "cni0"}},
		Tunnels:   []v1alpha1.NodeTunnel{{Interface: "tunl0", Protocol: "4"}, {Interface: "vxlan0", Protocol: "UDP", Port: 4789}},
	}
	if got := nodeLinks(l); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestNodeLinksAreBounded takes as many of each as no report holds.
func TestNodeLinksAreBounded(t *testing.T) {
	l := &model.Links{}
	for i := range 1000 {
		l.Addrs = append(l.Addrs, model.LinkAddr{Addr: netip.AddrFrom4([4]byte{10, 96, byte(i / 256), byte(i)}), Interface: "lo"})
		l.Routes = append(l.Routes, model.LinkRoute{Net: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(i / 256), byte(i), 0}), 25), Interface: "eth0"})
		l.Tunnels = append(l.Tunnels, model.Tunnel{Interface: fmt.Sprintf("gre%d", i), Protocol: 47})
	}
	l.Addrs = append(l.Addrs, model.LinkAddr{Addr: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"})
	got := nodeLinks(l)
	if len(got.Addresses) != v1alpha1.MaxReportedAddresses || len(got.Routes) != v1alpha1.MaxReportedRoutes || len(got.Tunnels) != v1alpha1.MaxReportedTunnels || !got.Truncated {
		t.Errorf("%d addresses, %d routes, %d tunnels, truncated %v", len(got.Addresses), len(got.Routes), len(got.Tunnels), got.Truncated)
	}
	if got.Addresses[0].Address != "192.0.2.1" {
		t.Errorf("the first address is %v", got.Addresses[0])
	}
}

func TestMergeRoutes(t *testing.T) {
	// A thousand nodes' blocks behind one tunnel, this node's own among them.
	var routes []model.LinkRoute
	for i := range 1024 {
		name := "flannel.1"
		if i == 77 {
			name = "cni0"
		}
		routes = append(routes, model.LinkRoute{Net: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + byte(i/256), byte(i), 0}), 24), Interface: name})
	}
	if got := mergeRoutes(routes); len(got) != 11 {
		t.Errorf("%d routes: %v", len(got), got)
	}
	rnd := rand.New(rand.NewPCG(1, 9))
	for range 3000 {
		l := &model.Links{}
		for range rnd.IntN(14) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(256))}), 24+rnd.IntN(9)).Masked()
			if !slices.ContainsFunc(l.Routes, func(r model.LinkRoute) bool { return r.Net == p }) {
				l.Routes = append(l.Routes, model.LinkRoute{Net: p, Interface: []string{"a", "b"}[rnd.IntN(2)]})
			}
		}
		slices.SortFunc(l.Routes, model.CompareRoutes)
		merged := &model.Links{Routes: mergeRoutes(l.Routes)}
		slices.SortFunc(merged.Routes, model.CompareRoutes)
		if len(merged.Routes) > len(l.Routes) {
			t.Fatalf("%v became %v", l.Routes, merged.Routes)
		}
		for i := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			if got, want := merged.RouteTo(a), l.RouteTo(a); got != want {
				t.Fatalf("%v became %v: to %s by %q, want %q", l.Routes, merged.Routes, a, got, want)
			}
		}
	}
}

// TestNodeGhosts holds that ghosts are listed, as many as may be.
func TestNodeGhosts(t *testing.T) {
	if got := nodeGhosts(nil); got != nil {
		t.Errorf("of none: %v", got)
	}
	var list []model.Ghost
	for i := range 100 {
		list = append(list, model.Ghost{Addr: netip.AddrFrom4([4]byte{198, 18, 0, byte(i)}), Ref: model.GhostRef("shop", "web", fmt.Sprint(i))})
	}
	got := nodeGhosts(list)
	if len(got) != v1alpha1.MaxReportedGhosts || got[3] != (v1alpha1.ReportedGhost{Address: "198.18.0.3", Pod: "PodGhost/shop/web@3"}) {
		t.Errorf("%d, the fourth %+v", len(got), got[3])
	}
}
