package base

import (
	"net/netip"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// What comes from or goes to pods' interfaces with addresses that no object
// lists. Whose packet it is then follows from the interface, or on a bridge from the port.

// fromLink is what packets meet that come from pods' interfaces and bear no local
// pod's source. It comes after the rules for those that do.
func (b *builder) fromLink() []Rule {
	if !b.judgesLinks() {
		return nil
	}
	tests := where(notIn(SrcIn, Pods), is(FromLink))
	if b.settings.Guards.Link == model.GuardCount {
		return b.guarded(model.GuardLinkName, model.GuardCount, tests, "a source that no object lists")
	}
	return []Rule{{If: tests, Then: Jump, Chain: "from-link", Comment: "a source that no object lists"}}
}

// linkSources are the sources of packets that are the pod's behind the interface.
// Any other is an unknown workload's.
func (b *builder) linkSources() []netip.Prefix {
	if b.ipv6() {
		return []netip.Prefix{linkLocal6, unspecified}
	}
	return []netip.Prefix{linkLocal4, anyHost}
}

// linkChains writes the chains that packets of unlisted addresses meet.
func (b *builder) linkChains() {
	if !b.judgesLinks() || b.settings.Guards.Link != model.GuardEnforce {
		return
	}
	rules := b.linkServices()
	for _, n := range b.linkSources() {
		rules = append(rules, Rule{If: where(Test{Kind: SrcNet, Net: n}), Then: Goto, Chain: "link-egress", Comment: "the pod behind the interface"})
	}
	if b.settings.UnknownWorkloads == model.Deny {
		rules = append(rules, Rule{Then: Drop, Guard: model.GuardLinkName, Comment: "unknownWorkloads: Deny"})
	} else {
		rules = append(rules, Rule{Then: Goto, Chain: "link-egress", Comment: "unknownWorkloads: Allow"})
	}
	b.once("from-link", "from pods' interfaces, with a source that no object lists", rules...)
	egress := Rule{Then: ByLink, Direction: model.Egress}
	if b.settings.UnknownWorkloads == model.Deny && !b.latePorts() {
		egress.Guard = model.GuardLinkName
	}
	b.once("link-egress", "of the pod behind the interface", egress)
	b.once("link-ingress", "of the pod behind the interface", Rule{Then: ByLink, Direction: model.Ingress})
}

// toLink is what packets meet that leave by pods' interfaces for no local pod's
// address: multicast, broadcast, link-local.
func (b *builder) toLink() []Rule {
	if !b.judgesLinks() {
		return nil
	}
	tests := where(notIn(DstIn, Pods), is(ToLink))
	if b.settings.Guards.Link == model.GuardCount {
		return b.guarded(model.GuardLinkName, model.GuardCount, tests, "a destination that no object lists")
	}
	return []Rule{{If: tests, Then: Jump, Chain: "link-ingress", Comment: "a destination that no object lists"}}
}

// postrouting is where the port is known by which bridged packets leave.
func (b *builder) postrouting() {
	if !b.judgesLinks() || !b.latePorts() {
		return
	}
	tests := where(notIn(DstIn, Pods), is(ToPort))
	rules := b.guarded(model.GuardLinkName, b.settings.Guards.Link, tests, "a destination that no object lists")
	if b.settings.Guards.Link == model.GuardEnforce {
		b.once("port-ingress", "of the pod behind the port", Rule{Then: ByPort, Direction: model.Ingress})
		rules = []Rule{{If: tests, Then: Jump, Chain: "port-ingress", Comment: "a destination that no object lists"}}
	}
	b.hook(Postrouting, "postrouting", "bridged packets, by the port by which they leave", []Rule{established},
		append(b.discovery(Postrouting), rules...)...)
}

// linkPrerouting judges IPv4 sources that no object lists where the port is still
// known by which they come: routing makes a packet forget it. What the filter hooks
// see of it again they judge alike.
func (b *builder) linkPrerouting() {
	b.to = &b.tables.Filter
	if !b.latePorts() || !b.judgesLinks() || b.settings.Guards.Link != model.GuardEnforce {
		return
	}
	var rules []Rule
	if !b.ipv6() {
		source := Rule{Then: ByLink, Direction: model.Egress}
		if b.settings.UnknownWorkloads == model.Deny {
			source.Guard = model.GuardLinkName
		}
		b.chain("routed-egress", "of the pod behind the port", append(b.linkServices(),
			Rule{If: where(Test{Kind: SrcNet, Net: anyHost}), Then: Return, Comment: "before the first address"}, source)...)
		rules = append(b.discovery(LinkPrerouting), Rule{
			If: where(notIn(SrcIn, Pods), is(FromLink), Test{Kind: DstLocal, Not: true}), Then: Jump, Chain: "routed-egress", Comment: "a source that no object lists",
		})
	}
	b.hook(LinkPrerouting, "link-prerouting", "ports are forgotten by routing", []Rule{established}, rules...)
}

// latePorts reports whether ports are known after the forward hook only.
func (b *builder) latePorts() bool { return b.opts.PortsAtPostrouting && HasPorts(b.state) }

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
func (b *builder) encapsulation() []Rule {
	var rules []Rule
	for _, t := range b.tunnels() {
		rules = append(rules, b.guarded(model.GuardEncapsulationName, b.settings.Guards.Encapsulation,
			append(t, on(SrcIn, Pods), on(DstIn, Nodes)), "pods send nothing into the nodes' tunnels")...)
	}
	return rules
}

// tunnels are the tests for what the node's tunnel devices send.
func (b *builder) tunnels() [][]Test {
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
