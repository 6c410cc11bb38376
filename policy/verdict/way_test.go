package verdict_test

import (
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// bridged is two pods on a bridge of n1, one of them with a policy that lets nothing
// out and nothing in, with a tunnel and a host endpoint of all interfaces.
func bridged(change func(*model.Settings)) []model.Object {
	a, s := netip.MustParseAddr, model.DefaultSettings()
	if change != nil {
		change(s)
	}
	return []model.Object{
		s,
		&model.Endpoint{Ref: podRef("shut"), Node: "n1", Labels: map[string]string{"shut": ""}, Addrs: []netip.Addr{a("10.1.1.6"), a("fd00::6")}},
		&model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "shut"}, Tier: "default", Ingress: true, Egress: true, Selector: selector.Has("shut")},
		&model.Links{
			Node:    "n1",
			Addrs:   []model.LinkAddr{{Addr: a("192.0.2.1"), Interface: "eth0"}, {Addr: a("fe80::1"), Interface: "cni0"}},
			Routes:  []model.LinkRoute{{Net: netip.MustParsePrefix("0.0.0.0/0"), Interface: "eth0"}},
			Tunnels: []model.Tunnel{{Interface: "vxlan0", Protocol: model.UDP, Port: 4789}, {Interface: "wg0", Protocol: model.UDP}},
			Pods: []model.PodLink{
				{Addr: a("10.1.1.5"), Interface: "cni0", Port: "veth1"}, {Addr: a("10.1.1.6"), Interface: "cni0", Port: "veth2"},
				{Addr: a("fd00::6"), Interface: "cni0", Port: "veth2"},
			},
		},
	}
}

func podRef(name string) model.Ref {
	return model.Ref{Kind: model.KindPod, Namespace: "app", Name: name}
}

