package verdict_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// twoNodes is a world with a pod on n1 that lets nobody in but by port 80.
func twoNodes(local string, more ...model.Object) *index.Index {
	ix := index.New(index.Options{Local: func(node string) bool { return local == "" || node == local }})
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
		d := verdict.Decide(twoNodes(c.local), f)
		if d.Action != c.want || len(d.Stages) == 0 || d.Stages[len(d.Stages)-1].Reason != c.reason {
			t.Errorf("agent of %q, %s → %s:%d: %+v, want %s by %s", c.local, c.src, c.dst, c.port, d, c.want, c.reason)
		}
	}
}

// TestLocalHolderWins holds that a pod of another node that claims an address of this
// node takes neither its pod's policy away nor the node's own address, whatever the
// pod is called.
func TestLocalHolderWins(t *testing.T) {
	claim := func(addr string) *model.Endpoint {
		return &model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "aaa", Name: "liar"}, Node: "n2", Addrs: []netip.Addr{netip.MustParseAddr(addr)},
		}
	}
	flow := func(src, dst string, port uint16) model.Flow {
		return model.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: model.TCP, SrcPort: 40000, DstPort: port}
	}
	web := netip.MustParseAddr("10.1.1.5")
	const outside = "203.0.113.1"
	for _, local := range []string{"n1", ""} {
		ix := twoNodes(local, claim("10.1.1.5"))
		if d := verdict.DecideAt(ix, "n1", flow(outside, "10.1.1.5", 81)); d.Action != model.Deny {
			t.Errorf("agent of %q: %+v", local, d)
		}
		if d := verdict.DecideAt(ix, "n1", flow(outside, "10.1.1.5", 80)); d.Action != model.Allow {
			t.Errorf("agent of %q: %+v", local, d)
		}
	}
	ix := twoNodes("n1", claim("10.1.1.5"))
	if got := ix.Owner(web); got.Name != "web" {
		t.Errorf("the owner is %s", got)
	}
	if mine, theirs, ok := ix.Clash(web); !ok || mine.Name != "web" || theirs.Name != "liar" {
		t.Errorf("clash of %s and %s: %v", mine, theirs, ok)
	}
	if _, _, ok := twoNodes("n1").Clash(web); ok {
		t.Error("a clash without a claim")
	}
	// The node's own address: what the pod may do is decided as for a host.
	with := verdict.DecideAt(twoNodes("n1", claim("192.0.2.1")), "n1", flow("10.1.1.5", "192.0.2.1", 22))
	without := verdict.DecideAt(twoNodes("n1"), "n1", flow("10.1.1.5", "192.0.2.1", 22))
	if fmt.Sprintf("%+v", with) != fmt.Sprintf("%+v", without) {
		t.Errorf("a claim of the node's address: %+v, without %+v", with, without)
	}
}

// hep is a host endpoint on n3.
func hep(name, iface string, addrs ...string) *model.Endpoint {
	e := &model.Endpoint{
		Ref: model.Ref{Kind: model.KindHostEndpoint, Name: name}, Node: "n3", Labels: map[string]string{"host": "yes"},
		Host: &model.HostEndpoint{Interface: iface, DefaultAction: model.Deny},
	}
	for _, a := range addrs {
		e.Addrs = append(e.Addrs, netip.MustParseAddr(a))
	}
	return e
}

// hostPolicies are a normal, a forward and a preDNAT policy of all host endpoints,
// which deny nothing and are named in verdicts.
func hostPolicies() []model.Object {
	make := func(name string, set func(*model.Policy)) model.Object {
		p := &model.Policy{
			Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: name}, Tier: "default", Ingress: true, Egress: true, Selector: selector.Has("host"),
			IngressRules: []model.Rule{{Action: model.Allow}}, EgressRules: []model.Rule{{Action: model.Allow}},
		}
		set(p)
		return p
	}
	return []model.Object{
		make("forwarded", func(p *model.Policy) { p.ApplyOnForward = true }),
		make("early", func(p *model.Policy) {
			p.PreDNAT, p.Egress, p.EgressRules = true, false, nil
			p.IngressRules = []model.Rule{{Action: model.Log}}
		}),
	}
}

