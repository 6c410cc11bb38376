package lint

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// serviceAddressesAndPorts reports rules that describe traffic to a Service as it is sent, whereas
// policies see it as traffic to the Service's endpoints: blocks with nothing but
// cluster addresses, and the Service's port instead of that of its endpoints.
func (l *linter) serviceAddressesAndPorts() {
	for _, p := range l.ix.Policies() {
		if p.PreDNAT || p.DoNotTrack {
			continue // these see it as it is sent
		}
		for i := range p.EgressRules {
			l.serviceAddresses(p, &p.EgressRules[i])
		}
		for _, dir := range directions {
			l.servicePorts(p, dir)
		}
	}
}

// serviceAddresses reports the blocks of an egress rule that contain no address of an
// endpoint or node, but some of Services.
func (l *linter) serviceAddresses(p *model.Policy, r *model.Rule) {
	for _, net := range r.Match.Destination.Nets {
		if wide := 12; net.Bits() < wide || !net.Addr().Is4() && net.Bits() < 4*wide {
			continue // it means more than Services, whatever is known
		}
		if slices.ContainsFunc(l.parties, func(x *packets.Party) bool { return net.Contains(x.Addr) }) {
			continue
		}
		var held []model.Ref
		for i := range l.services {
			if s := &l.services[i]; slices.ContainsFunc(s.Addrs, net.Contains) {
				held = append(held, s.Ref)
			}
		}
		if len(held) == 0 {
			continue
		}
		f := Finding{
			Severity: Warning, Code: CodeServiceAddress, Object: p.Ref, Field: ruleField(model.Egress, r.Index),
			Message: fmt.Sprintf("%s contains the cluster address of %s: policies see traffic to a Service as traffic to its endpoints, so the rule matches none of it; select the pods, or name the Service", net, some(held)),
		}
		for _, s := range held {
			f.Related = append(f.Related, Related{Object: s})
		}
		l.add(f)
	}
}

// servicePorts reports rules with the port of a Service for endpoints that have another.
func (l *linter) servicePorts(p *model.Policy, dir model.Direction) {
	rules := p.Rules(dir)
	for i := range rules {
		m := &rules[i].Match
		for _, port := range m.Destination.Ports {
			if port.Name != "" || port.First != port.Last {
				continue
			}
			for j := range l.services {
				s := &l.services[j]
				sp := s.PortOf(m.Protocol, port.First)
				if sp == nil || !l.meansEndpoints(p, dir, i, sp) || anyPort(rules, sp) {
					continue
				}
				l.add(Finding{
					Severity: Warning, Code: CodeServicePort, Object: p.Ref, Field: ruleField(dir, rules[i].Index),
					Message: fmt.Sprintf("port %d is that of %s: policies see traffic to a Service with the port of its endpoints, %d", port.First, s.Ref, sp.Endpoints[0].Port()),
					Related: []Related{{Object: s.Ref}},
				})
			}
		}
	}
}

// meansEndpoints reports whether all endpoints of a Service's port are receivers of a
// rule, and none of them has the Service's port itself.
func (l *linter) meansEndpoints(p *model.Policy, dir model.Direction, rule int, sp *packets.ServicePort) bool {
	var to func(netip.Addr, *packets.Party) bool
	switch r := l.resolved[p.Ref]; {
	case dir == model.Ingress:
		selected := l.selected(p.Ref)
		to = func(_ netip.Addr, x *packets.Party) bool { return slices.Contains(selected, x.Pod.Ref) }
	case r == nil || rule >= len(r.ResolvedEgress) || r.ResolvedEgress[rule].Destination.Selector == nil:
		return false
	default:
		set := r.ResolvedEgress[rule].Destination.Selector
		to = func(a netip.Addr, _ *packets.Party) bool { return set.Contains(a, 0, 0) }
	}
	for _, e := range sp.Endpoints {
		x := l.e.Party(e.Addr())
		if e.Port() == sp.Port || x.Pod == nil || !to(e.Addr(), x) ||
			slices.ContainsFunc(x.Pod.Ports, func(n model.NamedPort) bool { return n.Protocol == sp.Protocol && n.Port == sp.Port }) {
			return false
		}
	}
	return len(sp.Endpoints) > 0
}

// anyPort reports whether a rule is about the port that an endpoint has.
func anyPort(rules []model.Rule, sp *packets.ServicePort) bool {
	for i := range rules {
		m := &rules[i].Match
		if m.Protocol != 0 && m.Protocol != sp.Protocol {
			continue
		}
		if len(m.Destination.Ports) == 0 && rules[i].Action == model.Allow {
			return true
		}
		for _, port := range m.Destination.Ports {
			if port.Name != "" || slices.ContainsFunc(sp.Endpoints, func(e netip.AddrPort) bool { return port.First <= e.Port() && e.Port() <= port.Last }) {
				return true
			}
		}
	}
	return false
}
