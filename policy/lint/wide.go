package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// everyEndpoint is the selector of a global policy that names nothing.
var everyEndpoint = selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)

// anything reports whether a rule has no criteria.
func anything(r *model.Rule) bool {
	m := &r.Match
	plain := func(p *model.Peer) bool {
		return p.Nets == nil && p.NotNets == nil && p.Selector == nil && p.NotSelector == nil &&
			p.Ports == nil && p.NotPorts == nil && p.Service == (model.ServiceRef{}) && p.Domains == nil
	}
	return !m.Never && m.IPVersion == 0 && m.Protocol == model.AnyProtocol && m.NotProtocol == model.AnyProtocol &&
		m.ICMP == nil && m.NotICMP == nil && plain(&m.Source) && plain(&m.Destination)
}

// opens reports whether an enforced policy keeps anything from reaching its tier's end
// in a direction.
func opens(p *model.Policy, dir model.Direction) bool {
	if p.Audit || !p.Governs(dir) {
		return false
	}
	for _, r := range p.Rules(dir) {
		if (r.Action == model.Allow || r.Action == model.Pass) && !r.Match.Never {
			return true
		}
	}
	return false
}

// deniesEverything reports global policies that select every endpoint, in a tier that
// ends with Deny and in which nothing is allowed or passed.
func (l *linter) deniesEverything() {
	action := map[string]model.Action{}
	for _, t := range l.ix.Tiers() {
		action[t.Name] = t.DefaultAction
	}
	type tierDir struct {
		tier string
		dir  model.Direction
	}
	open := map[tierDir]bool{}
	for _, p := range l.ix.Policies() {
		for _, dir := range directions {
			open[tierDir{p.Tier, dir}] = open[tierDir{p.Tier, dir}] || opens(p, dir)
		}
	}
	for _, p := range l.ix.Policies() {
		if p.Audit || p.DoNotTrack || p.PreDNAT || action[p.Tier] != model.Deny || !p.Selector.Same(everyEndpoint) {
			continue
		}
		what := ""
		for _, dir := range directions {
			if p.Governs(dir) && !open[tierDir{p.Tier, dir}] {
				if what != "" {
					what += " or "
				}
				what += dir.String()
			}
		}
		if what != "" {
			l.add(Finding{Severity: Warning, Code: CodeDeniesEverything, Object: p.Ref, Field: "spec", Message: fmt.Sprintf(
				"selects every pod and host endpoint, and nothing in tier %s allows or passes any %s: all of it is denied, even for the cluster's own pods; set a selector and types to narrow the policy down", p.Tier, what)})
		}
	}
}

// bypassesNative reports rules of policies before the native ones in tier default that
// decide in place of native policies: a Pass skips these, and so does an Allow of
// everything.
func (l *linter) bypassesNative() {
	policies := l.ix.Policies()
	for _, p := range policies {
		if p.Tier != model.TierDefault || p.Order >= model.NativeOrder || p.Ref.Kind == model.KindNetworkPolicy || p.Audit || p.DoNotTrack || p.PreDNAT {
			continue
		}
		for _, dir := range directions {
			if !p.Governs(dir) {
				continue
			}
			var skipped []model.Ref
			for _, q := range policies {
				if q.Ref.Kind == model.KindNetworkPolicy && !q.Audit && q.Governs(dir) && (len(l.parties) == 0 || l.meet(p.Ref, q.Ref)) {
					skipped = append(skipped, q.Ref)
				}
			}
			if len(skipped) == 0 {
				continue
			}
			for _, r := range p.Rules(dir) {
				all := anything(&r)
				if r.Match.Never || r.Action != model.Pass && (r.Action != model.Allow || !all) {
					continue
				}
				l.add(bypass(p, dir, &r, all, skipped))
			}
		}
	}
}

func bypass(p *model.Policy, dir model.Direction, r *model.Rule, all bool, skipped []model.Ref) Finding {
	f := Finding{Severity: Warning, Code: CodeBypassesNative, Object: p.Ref, Field: ruleField(dir, r.Index)}
	what := "everything"
	if !all {
		f.Severity, what = Info, "what it matches"
	}
	if r.Action == model.Pass {
		f.Message = fmt.Sprintf("passes %s on to the next tier, so native policies, which are in this tier with order %d, no longer apply to it", what, model.NativeOrder)
	} else {
		f.Message = fmt.Sprintf("allows %s before native policies are evaluated: they no longer apply", what)
	}
	f.Message += fmt.Sprintf(" (%s)", some(skipped))
	for _, q := range skipped {
		f.Related = append(f.Related, Related{Object: q})
	}
	return f
}

// closedByTier reports policies at whose tier's end everything is denied for host
// endpoints that allow by default, as automatic ones do.
func (l *linter) closedByTier() {
	type key struct {
		policy model.Ref
		dir    model.Direction
	}
	hosts := map[key][]model.Ref{}
	var order []key
	tiers := map[key]string{}
	for _, r := range l.ix.Endpoints() {
		eff := l.ix.Effective(r)
		if r.Kind != model.KindHostEndpoint || eff == nil || eff.DefaultAction == model.Deny {
			continue
		}
		for _, d := range []struct {
			dir    model.Direction
			chain  index.Chain
			before []index.Chain
		}{
			{model.Ingress, eff.Ingress, []index.Chain{eff.UntrackedIngress, eff.PreDNAT}},
			{model.Egress, eff.Egress, []index.Chain{eff.UntrackedEgress}},
		} {
			last, ok := closesAll(d.chain, d.dir, d.before)
			if !ok {
				continue
			}
			k := key{last.Ref, d.dir}
			if hosts[k] == nil {
				order = append(order, k)
			}
			hosts[k] = append(hosts[k], r)
			tiers[k] = last.Tier
		}
	}
	for _, k := range order {
		word := "to"
		if k.dir == model.Egress {
			word = "from"
		}
		l.add(Finding{Severity: Warning, Code: CodeHostDeniesAll, Object: k.policy, Message: fmt.Sprintf(
			"tier %s ends with Deny for %s, and no policy allows or passes any %s: only failsafe ports get %s the host",
			tiers[k], some(hosts[k]), k.dir, word)})
	}
}

// closesAll finds the last policy of the first tier that ends with Deny, if nothing is
// allowed before that end or passed on from that tier.
func closesAll(chain index.Chain, dir model.Direction, before []index.Chain) (last *index.Policy, ok bool) {
	for _, c := range before {
		for _, t := range c {
			for _, p := range t.Policies {
				if opens(p.Policy, dir) {
					return nil, false
				}
			}
		}
	}
	for _, t := range chain {
		last = nil
		for _, p := range t.Policies {
			if opens(p.Policy, dir) {
				return nil, false
			}
			if !p.Audit {
				last = p
			}
		}
		if last != nil && t.Enforced && t.Tier.DefaultAction == model.Deny {
			return last, true
		}
	}
	return nil, false
}