// n3 is the node of TestGuards, with two pods; links are what its kernel reports.
func n3() []model.Object {
	at := netip.MustParseAddr
	return []model.Object{
		&model.Node{Name: "n3", Addrs: []netip.Addr{at("192.0.2.3"), at("198.18.0.3")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.3.0/24")}},
		&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "app", Name: "far"}, Node: "n3", Addrs: []netip.Addr{at("10.1.3.5")}},
		&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "app", Name: "off"}, Node: "n3", Addrs: []netip.Addr{at("10.1.3.6")}},
	}
}

func n3Links() *model.Links {
	at, net := netip.MustParseAddr, netip.MustParsePrefix
	return &model.Links{
		Node: "n3",
		Addrs: []model.LinkAddr{
			{Addr: at("10.1.3.1"), Interface: "cni0"}, {Addr: at("127.0.0.1"), Interface: "lo"}, {Addr: at("192.0.2.3"), Interface: "eth0"},
			{Addr: at("198.18.0.3"), Interface: "eth1"}, {Addr: at("198.51.100.80"), Interface: "lo"}, {Addr: at("fe80::3"), Interface: "eth1"},
		},
		Routes: []model.LinkRoute{
			{Net: net("10.1.3.128/26"), Interface: "vxlan0"}, {Net: net("10.1.3.0/24"), Interface: "cni0"},
			{Net: net("198.18.0.0/16"), Interface: "eth1"}, {Net: net("0.0.0.0/0"), Interface: "eth0"},
		},
		Pods:    []model.PodLink{{Addr: at("10.1.3.5"), Interface: "cni0", Port: "veth1"}, {Addr: at("10.1.3.6"), Interface: "cni0", Port: "veth2"}},
		Tunnels: []model.Tunnel{{Interface: "vxlan0", Protocol: model.UDP, Port: 4789}},
	}
}

