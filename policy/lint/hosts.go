package lint

import (
	"fmt"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
)

// ask evaluates queries to a server by the egress policy of a pod.
func (l *linter) ask(c index.Chain, pod, server *packets.Party, known bool) answer {
	var ports []dnsPort
	if known {
		ports = portsOf(server)
	} else {
		ports = portsOf(nil)
	}
	var out answer
	var open [2]bool
	for _, p := range ports {
		i := 0
		if p.protocol == model.TCP {
			i = 1
		}
		f := model.Flow{Src: pod.Addr, Dst: server.Addr, Protocol: p.protocol, SrcPort: 40000, DstPort: p.port}
		if v := verdict.Evaluate(index.StageChain{Direction: model.Egress, Chain: c, EndOfTier: true, Default: model.Allow}, &f); v.Action == model.Deny {
			out[i] = &v
		} else {
			open[i] = true
		}
	}
	for i := range out {
		if open[i] {
			out[i] = nil
		}
	}
	return out
}

// hostPolicies runs the checks for host endpoints.
func (l *linter) hostPolicies() {
	for _, r := range l.ix.Endpoints() {
		if r.Kind != model.KindHostEndpoint {
			continue
		}
		eff := l.ix.Effective(r)
		if eff == nil {
			continue
		}
		l.deniesAll(r, eff)
	}
	l.closedByTier()
	l.failsafes()
	l.untracked()
}

// deniesAll reports host endpoints that no policy opens at all.
func (l *linter) deniesAll(r model.Ref, eff *index.Effective) {
	if eff.DefaultAction != model.Deny {
		return
	}
	opens := func(chains ...index.Chain) bool {
		for _, c := range chains {
			for _, t := range c {
				for _, p := range t.Policies {
					for _, dir := range directions {
						for _, rule := range p.Resolved(dir) {
							if !p.Audit && rule.Action == model.Allow && !rule.Match.Never {
								return true
							}
						}
					}
				}
			}
		}
		return false
	}
	for _, d := range []struct {
		dir    model.Direction
		chains []index.Chain
		word   string
	}{
		{model.Ingress, []index.Chain{eff.Ingress, eff.UntrackedIngress, eff.PreDNAT}, "to"},
		{model.Egress, []index.Chain{eff.Egress, eff.UntrackedEgress}, "from"},
	} {
		if !opens(d.chains...) {
			l.add(Finding{
				Severity: Warning, Code: CodeHostDeniesAll, Object: r, Field: "spec.defaultAction",
				Message: fmt.Sprintf("the default action is Deny and no policy allows any %s: only failsafe ports get %s the host", d.dir, d.word),
			})
		}
	}
}

// failsafes reports rules of host policies that failsafe ports make ineffective.
func (l *linter) failsafes() {
	type tally struct {
		rule           *index.Rule
		rest, overlaps packets.Space
	}
	found := map[ruleKey]*tally{}
	var order []ruleKey
	for i := range l.chains {
		c := &l.chains[i]
		switch c.Stage {
		case model.StageHost, model.StageUntracked, model.StagePreDNAT:
		default:
			continue
		}
		for _, own := range l.hostAddrs(c) {
			for _, peer := range l.peers {
				if own.Addr.Is4() != peer.Addr.Is4() || peer.Node != "" && peer.Node == own.Node {
					continue
				}
				s, d := peer, own
				if c.Direction == model.Egress {
					s, d = own, peer
				}
				safe := l.e.FailsafeSpace(c.Direction, peer.Addr)
				l.e.Walk(c.Chain, c.Direction, c.endOfTier(), s, d, func(p packets.Passage) {
					if p.Policy < 0 {
						return
					}
					pol := c.Chain[p.Tier].Policies[p.Policy]
					rule := &pol.Resolved(c.Direction)[p.Rule]
					k := ruleKey{pol.Ref, c.Direction, rule.Index}
					t := found[k]
					if t == nil {
						t = &tally{rule: rule}
						found[k] = t
						order = append(order, k)
					}
					t.rest = t.rest.Union(p.Match.Subtract(safe))
					t.overlaps = t.overlaps.Union(p.Match.Intersect(safe))
				})
			}
		}
	}
	for _, k := range order {
		t := found[k]
		if f, ok := failsafeFinding(k, t.rule, t.rest, t.overlaps); ok {
			l.add(f)
		}
	}
}