// TestLinks holds what is decided of packets that name where they come in or leave.
func TestLinks(t *testing.T) {
	open, shut := podRef("web"), podRef("shut")
	eth0, node := model.InterfaceRef("n1", "eth0"), model.Ref{Kind: model.KindNode, Name: "n1"}
	none := model.Ref{}
	off := func(s *model.Settings) {
		s.Guards = model.Guards{Source: model.GuardCount, Link: model.GuardOff, Encapsulation: model.GuardCount}
	}
	for name, c := range map[string]struct {
		in, out       model.Ref
		src, dst      string
		protocol      model.Protocol
		number        uint16 // port or type
		change        func(*model.Settings)
		action        model.Action
		reason        model.Reason
		guard         model.GuardName
		stageEndpoint model.Ref
	}{
		"another pod's source":          {in: open, src: "10.1.1.6", dst: "203.0.113.9", protocol: model.TCP, number: 80, action: model.Deny, reason: model.ReasonGuard, guard: "source", stageEndpoint: open},
		"a pod's source from outside":   {in: eth0, src: "10.1.1.5", dst: "192.0.2.1", protocol: model.TCP, number: 80, action: model.Deny, reason: model.ReasonGuard, guard: "source"},
		"forged, and counted":           {in: open, src: "10.1.1.6", dst: "203.0.113.9", protocol: model.TCP, number: 80, change: off, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"a pod's own source":            {in: open, src: "10.1.1.5", dst: "203.0.113.9", protocol: model.TCP, number: 80, action: model.Allow, reason: model.ReasonNoEndpoint},
		"a link-local source":           {in: shut, src: "fe80::6", dst: "fe80::1", protocol: model.TCP, number: 80, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"link-local to the node":        {in: open, src: "fe80::5", dst: "fe80::1", protocol: model.TCP, number: 80, action: model.Allow, reason: model.ReasonEndpointToHost, stageEndpoint: node},
		"link-local, and not judged":    {in: shut, src: "fe80::6", dst: "fe80::1", protocol: model.TCP, number: 80, change: off, action: model.Allow, reason: model.ReasonNoEndpoint, stageEndpoint: node},
		"a group, to the node":          {in: open, src: "10.1.1.5", dst: "224.0.0.251", protocol: model.UDP, number: 5353, change: func(s *model.Settings) { s.EndpointToHost = model.ToHostDrop }, action: model.Deny, reason: model.ReasonEndpointToHost, stageEndpoint: node},
		"a group, to a pod":             {in: open, out: shut, src: "10.1.1.5", dst: "224.0.0.251", protocol: model.UDP, number: 5353, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"a group, from the node":        {in: node, out: shut, src: "192.0.2.1", dst: "224.0.0.251", protocol: model.UDP, number: 5353, action: model.Allow, reason: model.ReasonOwnNode, stageEndpoint: shut},
		"nobody's source":               {in: open, src: "198.18.0.9", dst: "203.0.113.9", protocol: model.UDP, number: 53, action: model.Deny, reason: model.ReasonUnknownWorkload, guard: "link", stageEndpoint: open},
		"nobody's source, allowed":      {in: shut, src: "198.18.0.9", dst: "203.0.113.9", protocol: model.UDP, number: 53, change: func(s *model.Settings) { s.UnknownWorkloads = model.Allow }, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"into a tunnel":                 {src: "10.1.1.5", dst: "192.0.2.2", protocol: model.UDP, number: 4789, action: model.Deny, reason: model.ReasonGuard, guard: "encapsulation", stageEndpoint: open},
		"into a tunnel, by a group":     {in: open, src: "10.1.1.5", dst: "224.0.0.1", protocol: model.UDP, number: 4789, action: model.Deny, reason: model.ReasonGuard, guard: "encapsulation", stageEndpoint: open},
		"into a tunnel, from a block":   {src: "10.1.2.9", dst: "192.0.2.1", protocol: model.UDP, number: 4789, change: func(s *model.Settings) { s.UnknownWorkloads = model.Allow }, action: model.Deny, reason: model.ReasonGuard, guard: "encapsulation"},
		"from a node's tunnel":          {src: "192.0.2.2", dst: "192.0.2.1", protocol: model.UDP, number: 4789, action: model.Allow, reason: model.ReasonNoEndpoint, stageEndpoint: node},
		"into a tunnel, and counted":    {src: "10.1.1.5", dst: "192.0.2.2", protocol: model.UDP, number: 4789, change: off, action: model.Allow, reason: model.ReasonNoEndpoint, stageEndpoint: model.Ref{Kind: model.KindNode, Name: "n2"}},
		"a port that is not known":      {src: "10.1.1.5", dst: "192.0.2.2", protocol: model.UDP, number: 0, action: model.Allow, reason: model.ReasonNoEndpoint, stageEndpoint: model.Ref{Kind: model.KindNode, Name: "n2"}},
		"a neighbour's solicitation":    {in: shut, out: open, src: "fe80::6", dst: "ff02::1", protocol: model.ICMPv6, number: 135, action: model.Allow, reason: model.ReasonLinkService, stageEndpoint: shut},
		"a router's advertisement":      {in: shut, src: "fe80::6", dst: "ff02::1", protocol: model.ICMPv6, number: 134, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"advertised to a pod":           {in: open, out: shut, src: "fe80::5", dst: "ff02::1", protocol: model.ICMPv6, number: 134, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"a redirect":                    {in: open, src: "fe80::5", dst: "fe80::1", protocol: model.ICMPv6, number: 137, action: model.Deny, reason: model.ReasonGuard, guard: "discovery", stageEndpoint: open},
		"a redirect from outside":       {in: eth0, src: "fe80::99", dst: "fe80::1", protocol: model.ICMPv6, number: 137, action: model.Allow, reason: model.ReasonLinkService},
		"a redirect, and not judged":    {in: open, src: "fe80::5", dst: "fe80::1", protocol: model.ICMPv6, number: 137, change: off, action: model.Allow, reason: model.ReasonLinkService, stageEndpoint: open},
		"a solicitation that is routed": {src: "fd00::6", dst: "2001:db8::9", protocol: model.ICMPv6, number: 135, action: model.Deny, reason: model.ReasonEndOfTier, stageEndpoint: shut},
		"listeners of IPv4":             {in: shut, src: "10.1.1.6", dst: "224.0.0.22", protocol: 2, action: model.Allow, reason: model.ReasonLinkService, stageEndpoint: shut},
		"by the interface of no pod":    {in: podRef("nobody"), src: "10.1.1.5", dst: "203.0.113.9", protocol: model.TCP, number: 80, action: model.Allow, reason: model.ReasonNoEndpoint, stageEndpoint: none},
	} {
		f := model.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: c.protocol, In: c.in, Out: c.out}
		if c.protocol.HasPorts() {
			f.SrcPort, f.DstPort = 40000, c.number
		} else {
			f.ICMPType = uint8(c.number)
		}
		d := verdict.Decide(twoNodes("", bridged(c.change)...), f)
		last := model.Verdict{}
		if len(d.Stages) > 0 {
			last = d.Stages[len(d.Stages)-1]
		}
		guard := model.Ref{}
		if c.guard != "" {
			guard = model.Ref{Kind: model.KindGuard, Name: string(c.guard)}
		}
		if d.Action != c.action || last.Reason != c.reason || last.Endpoint != c.stageEndpoint || (last.Policy.Kind == model.KindGuard || c.guard != "") && last.Policy != guard {
			t.Errorf("%s: %+v, want %s by %s %s of %s", name, d, c.action, c.reason, c.guard, c.stageEndpoint)
		}
	}
}

// TestLinksOfUnknownNodes: where nothing is known of a node's interfaces, each of its
// pods has its own.
func TestLinksOfUnknownNodes(t *testing.T) {
	objects := bridged(nil)
	ix := twoNodes("", objects[:3]...)
	forged := model.Flow{Src: netip.MustParseAddr("10.1.1.6"), Dst: netip.MustParseAddr("203.0.113.9"), Protocol: model.TCP, DstPort: 80, In: podRef("web")}
	if d := verdict.Decide(ix, forged); d.Action != model.Deny || d.Stages[0].Reason != model.ReasonGuard {
		t.Errorf("forged: %+v", d)
	}
	local := model.Flow{Src: netip.MustParseAddr("fe80::6"), Dst: netip.MustParseAddr("ff02::1"), Protocol: model.UDP, DstPort: 5353, In: podRef("shut")}
	if d := verdict.Decide(ix, local); d.Action != model.Deny || d.Stages[0].Endpoint != podRef("shut") {
		t.Errorf("link-local: %+v", d)
	}
}
