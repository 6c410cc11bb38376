package base

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// The ICMPv6 types of neighbour discovery and multicast listeners.
const (
	routerSolicitation  = 133
	routerAdvertisement = 134
	redirect            = 137
)

var (
	linkLocal4  = netip.MustParsePrefix("169.254.0.0/16")
	linkLocal6  = netip.MustParsePrefix("fe80::/10")
	unspecified = netip.MustParsePrefix("::/128")
	anyHost     = netip.MustParsePrefix("0.0.0.0/32")
	multicast4  = netip.MustParsePrefix("224.0.0.0/4")
)

// discovery is what IPv6 cannot live without on a link, at a point. Routed
// packets never look like this: the hop limit is 255 or the source link-local.
// IPv4 has ARP for neighbours, and IGMP for listeners.
func (b *builder) discovery(p Point) []Rule {
	if !b.ipv6() {
		return []Rule{{If: where(proto(igmp), Test{Kind: DstNet, Net: multicast4}), Then: Accept, Comment: "multicast listeners"}}
	}
	name, unrouted, local := "nd", is(HopLimit255), Test{Kind: SrcNet, Net: linkLocal6}
	fromPods := b.podsDiscovery(p)
	if len(fromPods) > 0 {
		name = map[Point]string{Input: "nd-in", Forward: "nd-fw", Postrouting: "nd-po"}[p]
	}
	rules := slices.Concat(fromPods, []Rule{
		{If: icmp(routerSolicitation, redirect, unrouted), Then: Accept, Comment: "router and neighbour discovery"},
		{If: icmp(130, 132, local), Then: Accept, Comment: "multicast listeners"},
		{If: icmp(143, 143, local), Then: Accept, Comment: "multicast listeners"},
		{If: icmp(143, 143, Test{Kind: SrcNet, Net: unspecified}), Then: Accept, Comment: "multicast listeners, before the first address"},
	})
	b.asked(name, "what IPv6 cannot live without on a link; routed packets never look like this", rules...)
	return []Rule{{If: where(proto(model.ICMPv6)), Then: Include, Chain: name}}
}

func icmp(first, last uint8, more ...Test) []Test {
	return append(where(Test{Kind: ICMPv6Type, First: first, Last: last}), more...)
}

// podsDiscovery is what is different for pods, in the filter hooks. Pods are not
// routers: their advertisements are judged by policy like any packet, and their
// redirects never pass.
func (b *facts) podsDiscovery(p Point) []Rule {
	if !b.judgesLinks() || p != Input && p != Forward && p != Postrouting {
		return nil
	}
	const text = "pods are not routers: by policy"
	advertised := icmp(routerAdvertisement, routerAdvertisement)
	if b.countsLinks() { // others are judged, or counted, as any packet is
		advertised = append(advertised, is(HopLimit255))
	}
	if p == Postrouting {
		return []Rule{{If: append(advertised, is(ToPort)), Then: Jump, Chain: "port-ingress"}}
	}
	fromPod := append(slices.Clone(advertised), is(FromLink))
	rules := b.guarded(model.GuardDiscoveryName, b.settings.Guards.Link, icmp(redirect, redirect, is(FromLink)), "pods do not redirect")
	switch toHost := b.settings.EndpointToHost == model.ToHostDrop; {
	case p == Forward:
		return append(rules, Rule{If: fromPod, Then: Jump, Chain: "link-egress", Comment: text},
			Rule{If: append(slices.Clone(advertised), is(ToLink)), Then: Jump, Chain: "link-ingress"})
	case toHost && b.countsLinks():
		return append(rules, Rule{If: fromPod, Then: Count, Guard: model.GuardDiscoveryName, Comment: "endpointToHostAction: Drop, counted only"})
	case toHost:
		return append(rules, Rule{If: fromPod, Then: Jump, Chain: "link-egress", Comment: text},
			Rule{If: fromPod, Then: Drop, Comment: "endpointToHostAction: Drop"})
	}
	return append(rules, Rule{If: fromPod, Then: Jump, Chain: "link-egress", Comment: text})
}

// igmp is the protocol by which IPv4 hosts say which groups they listen to.
const igmp model.Protocol = 2

// linkServices are what a pod needs of its link whatever policies say: an address by DHCP.
func (b *facts) linkServices() []Rule {
	from, to := uint16(68), uint16(67)
	if b.ipv6() {
		from, to = 546, 547
	}
	return []Rule{{If: where(proto(model.UDP), port(SrcPorts, from), port(DstPorts, to)), Then: Return, Comment: "DHCP"}}
}