// TestGuards holds which host endpoint guards what: the stages of host endpoints that
// a connection passes at n3, with each endpoint's name.
func TestGuards(t *testing.T) {
	const far, off, node, second, vip, outside, storage = "10.1.3.5", "10.1.3.6", "192.0.2.3", "198.18.0.3", "198.51.100.80", "203.0.113.9", "198.18.7.7"
	all, eth0, eth1 := hep("all", "*"), hep("eth0", "eth0"), hep("eth1", "eth1", second)
	for _, c := range []struct {
		name     string
		objects  []model.Object
		src, dst string
		want     string
	}{
		{"* guards between pods of a node", []model.Object{all}, far, off, "preDNAT all, forward egress all, forward ingress all"},
		{"* counted does not", []model.Object{all, guards(model.GuardCount, model.ToHostAccept)}, far, off, ""},
		{"* counted guards what comes in by others", []model.Object{all, guards(model.GuardCount, model.ToHostAccept)}, outside, far, "preDNAT all, forward ingress all"},
		{"* guards both sides of a pod's connections", []model.Object{all}, outside, far, "preDNAT all, forward egress all, forward ingress all"},
		{"an interface guards its side only", []model.Object{eth0}, outside, far, "preDNAT eth0, forward ingress eth0"},
		{"an interface guards its side only, outward", []model.Object{eth0}, far, outside, "forward egress eth0"},
		{"an interface beside *", []model.Object{eth0, all}, far, outside, "preDNAT all, forward egress eth0, forward ingress all"},
		{"the main interface is the one without addresses", []model.Object{eth1, eth0}, outside, node, "preDNAT eth0, host ingress eth0"},
		{"an address of another interface", []model.Object{eth1, eth0}, outside, second, "preDNAT eth1, host ingress eth1"},
		{"from an address of another interface", []model.Object{eth1, eth0}, second, outside, "host egress eth1"},
		{"an interface that none names", []model.Object{eth1, all}, outside, node, "preDNAT all, host ingress all"},
		{"an address alone guards the node, nothing that is forwarded", []model.Object{hep("addr", "", node)}, outside, far, ""},
		{"an address alone, to the node", []model.Object{hep("addr", "", node), all}, outside, node, "preDNAT addr, host ingress addr"},
		{"an address alone, to another of the node's", []model.Object{hep("addr", "", node), all}, outside, second, "preDNAT all, host ingress all"},
		{"an interface comes before an address", []model.Object{hep("addr", "", node), eth0}, outside, node, "preDNAT eth0, host ingress eth0"},
		{"a pod to its node", []model.Object{eth0, all}, far, node, "preDNAT all"},
		{"a pod to its node, Return", []model.Object{eth0, all, guards(model.GuardEnforce, model.ToHostReturn)}, far, node, "preDNAT all, host ingress all"},
		{"a pod to its node, Return, * counted", []model.Object{all, guards(model.GuardCount, model.ToHostReturn)}, far, node, "host ingress all"},
		{"a pod to its node, Return, no *", []model.Object{eth0, guards(model.GuardEnforce, model.ToHostReturn)}, far, node, ""},
		{"the node to its pod", []model.Object{all, eth0}, node, far, ""},

		{"links: by the route", []model.Object{eth1, eth0, n3Links()}, storage, far, "preDNAT eth1, forward ingress eth1"},
		{"links: by the default route", []model.Object{eth1, eth0, n3Links()}, outside, far, "preDNAT eth0, forward ingress eth0"},
		{"links: to an address by the interface that bears it", []model.Object{eth1, eth0, n3Links()}, outside, second, "preDNAT eth1, host ingress eth1"},
		{"links: to an address on lo by the route back", []model.Object{eth1, eth0, n3Links()}, outside, vip, "preDNAT eth0, host ingress eth0"},
		{"links: to the bridge's address by the route back", []model.Object{eth0, n3Links()}, outside, "10.1.3.1", "preDNAT eth0, host ingress eth0"},
		{"links: the node sends by the route", []model.Object{eth1, eth0, n3Links()}, node, storage, "host egress eth1"},
		{"links: the bridge's address reaches pods", []model.Object{all, n3Links()}, "10.1.3.1", far, ""},
		{"links: what is behind a tunnel is no unknown workload", []model.Object{all, n3Links()}, "10.1.3.130", far, "preDNAT all, forward egress all, forward ingress all"},
	} {
		ix := twoNodes("", append(append(hostPolicies(), n3()...), c.objects...)...)
		d := verdict.Decide(ix, flow(c.src, c.dst))
		if got := hostStages(d); got != c.want || d.Action != model.Allow {
			t.Errorf("%s: %s by %q, want %q\n%+v", c.name, d.Action, got, c.want, d)
		}
	}
}

// guards are settings with one for * and endpointToHostAction.
func guards(wildcard model.Guard, toHost model.EndpointToHost) *model.Settings {
	s := model.DefaultSettings()
	s.Guards.Wildcard, s.EndpointToHost = wildcard, toHost
	return s
}

func flow(src, dst string) model.Flow {
	return model.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: model.TCP, SrcPort: 40000, DstPort: 80}
}

func hostStages(d model.Decision) string {
	var out []string
	for _, v := range d.Stages {
		if v.Endpoint.Kind != model.KindHostEndpoint {
			continue
		}
		stage := string(v.Stage)
		if v.Stage != model.StagePreDNAT {
			stage += " " + v.Direction.String()
		}
		out = append(out, stage+" "+v.Endpoint.Name)
	}
	return strings.Join(out, ", ")
}

