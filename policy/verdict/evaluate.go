package verdict

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Criterion is a part of a rule that a packet can fail to match. The zero Criterion
// means that everything matched.
type Criterion string

// The criteria, by the API's field names; those of a side are prefixed with
// "source." or "destination.".
const (
	Matched                 Criterion = ""
	CriterionNever          Criterion = "invalid" // the rule could not be understood
	CriterionIPVersion      Criterion = "ipVersion"
	CriterionProtocol       Criterion = "protocol"
	CriterionNotProtocol    Criterion = "notProtocol"
	CriterionICMP           Criterion = "icmp"
	CriterionNotICMP        Criterion = "notICMP"
	CriterionSrcNets        Criterion = "source.nets"
	CriterionSrcNotNets     Criterion = "source.notNets"
	CriterionSrcSelector    Criterion = "source.selector"
	CriterionSrcNotSelector Criterion = "source.notSelector"
	CriterionSrcService     Criterion = "source.services"
	CriterionSrcPorts       Criterion = "source.ports"
	CriterionSrcNotPorts    Criterion = "source.notPorts"
	CriterionDstNets        Criterion = "destination.nets"
	CriterionDstNotNets     Criterion = "destination.notNets"
	CriterionDstSelector    Criterion = "destination.selector"
	CriterionDstNotSelector Criterion = "destination.notSelector"
	CriterionDstService     Criterion = "destination.services"
	CriterionDstDomains     Criterion = "destination.domains"
	CriterionDstPorts       Criterion = "destination.ports"
	CriterionDstNotPorts    Criterion = "destination.notPorts"
)

type sideCriteria struct{ nets, notNets, selector, notSelector, service, ports, notPorts Criterion }

var (
	srcCriteria = sideCriteria{CriterionSrcNets, CriterionSrcNotNets, CriterionSrcSelector, CriterionSrcNotSelector, CriterionSrcService, CriterionSrcPorts, CriterionSrcNotPorts}
	dstCriteria = sideCriteria{CriterionDstNets, CriterionDstNotNets, CriterionDstSelector, CriterionDstNotSelector, CriterionDstService, CriterionDstPorts, CriterionDstNotPorts}
)

// Mismatch returns the first criterion of a rule that a packet fails, or
// Matched. Cheap criteria come before sets.
func Mismatch(r *index.Rule, f *model.Flow) Criterion {
	m := &r.Match
	isICMP := f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6
	switch {
	case m.Never:
		return CriterionNever
	case m.IPVersion == 4 && !f.Src.Is4(), m.IPVersion == 6 && f.Src.Is4():
		return CriterionIPVersion
	case m.Protocol != model.AnyProtocol && m.Protocol != f.Protocol:
		return CriterionProtocol
	case m.NotProtocol != model.AnyProtocol && m.NotProtocol == f.Protocol:
		return CriterionNotProtocol
	case m.ICMP != nil && !(isICMP && m.ICMP.Matches(f.ICMPType, f.ICMPCode)):
		return CriterionICMP
	case m.NotICMP != nil && isICMP && m.NotICMP.Matches(f.ICMPType, f.ICMPCode):
		return CriterionNotICMP
	}
	if c := mismatchOfSide(&r.Source, &m.Source, f, f.Src, f.SrcPort, &srcCriteria); c != Matched {
		return c
	}
	return mismatchOfSide(&r.Destination, &m.Destination, f, f.Dst, f.DstPort, &dstCriteria)
}

func mismatchOfSide(s *index.PeerSets, p *model.Peer, f *model.Flow, a netip.Addr, port uint16, c *sideCriteria) Criterion {
	contains := func(n netip.Prefix) bool { return n.Contains(a) }
	switch {
	case p.Ports != nil && !matchPorts(p.Ports, s.NamedPorts, f.Protocol, a, port):
		return c.ports
	case len(p.NotPorts) > 0 && matchPorts(p.NotPorts, s.NotNamedPorts, f.Protocol, a, port):
		return c.notPorts
	case p.Nets != nil && !slices.ContainsFunc(p.Nets, contains):
		return c.nets
	case len(p.NotNets) > 0 && slices.ContainsFunc(p.NotNets, contains):
		return c.notNets
	case s.Selector != nil && !s.Selector.Contains(a, 0, 0):
		return c.selector
	case s.NotSelector != nil && s.NotSelector.Contains(a, 0, 0):
		return c.notSelector
	case s.Service != nil && !s.Service.Contains(a, f.Protocol, port):
		return c.service
	case s.Domains != nil && !s.Domains.Contains(a, 0, 0):
		return CriterionDstDomains
	}
	return Matched
}

// matchPorts reports whether one of the ports matches. named is parallel to the
// entries with names.
func matchPorts(ports []model.Port, named []*index.Set, proto model.Protocol, a netip.Addr, port uint16) bool {
	if !proto.HasPorts() {
		return false
	}
	n := 0
	for i := range ports {
		p := &ports[i]
		switch {
		case p.Name == "":
			if p.First <= port && port <= p.Last {
				return true
			}
		case named[n].Contains(a, proto, port):
			return true
		default:
			n++
		}
	}
	return false
}

// Outcome is the result for a packet at one rule, or at the end of a tier.
type Outcome string

