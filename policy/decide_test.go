package policy_test

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// twoNodes is a world with a pod on n1 that lets nobody in but by port 80.
func twoNodes(local string, more ...model.Object) *policy.Index {
	ix := policy.New(policy.Options{Local: func(node string) bool { return local == "" || node == local }})
	for i, name := range []string{"n1", "n2"} {
		ix.Upsert(&model.Node{
			Name: name, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})},
			PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i + 1), 0}), 24)},
		})
	}
	ix.Upsert(&model.Endpoint{
		Ref: model.Ref{Kind: model.KindPod, Namespace: "app", Name: "web"}, Node: "n1", Addrs: []netip.Addr{netip.MustParseAddr("10.1.1.5")},
	})
	ix.Upsert(&model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Tier: "default", Ingress: true, Selector: selector.Not(selector.Has("host")),
		IngressRules: []model.Rule{{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Destination: model.Peer{Ports: []model.Port{{First: 80, Last: 80}}}}}},
	})
	for _, o := range more {
		ix.Upsert(o)
	}
	ix.Flush()
	return ix
}

// TestUnknownWorkloadsOfOtherNodes holds that an agent, which has the policy of its own
// node alone, leaves unknown workloads of other nodes to their agents, as its
// kernel does, and goes on to what is its own matter.
func TestUnknownWorkloadsOfOtherNodes(t *testing.T) {
	const n1, n2 = "10.1.1.77", "10.1.2.77"
	for _, c := range []struct {
		local, src, dst string
		port            uint16
		want            model.Action
		reason          model.Reason // of the last stage
	}{
		{"", n2, "10.1.1.5", 80, model.Deny, model.ReasonUnknownWorkload},
		{"n2", n2, "10.1.1.5", 80, model.Deny, model.ReasonUnknownWorkload},
		{"n1", n2, "10.1.1.5", 80, model.Allow, model.ReasonRule},
		{"n1", n2, "10.1.1.5", 81, model.Deny, model.ReasonEndOfTier},
		{"n1", n1, "10.1.1.5", 80, model.Deny, model.ReasonUnknownWorkload},
		{"n1", "10.1.1.5", n1, 80, model.Deny, model.ReasonUnknownWorkload},
		{"n1", "10.1.1.5", n2, 80, model.Allow, model.ReasonDefault}, // its own egress
		{"", "10.1.1.5", n2, 80, model.Deny, model.ReasonUnknownWorkload},
		{"n1", "192.0.2.1", n1, 80, model.Allow, model.ReasonOwnNode},
		{"", "192.0.2.2", n1, 80, model.Deny, model.ReasonUnknownWorkload},
	} {
		f := model.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: model.TCP, SrcPort: 40000, DstPort: c.port}
		d := twoNodes(c.local).Decide(f)
		if d.Action != c.want || len(d.Stages) == 0 || d.Stages[len(d.Stages)-1].Reason != c.reason {
			t.Errorf("agent of %q, %s → %s:%d: %+v, want %s by %s", c.local, c.src, c.dst, c.port, d, c.want, c.reason)
		}
	}
}

// TestHostEndpointWithoutAddresses holds what is said of one that only an
// interface tells: it guards no address, whatever its policies, but what is forwarded.
func TestHostEndpointWithoutAddresses(t *testing.T) {
	hep := &model.Endpoint{
		Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "eth7"}, Node: "n3", Labels: map[string]string{"host": "yes"},
		Host: &model.HostEndpoint{Interface: "eth7", DefaultAction: model.Deny},
	}
	pod := &model.Endpoint{
		Ref: model.Ref{Kind: model.KindPod, Namespace: "app", Name: "far"}, Node: "n3", Addrs: []netip.Addr{netip.MustParseAddr("10.1.3.5")},
	}
	other := &model.Endpoint{
		Ref: model.Ref{Kind: model.KindHostEndpoint, Name: "all"}, Node: "n3", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.3")},
		Host: &model.HostEndpoint{Interface: "*", DefaultAction: model.Allow},
	}
	outside, host := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("192.0.2.3")
	decide := func(ix *policy.Index, dst netip.Addr) model.Decision {
		return ix.Decide(model.Flow{Src: outside, Dst: dst, Protocol: model.TCP, SrcPort: 40000, DstPort: 80})
	}
	if d := decide(twoNodes("", hep), host); d.Action != model.Allow || d.Stages[1].Reason != model.ReasonNoEndpoint {
		t.Errorf("an address that nobody names: %+v", d)
	}
	forward := &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "f"}, Tier: "default", Ingress: true, ApplyOnForward: true, Selector: selector.Has("host"),
		IngressRules: []model.Rule{{Action: model.Deny}},
	}
	if d := decide(twoNodes("", hep, pod, forward), pod.Addrs[0]); d.Action != model.Deny || d.Stages[1].Endpoint != hep.Ref {
		t.Errorf("forwarded: %+v", d)
	}
	// With the one of all interfaces beside it, that one guards the addresses that are known.
	if d := decide(twoNodes("", hep, other), host); d.Stages[1].Endpoint != other.Ref {
		t.Errorf("beside the one of all interfaces: %+v", d)
	}
	// As soon as the node's addresses are known they are its addresses.
	node := &model.Node{Name: "n3", Addrs: []netip.Addr{host}}
	if d := decide(twoNodes("", hep, node), host); d.Stages[1].Endpoint != hep.Ref {
		t.Errorf("with the node's addresses: %+v", d)
	}
}