// TestDecideAt holds what one node alone decides, with the other ends anywhere.
func TestDecideAt(t *testing.T) {
	deny := &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "deny"}, Tier: "default", Ingress: true, Selector: selector.Has("host"), ApplyOnForward: true,
		IngressRules: []model.Rule{{Action: model.Deny}},
	}
	early := &model.Policy{
		Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "early"}, Tier: "default", Ingress: true, Selector: selector.Has("host"), PreDNAT: true, ApplyOnForward: true,
		IngressRules: []model.Rule{{Action: model.Allow, Match: model.Match{Destination: model.Peer{Nets: []netip.Prefix{netip.MustParsePrefix("198.51.100.80/32")}}}}},
	}
	world := append(n3(), hep("all", "*"))
	with := func(more ...model.Object) *index.Index {
		return twoNodes("n3", append(append(world, n3Links()), more...)...)
	}
	for _, c := range []struct {
		name     string
		ix       *index.Index
		src, dst string
		want     string // of the last stage; empty: this node decides nothing
	}{
		{"both ends elsewhere", with(deny), "203.0.113.9", "198.51.100.7", "Deny forward all"},
		{"both ends elsewhere, without policies", with(), "203.0.113.9", "198.51.100.7", ""},
		{"pods of other nodes", with(), "10.1.1.5", "10.1.2.77", ""},
		{"an address of its own that no object lists", with(deny), "203.0.113.9", "198.51.100.80", "Deny host all"},
		{"its link-local address", with(deny), "fe80::9", "fe80::3", "Deny host all"},
		{"loopback and its own pods", with(deny), "127.0.0.1", "10.1.3.5", "Allow workload far"},
		{"loopback to others", with(), "127.0.0.1", "203.0.113.9", "Deny host all"},
		{"unknown workloads of its own", with(), "10.1.3.77", "203.0.113.9", "Deny workload "},
		{"unknown workloads of others", with(), "10.1.2.77", "203.0.113.9", ""},
		{"another node", with(), "192.0.2.1", "192.0.2.3", "Deny host all"},
	} {
		d := verdict.DecideAt(c.ix, "n3", flow(c.src, c.dst))
		got := ""
		if n := len(d.Stages); n > 0 {
			got = fmt.Sprintf("%s %s %s", d.Stages[n-1].Action, d.Stages[n-1].Stage, d.Stages[n-1].Endpoint.Name)
		}
		if got != c.want || (d.Action == model.Deny) != strings.HasPrefix(c.want, "Deny") {
			t.Errorf("%s: %q, want %q\n%+v", c.name, got, c.want, d)
		}
	}
	// An Allow before translation passes over the ingress policies behind it.
	before, after := flow("203.0.113.9", "198.51.100.80"), flow("203.0.113.9", "10.1.3.5")
	if d := verdict.DecideTranslatedAt(with(deny, early), "n3", before, after); d.Action != model.Allow {
		t.Errorf("translated, allowed early: %+v", d)
	}
	if d := verdict.DecideAt(with(deny, early), "n3", after); d.Action != model.Deny {
		t.Errorf("the same without translation: %+v", d)
	}
}

// TestTunnelFailsafe holds that nodes' own encapsulated packets pass host endpoints.
func TestTunnelFailsafe(t *testing.T) {
	for _, c := range []struct {
		src, dst string
		port     uint16
		off      bool
		want     model.Action
	}{
		{"192.0.2.1", "192.0.2.3", 4789, false, model.Allow},
		{"192.0.2.3", "192.0.2.1", 4789, false, model.Allow},
		{"192.0.2.1", "192.0.2.3", 4790, false, model.Deny},
		{"203.0.113.9", "192.0.2.3", 4789, false, model.Deny},
		{"192.0.2.1", "192.0.2.3", 4789, true, model.Deny},
	} {
		s := model.DefaultSettings()
		s.Guards.NoTunnelFailsafe = c.off
		ix := twoNodes("", append(n3(), hep("all", "*"), n3Links(), s)...)
		f := flow(c.src, c.dst)
		f.Protocol, f.DstPort = model.UDP, c.port
		if d := verdict.Decide(ix, f); d.Action != c.want {
			t.Errorf("%s to %s:%d, off %v: %+v", c.src, c.dst, c.port, c.off, d)
		}
	}
}

