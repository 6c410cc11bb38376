package index

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

func TestPeerWeight(t *testing.T) {
	ix := New(Options{})
	pod := func(name, addr string, labels ...string) *model.Endpoint {
		e := &model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "a", Name: name}, Labels: map[string]string{}}
		for _, l := range labels {
			e.Labels[l] = "x"
		}
		if addr != "" {
			e.Addrs = []netip.Addr{netip.MustParseAddr(addr)}
		}
		return e
	}
	p := &model.Policy{Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: "p"}, Tier: model.TierDefault, Selector: selector.Has("subject"), Ingress: true}
	for i := range 30 { // ten for each of three labels
		p.IngressRules = append(p.IngressRules, model.Rule{Action: model.Allow, Match: model.Match{Source: model.Peer{Selector: selector.Has([]string{"x", "y", "z"}[i%3])}}})
	}
	ix.Upsert(p)
	if n := ix.PeerWeight(pod("early", "10.0.0.1", "x")); n != 1 {
		t.Errorf("a peer of a policy that selects nobody: %d", n)
	}
	ix.Upsert(pod("subject", "10.0.0.2", "subject"))
	ix.Upsert(pod("xy", "10.0.0.3", "x", "y"))
	ix.Flush()
	both := pod("both", "10.0.0.4", "x", "y", "own")
	both.Addrs = append(both.Addrs, netip.MustParseAddr("fd00::4"))
	elsewhere := pod("xy", "10.0.0.3", "x", "y")
	elsewhere.Ref.Namespace = "b"
	for _, tc := range []struct {
		name string
		e    *model.Endpoint
		want int
	}{
		{"of no set", pod("n", "10.0.0.9", "own"), 1},
		{"of a set in ten rules", pod("n", "10.0.0.9", "x"), 11},
		{"of two of them", pod("n", "10.0.0.9", "x", "y", "own"), 21},
		{"with two addresses", both, 41},
		{"without an address", pod("n", "", "x", "y", "own"), 1},
		{"as another pod is", pod("n", "10.0.0.9", "x", "y"), 3},
		{"as a pod of another namespace is", elsewhere, 21},
		{"as it is", pod("xy", "10.0.0.3", "x", "y"), 1},
		{"with another label that no rule asks for", pod("xy", "10.0.0.3", "x", "y", "own"), 1},
		{"with another label that rules ask for", pod("xy", "10.0.0.3", "x", "y", "z"), 31},
		{"without one", pod("xy", "10.0.0.3", "x"), 11},
		{"with another address", pod("xy", "10.0.0.5", "x", "y", "own"), 21},
		{"a host endpoint", &model.Endpoint{Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "h"}, Host: &model.HostEndpoint{}, Labels: map[string]string{"x": "x"}}, 1},
		{"a ghost", &model.Endpoint{Ref: model.GhostRef("a", "xy", "uid"), Addrs: both.Addrs}, 1},
	} {
		if got := ix.PeerWeight(tc.e); got != tc.want {
			t.Errorf("a pod %s weighs %d, want %d", tc.name, got, tc.want)
		}
	}
	if d := ix.Flush(); len(d.Sets)+len(d.Endpoints)+len(d.Added)+len(d.Removed) > 0 {
		t.Errorf("weighing has changed something: %+v", d)
	}
}