// failsafeFinding describes a rule of a host policy: overlaps is the part of its
// traffic that is failsafe, rest the part that is not.
func failsafeFinding(k ruleKey, rule *index.Rule, rest, overlaps packets.Space) (Finding, bool) {
	if overlaps.IsEmpty() {
		return Finding{}, false
	}
	f := Finding{Code: CodeFailsafeOverlap, Object: k.policy, Field: ruleField(k.dir, k.index)}
	list := "inbound"
	if k.dir == model.Egress {
		list = "outbound"
	}
	named := rule.Match.Destination.Ports != nil
	switch action := rule.Action; {
	case action == model.Deny && rest.IsEmpty():
		f.Severity, f.Message = Warning, fmt.Sprintf("denies nothing of a host: %s is open by the %s failsafe ports", overlaps, list)
	case action == model.Deny && named:
		f.Severity, f.Message = Warning, fmt.Sprintf("does not close %s of a host: open by the %s failsafe ports", overlaps, list)
	case action == model.Allow && rest.IsEmpty():
		f.Severity, f.Message = Info, fmt.Sprintf("opens nothing of a host: %s is open by the %s failsafe ports anyway", overlaps, list)
	default:
		return Finding{}, false // rules over all ports overlap in the nature of things
	}
	f.Related = []Related{{Object: model.Ref{Kind: model.KindTierwall, Name: "default"}, Field: "spec.failsafe." + list}}
	return f, true
}

// hostAddrs are the addresses of hosts that a chain guards.
func (l *linter) hostAddrs(c *ownChain) []*packets.Party {
	if c.Stage == model.StageHost {
		return c.own
	}
	number := l.e.Number(c.Chain, c.Direction)
	var out []*packets.Party
	for _, p := range l.parties {
		if !p.Host || p.Effective == nil {
			continue
		}
		for _, x := range packets.Chains(p.Effective) {
			if x.Stage == c.Stage && x.Direction == c.Direction && l.e.Number(x.Chain, x.Direction) == number {
				out = append(out, p)
			}
		}
	}
	return out
}

// untracked reports doNotTrack rules that allow connections whose replies are
// denied: without tracking, a reply is a packet like any other.
func (l *linter) untracked() {
	found := map[ruleKey]packets.Space{}
	var order []ruleKey
	for i := range l.chains {
		c := &l.chains[i]
		if c.Stage != model.StageUntracked {
			continue
		}
		for _, own := range l.hostAddrs(c) {
			for _, peer := range l.peers {
				if own.Addr.Is4() != peer.Addr.Is4() || peer.Node != "" && peer.Node == own.Node {
					continue
				}
				s, d := peer, own
				if c.Direction == model.Egress {
					s, d = own, peer
				}
				var back packets.Space // what the host's policy denies of replies
				for _, r := range l.e.Decide(d, s) {
					if r.Decision.Action == model.Deny && deniedBy(&r.Decision, own) {
						back = back.Union(r.Space)
					}
				}
				if back.IsEmpty() {
					continue
				}
				l.e.Walk(c.Chain, c.Direction, false, s, d, func(p packets.Passage) {
					if p.Policy < 0 || p.Action != model.Allow {
						return
					}
					pol := c.Chain[p.Tier].Policies[p.Policy]
					k := ruleKey{pol.Ref, c.Direction, pol.Resolved(c.Direction)[p.Rule].Index}
					lost := p.Match.Intersect(p.Reached).Reverse().Intersect(back)
					if pol.Audit || lost.IsEmpty() {
						return
					}
					if _, ok := found[k]; !ok {
						order = append(order, k)
					}
					found[k] = found[k].Union(p.Match.Intersect(p.Reached))
				})
			}
		}
	}
	for _, k := range order {
		l.add(Finding{
			Severity: Warning, Code: CodeUntrackedReplies, Object: k.policy, Field: ruleField(k.dir, k.index),
			Message: fmt.Sprintf("replies to what it allows (%s) are denied: connections that are not tracked need a rule for the replies", found[k]),
		})
	}
}

// deniedBy reports whether the policy of a host denies a connection.
func deniedBy(d *model.Decision, host *packets.Party) bool {
	for _, v := range d.Stages {
		if v.Action == model.Deny {
			return host.Guard != nil && v.Endpoint == host.Guard.Ref
		}
	}
	return false
}