// TestLinksOfNodes holds what the index says of a node by its Links.
func TestLinksOfNodes(t *testing.T) {
	ix := index.New(index.Options{Local: func(n string) bool { return n == "n3" }})
	at := netip.MustParseAddr
	step := func(what string, nodes, objects []string) {
		t.Helper()
		if d := ix.Flush(); !slices.Equal(d.Nodes, nodes) || !slices.Equal(d.NodeObjects, objects) {
			t.Errorf("%s: nodes %v, objects %v, want %v and %v", what, d.Nodes, d.NodeObjects, nodes, objects)
		}
	}
	ix.Upsert(n3Links())
	ix.Upsert(hep("all", "*"))
	step("links alone", []string{"n3"}, nil)
	if n := ix.NodeOf(at("10.1.3.1")); n == nil || n.Name != "n3" {
		t.Errorf("the bridge's address: %+v", n)
	}
	for _, a := range []string{"127.0.0.1", "fe80::3"} {
		if n := ix.NodeOf(at(a)); n != nil {
			t.Errorf("%s is every node's: %+v", a, n)
		}
	}
	if e, _ := ix.Endpoint(model.Ref{Kind: model.KindHostEndpoint, Name: "all"}); !slices.Contains(e.Addrs, at("10.1.3.1")) {
		t.Errorf("a host endpoint without expectedIPs: %+v", e)
	}
	l := n3Links()
	l.Pods = l.Pods[:1]
	ix.Upsert(l)
	step("a pod less", []string{"n3"}, nil)
	ix.Upsert(n3Links())
	ix.Upsert(l)
	step("nothing new", nil, nil)
	ix.Upsert(n3()[0])
	step("the object", []string{"n3"}, []string{"n3"})
	if n := ix.Node("n3"); n.Addrs[0] != at("192.0.2.3") || len(n.Addrs) != 4 {
		t.Errorf("the object's addresses come first: %v", n.Addrs)
	}
	other := n3Links()
	other.Node, other.Routes = "n4", nil
	ix.Upsert(other)
	step("another node's", []string{"n4"}, nil)
	other = n3Links()
	other.Node = "n4"
	ix.Upsert(other)
	step("another node's routes", nil, nil)
	ix.Delete(l.Key())
	ix.Delete(other.Key())
	step("links gone", []string{"n3", "n4"}, nil)
	if ix.Node("n4") != nil || ix.Links("n3") != nil {
		t.Error("something is left of the links")
	}
}

// TestHairpin holds that a pod which reaches itself by a Service meets
// ClusterNetworkPolicies alone, and of the Baseline none behind another policy.
func TestHairpin(t *testing.T) {
	rules := []model.Rule{{Action: model.Deny}}
	of := func(kind model.Kind, name, tier string) *model.Policy {
		return &model.Policy{Ref: model.Ref{Kind: kind, Name: name}, Tier: tier, Ingress: true, Selector: selector.Not(selector.Has("host")), IngressRules: rules}
	}
	admin, baseline := of(model.KindClusterNetworkPolicy, "a", model.TierKubeAdmin), of(model.KindClusterNetworkPolicy, "b", model.TierKubeBaseline)
	audited := of(model.KindGlobalNetworkPolicy, "c", model.TierDefault)
	audited.Audit = true
	first := of(model.KindGlobalNetworkPolicy, "d", "first")
	for _, c := range []struct {
		name string
		with []model.Object
		want model.Action
	}{
		{"other policies", nil, model.Allow},
		{"Admin", []model.Object{admin}, model.Deny},
		{"Admin behind another tier", []model.Object{admin, first, &model.Tier{Name: "first", Order: 1, DefaultAction: model.Deny}}, model.Deny},
		{"Baseline behind a policy", []model.Object{baseline}, model.Allow},
		{"Baseline", []model.Object{baseline, model.Object(nil)}, model.Deny},
		{"Baseline behind an audited policy", []model.Object{baseline, audited, model.Object(nil)}, model.Deny},
	} {
		ix := twoNodes("")
		for _, o := range c.with {
			if o == nil {
				ix.Delete(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"})
			} else {
				ix.Upsert(o)
			}
		}
		ix.Flush()
		if d := verdict.Decide(ix, flow("10.1.1.5", "10.1.1.5")); d.Action != c.want {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}
