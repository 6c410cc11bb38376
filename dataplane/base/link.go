package base

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// What comes from or goes to pods' interfaces with addresses that no object
// lists. Whose packet it is then follows from the interface, or on a bridge from the port.

// fromLink is what packets meet that come from pods' interfaces and bear no local
// pod's source. It comes after the rules for those that do.
func (b *facts) fromLink(chain string) []Rule {
	if !b.judgesLinks() {
		return nil
	}
	return []Rule{{If: where(notIn(SrcIn, Pods), is(FromLink)), Then: Jump, Chain: chain, Comment: "a source that no object lists"}}
}

// unlisted are the rules for sources that are no local pods': those in the node's
// blocks, and those on pods' interfaces. A guard that counts has no say in what is
// dropped without it.
func (b *facts) unlisted(chain string) []Rule {
	if b.countsLinks() {
		return append(b.unknown(SrcIn), b.fromLink(chain)...)
	}
	return append(b.fromLink(chain), b.unknown(SrcIn)...)
}

// linkSources are the sources of packets that are the pod's behind the interface.
// Any other is an unknown workload's.
func (b *facts) linkSources() []netip.Prefix {
	if b.ipv6() {
		return []netip.Prefix{linkLocal6, unspecified}
	}
	return []netip.Prefix{linkLocal4, anyHost}
}

// linkChains writes the chains that packets of unlisted addresses meet.
func (b *builder) linkChains() {
	if !b.judgesLinks() {
		return
	}
	rules := b.linkServices()
	if b.judgedBefore() {
		rules = append(rules, Rule{If: where(Test{Kind: SrcNet, Net: linkLocal4}, Test{Kind: DstLocal, Not: true}), Then: Return, Comment: "counted before routing"})
	}
	for _, n := range b.linkSources() {
		rules = append(rules, Rule{If: where(Test{Kind: SrcNet, Net: n}), Then: Goto, Chain: "link-egress", Comment: "the pod behind the interface"})
	}
	switch {
	case b.settings.UnknownWorkloads == model.Deny:
		rules = append(rules, b.guarded(model.GuardLinkName, b.settings.Guards.Link, nil, "unknownWorkloads: Deny")...)
	case b.judgedBefore():
		rules = append(rules, Rule{If: where(is(DstLocal)), Then: Goto, Chain: "link-egress", Comment: "unknownWorkloads: Allow"})
	default:
		rules = append(rules, Rule{Then: Goto, Chain: "link-egress", Comment: "unknownWorkloads: Allow"})
	}
	b.once("from-link", "from pods' interfaces, with a source that no object lists", rules...)
	egress := b.byLink(model.Egress)
	if b.settings.UnknownWorkloads == model.Deny && !b.latePorts() {
		egress.Guard = model.GuardLinkName
	}
	b.once("link-egress", "of the pod behind the interface", egress)
	b.once("link-ingress", "of the pod behind the interface", b.byLink(model.Ingress))
}

func (b *facts) byLink(dir model.Direction) Rule {
	return Rule{Then: ByLink, Direction: dir, Counted: b.countsLinks()}
}

// judgedBefore reports whether linkPrerouting has counted what the filter hooks
// see again, of all that is not for the node itself.
func (b *facts) judgedBefore() bool { return b.countsLinks() && b.latePorts() && !b.ipv6() }

// toLink is what packets meet that leave by pods' interfaces for no local pod's
// address: multicast, broadcast, link-local.
func (b *facts) toLink() []Rule {
	if !b.judgesLinks() {
		return nil
	}
	return []Rule{{If: where(notIn(DstIn, Pods), is(ToLink)), Then: Jump, Chain: "link-ingress", Comment: "a destination that no object lists"}}
}

// postrouting is where the port is known by which bridged packets leave.
func (b *builder) postrouting() {
	if !b.judgesLinks() || !b.latePorts() {
		return
	}
	b.once("port-ingress", "of the pod behind the port", Rule{Then: ByPort, Direction: model.Ingress, Counted: b.countsLinks()})
	b.hook(Postrouting, "postrouting", "bridged packets, by the port by which they leave", []Rule{established},
		append(b.discovery(Postrouting), Rule{
			If: where(notIn(DstIn, Pods), is(ToPort)), Then: Jump, Chain: "port-ingress", Comment: "a destination that no object lists",
		})...)
}

