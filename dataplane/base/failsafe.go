package base

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// failsafeList is one of the chains that accept what no policy can close.
type failsafeList struct {
	name    string
	inbound bool
	// replies: what answers, for hooks that see packets without connections.
	replies bool
}

var (
	failsafeIn         = failsafeList{"failsafe-in", true, false}
	failsafeOut        = failsafeList{"failsafe-out", false, false}
	failsafeInReplies  = failsafeList{"failsafe-in-re", true, true}
	failsafeOutReplies = failsafeList{"failsafe-out-re", false, true}
)

// failsafe writes one of the chains and returns the rule that leads there.
func (b *builder) failsafe(l failsafeList) Rule {
	list, text := b.settings.FailsafeOutbound, "failsafe.outbound"
	if l.inbound {
		list, text = b.settings.FailsafeInbound, "failsafe.inbound"
	}
	peer, set, ports := SrcNet, SrcIn, DstPorts
	if l.inbound == l.replies {
		peer, set = DstNet, DstIn
	}
	if l.replies {
		ports = SrcPorts
	}
	rules := b.failsafePorts(list, peer, ports)
	if !b.settings.Guards.NoTunnelFailsafe {
		for _, t := range b.tunnels() {
			rules = append(rules, Rule{If: append(t, on(set, Nodes)), Then: Accept, Comment: commentTunnels})
		}
	}
	b.asked(l.name, text, rules...)
	return Rule{Then: Include, Chain: l.name}
}

// failsafePorts returns a rule for each protocol and peer's block.
func (b *facts) failsafePorts(list []model.FailsafePort, peer, ports TestKind) []Rule {
	type group struct {
		protocol model.Protocol
		net      netip.Prefix
	}
	open := map[group][]dataplane.PortRange{}
	for _, p := range list {
		if p.Net.IsValid() && !b.ofFamily(p.Net) {
			continue
		}
		g := group{p.Protocol, p.Net}
		open[g] = append(open[g], dataplane.PortRange{First: p.Port, Last: p.Port})
	}
	groups := make([]group, 0, len(open))
	for g := range open {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.net.String(), b.net.String()))
	})
	var rules []Rule
	for _, g := range groups {
		ranges := open[g]
		slices.SortFunc(ranges, func(a, b dataplane.PortRange) int { return cmp.Compare(a.First, b.First) })
		tests := where(proto(g.protocol), Test{Kind: ports, Ports: slices.Compact(ranges)})
		if g.net.IsValid() && g.net.Bits() > 0 {
			tests = append(where(Test{Kind: peer, Net: g.net.Masked()}), tests...)
		}
		rules = append(rules, Rule{If: tests, Then: Accept, Comment: commentFailsafe})
	}
	return rules
}