// The outcomes.
const (
	// PassedOver: a criterion of the rule did not match.
	PassedOver Outcome = "passed over"
	// Logged: the rule matched and its action is Log.
	Logged Outcome = "logged"
	// PassedOn: the rule matched and its action is Pass, or the tier ends with Pass.
	PassedOn Outcome = "passed on"
	// Decided: the rule, or the end of the tier, allowed or denied.
	Decided Outcome = "decided"
	// NoRules: the policy selects the endpoint and has no rules in this direction.
	NoRules Outcome = "no rules"
	// Audited: the rule belongs to an audited policy and matched; it has no effect.
	Audited Outcome = "audited"
)

// Step is one rule that was tried, or the end of one tier.
type Step struct {
	Tier    string          `json:"tier"`
	Policy  model.Ref       `json:"policy,omitzero"`
	Rule    model.RuleIndex `json:"rule"`
	Name    string          `json:"name,omitempty"`
	Action  model.Action    `json:"action"`
	Outcome Outcome         `json:"outcome"`
	// Match describes in words what the rule matches.
	Match string `json:"match,omitempty"`
	// Failed is the criterion that did not match, for a rule that was passed over; Why
	// describes the mismatch for this packet.
	Failed Criterion `json:"failed,omitempty"`
	Why    string    `json:"why,omitempty"`
	// Domains are those of the names of a rule that matched by which it has the address.
	Domains []names.Pattern `json:"domains,omitempty"`
	// Annotations of the rule.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Evaluate applies one chain to a packet. The caller fills in endpoint and stage.
func Evaluate(c index.StageChain, f *model.Flow) model.Verdict {
	return evaluate(&c, f, nil)
}

func evaluate(c *index.StageChain, f *model.Flow, trace func(Step)) model.Verdict {
	v := runChain(c, f, false, trace)
	if hasAudited(c.Chain) {
		if a := runChain(c, f, true, nil); a.Action != v.Action || a.Policy != v.Policy || a.Rule != v.Rule || a.Tier != v.Tier {
			v.Audit = &a
		}
	}
	return v
}

// hasAudited reports whether there is an audited policy in the chain.
func hasAudited(c index.Chain) bool {
	for i := range c {
		if slices.ContainsFunc(c[i].Policies, func(p *index.Policy) bool { return p.Audit }) {
			return true
		}
	}
	return false
}

// runChain evaluates the chain, with the audited policies as if they were enforced
// if audit is set.
func runChain(c *index.StageChain, f *model.Flow, audit bool, trace func(Step)) model.Verdict {
tiers:
	for i := range c.Chain {
		t := &c.Chain[i]
		last := model.Ref{}
		for _, p := range t.Policies {
			counts := audit || !p.Audit
			if !counts && trace == nil {
				continue
			}
			if counts {
				last = p.Ref
			}
			rules := p.Resolved(c.Direction)
			if trace != nil && len(rules) == 0 {
				trace(Step{Tier: t.Tier.Name, Policy: p.Ref, Rule: model.RuleDefault, Outcome: NoRules})
			}
			for j := range rules {
				r := &rules[j]
				failed := Mismatch(r, f)
				if trace != nil {
					trace(step(t.Tier, p, r, f, failed))
				}
				if failed != Matched || !counts {
					continue
				}
				switch r.Action {
				case model.Allow, model.Deny:
					return model.Verdict{
						Action: r.Action, Direction: c.Direction, Reason: model.ReasonRule,
						Tier: t.Tier.Name, Policy: p.Ref, Rule: model.RuleIndex(r.Index), RuleName: r.Name,
					}
				case model.Pass:
					continue tiers
				}
			}
		}
		if last == (model.Ref{}) || !c.EndOfTier {
			continue
		}
		if trace != nil {
			trace(Step{Tier: t.Tier.Name, Policy: last, Rule: model.RuleEndOfTier, Action: t.Tier.DefaultAction, Outcome: outcomeOf(t.Tier.DefaultAction)})
		}
		if t.Tier.DefaultAction != model.Pass {
			return model.Verdict{
				Action: t.Tier.DefaultAction, Direction: c.Direction, Reason: model.ReasonEndOfTier,
				Tier: t.Tier.Name, Policy: last, Rule: model.RuleEndOfTier,
			}
		}
	}
	return model.Verdict{Action: c.Default, Direction: c.Direction, Reason: model.ReasonDefault, Rule: model.RuleDefault}
}

func outcomeOf(a model.Action) Outcome {
	switch a {
	case model.Pass:
		return PassedOn
	case model.Log:
		return Logged
	}
	return Decided
}

func step(t *model.Tier, p *index.Policy, r *index.Rule, f *model.Flow, failed Criterion) Step {
	s := Step{
		Tier: t.Name, Policy: p.Ref, Rule: model.RuleIndex(r.Index), Name: r.Name, Action: r.Action,
		Match: r.Match.Describe(), Failed: failed, Annotations: r.Annotations,
	}
	if failed == Matched {
		for _, set := range []*index.Set{r.Destination.Selector, r.Destination.Domains} {
			if set != nil && set.ByName() {
				s.Domains = append(s.Domains, set.Bringing(f.Dst)...)
			}
		}
	}
	switch {
	case failed != Matched:
		s.Outcome = PassedOver
	case p.Audit:
		s.Outcome = Audited
	default:
		s.Outcome = outcomeOf(r.Action)
	}
	return s
}
