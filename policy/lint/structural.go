package lint

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
	"github.com/tierwall/tierwall/policy/packets"
)

// structural reports whether a rule is hidden whatever endpoints there will be: by
// earlier rules of its own policy, or of policies that select the same endpoints, that
// require no more of the peers than it does. False may only mean that this is not
// easily seen.
func (l *linter) structural(p *model.Policy, k ruleKey) bool {
	passes := map[string]bool{} // tiers with a Pass rule, which may skip any other rule of the tier
	for _, q := range l.ix.Policies() {
		for _, r := range q.Rules(k.dir) {
			passes[q.Tier] = passes[q.Tier] || r.Action == model.Pass
		}
	}
	var earlier []model.Rule
	for _, q := range l.ix.Policies() {
		if q.Ref == p.Ref {
			break
		}
		if !q.Audit && q.Governs(k.dir) && q.Selector.Same(p.Selector) && sameVariant(p, q) && (q.Tier == p.Tier || !passes[q.Tier]) {
			earlier = append(earlier, q.Rules(k.dir)...)
		}
	}
	for _, r := range p.Rules(k.dir) {
		if r.Index == k.index {
			if !covered(&r, earlier) {
				return false
			}
		} else if r.Index < k.index && !p.Audit {
			earlier = append(earlier, r)
		}
	}
	return true
}

// sameVariant reports whether two policies are in the same chains of an endpoint.
func sameVariant(p, q *model.Policy) bool {
	return p.DoNotTrack == q.DoNotTrack && p.PreDNAT == q.PreDNAT && (q.ApplyOnForward || !p.ApplyOnForward)
}

// covered reports whether rules that match wherever r does cover all that it can match.
func covered(r *model.Rule, by []model.Rule) bool {
	rest := packets.Static(&r.Match)
	for i := range by {
		q := &by[i]
		if q.Action == model.Log || q.Match.Never || !implies(&r.Match, &q.Match) {
			continue
		}
		if rest = rest.Subtract(packets.Static(&q.Match)); rest.IsEmpty() {
			return true
		}
	}
	return rest.IsEmpty()
}

// implies reports whether addresses that meet the criteria of m meet those of q. Their
// protocols and port numbers are not compared.
func implies(m, q *model.Match) bool {
	if q.IPVersion != 0 && q.IPVersion != m.IPVersion {
		return false
	}
	return peerImplies(&m.Source, &q.Source) && peerImplies(&m.Destination, &q.Destination)
}

func peerImplies(m, q *model.Peer) bool {
	within := func(n netip.Prefix, nets []netip.Prefix) bool {
		return slices.ContainsFunc(nets, func(o netip.Prefix) bool { return o.Bits() <= n.Bits() && o.Contains(n.Addr()) })
	}
	if q.Nets != nil {
		if m.Nets == nil {
			return false
		}
		for _, n := range m.Nets {
			if !within(n, q.Nets) {
				return false
			}
		}
	}
	for _, n := range q.NotNets {
		apart := m.Nets != nil && !slices.ContainsFunc(m.Nets, n.Overlaps)
		if !apart && !within(n, m.NotNets) {
			return false
		}
	}
	same := func(q, m *selector.Selector) bool { return q == nil || m != nil && q.Same(m) }
	if !same(q.Selector, m.Selector) || !same(q.NotSelector, m.NotSelector) {
		return false
	}
	if q.Service != (model.ServiceRef{}) && (q.Service != m.Service || q.ServicePorts && !m.ServicePorts) {
		return false
	}
	if q.Domains != nil && !withinDomains(m.Domains, q.Domains) {
		return false
	}
	// Port names are not resolved: the lists must be the same.
	named := func(ports []model.Port) bool {
		return slices.ContainsFunc(ports, func(p model.Port) bool { return p.Name != "" })
	}
	return (!named(q.Ports) || slices.Equal(q.Ports, m.Ports)) && (!named(q.NotPorts) || slices.Equal(q.NotPorts, m.NotPorts))
}

// withinDomains reports whether each of the names is one of the others too.
func withinDomains(m, q []names.Pattern) bool {
	return m != nil && !slices.ContainsFunc(m, func(p names.Pattern) bool { return !slices.Contains(q, p) })
}