// linkPrerouting judges IPv4 sources that no object lists where the port is still
// known by which they come: routing makes a packet forget it. What the filter hooks
// see of it again they judge alike, or if the guard counts leave alone.
func (b *builder) linkPrerouting() {
	b.to = &b.tables.Filter
	if !b.latePorts() || !b.judgesLinks() {
		return
	}
	var rules []Rule
	if !b.ipv6() {
		b.chain("routed-egress", "of the pod behind the port", append(b.linkServices(), b.routedSources()...)...)
		rules = append(b.discovery(LinkPrerouting), Rule{
			If: where(notIn(SrcIn, Pods), is(FromLink), Test{Kind: DstLocal, Not: true}), Then: Jump, Chain: "routed-egress", Comment: "a source that no object lists",
		})
	}
	b.hook(LinkPrerouting, "link-prerouting", "ports are forgotten by routing", []Rule{established}, rules...)
}

func (b *builder) routedSources() []Rule {
	rules := []Rule{{If: where(Test{Kind: SrcNet, Net: anyHost}), Then: Return, Comment: "before the first address"}}
	source := b.byLink(model.Egress)
	if b.settings.UnknownWorkloads == model.Deny {
		source.Guard = model.GuardLinkName
	}
	if source.Counted && b.settings.UnknownWorkloads == model.Deny { // all others are counted by the filter hooks
		b.chain("routed-link", "of the pod behind the port", source)
		return append(rules, Rule{If: where(Test{Kind: SrcNet, Net: linkLocal4}), Then: Goto, Chain: "routed-link", Comment: "the pod behind the port"})
	}
	return append(rules, source)
}

// latePorts reports whether ports are known after the forward hook only.
func (b *facts) latePorts() bool { return b.opts.PortsAtPostrouting && HasPorts(b.state) }

// HasPorts reports whether local pods are ports of bridges.
func HasPorts(s *dataplane.State) bool {
	if s.Links == nil {
		return false
	}
	for i := range s.Links.Pods {
		if s.Links.Pods[i].Port != "" {
			return true
		}
	}
	return false
}

// encapsulation drops what pods send to tunnels of the cluster's nodes: what is
// inside would come out as another pod's.
func (b *facts) encapsulation() []Rule {
	var rules []Rule
	for _, t := range b.tunnels() {
		rules = append(rules, b.encapsulated(slices.Concat(t, where(on(SrcIn, Pods), on(DstIn, Nodes))))...)
		if Links(b.state) { // with a source that is forged
			rules = append(rules, b.encapsulated(slices.Concat(t, where(notIn(SrcIn, Pods), on(DstIn, Nodes), is(FromLink))))...)
		}
	}
	return rules
}

// encapsulationHere is the same at the node that the tunnel belongs to, of which
// every address counts, those too that no other node knows to be its. Pods of other
// nodes are known by the blocks of pod addresses. No node sends what it encapsulates
// with an address of these, unless it is its own; an end outside of the cluster has none.
func (b *facts) encapsulationHere() []Rule {
	var rules []Rule
	for _, t := range b.tunnels() {
		from := func(tests ...Test) { rules = append(rules, b.encapsulated(slices.Concat(t, tests))...) }
		from(on(SrcIn, Pods))
		from(notIn(SrcIn, Pods), on(SrcIn, ClusterBlocks), notIn(SrcIn, Nodes), notIn(SrcIn, Own))
		if Links(b.state) {
			from(notIn(SrcIn, Pods), notIn(SrcIn, ClusterBlocks), is(FromLink))
		}
	}
	return rules
}

func (b *facts) encapsulated(tests []Test) []Rule {
	return b.guarded(model.GuardEncapsulationName, b.settings.Guards.Encapsulation, tests, "pods send nothing into the nodes' tunnels")
}

// tunnels are the tests for what the node's tunnel devices send.
func (b *facts) tunnels() [][]Test {
	if b.state.Links == nil {
		return nil
	}
	var out [][]Test
	seen := map[model.Tunnel]bool{}
	for _, t := range b.state.Links.Tunnels {
		if t.Protocol.HasPorts() && t.Port == 0 {
			continue // a WireGuard device without a port that could be read
		}
		key := model.Tunnel{Protocol: t.Protocol, Port: t.Port}
		if seen[key] {
			continue
		}
		seen[key] = true
		tests := where(proto(t.Protocol))
		if t.Port != 0 {
			tests = append(tests, port(DstPorts, t.Port))
		}
		out = append(out, tests)
	}
	return out
}
