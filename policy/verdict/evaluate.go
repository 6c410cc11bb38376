package policy

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Criterion is a part of a rule that a packet can fail to match. The zero
// Criterion means that all matched.
type Criterion string

// The criteria, by the API's field names; those of a side are prefixed with
// "source." or "destination.".
const (
	Matched        Criterion = ""
	NeverMatches   Criterion = "invalid" // the rule could not be understood
	IPVersion      Criterion = "ipVersion"
	Protocol       Criterion = "protocol"
	NotProtocol    Criterion = "notProtocol"
	ICMP           Criterion = "icmp"
	NotICMP        Criterion = "notICMP"
	SrcNets        Criterion = "source.nets"
	SrcNotNets     Criterion = "source.notNets"
	SrcSelector    Criterion = "source.selector"
	SrcNotSelector Criterion = "source.notSelector"
	SrcService     Criterion = "source.services"
	SrcPorts       Criterion = "source.ports"
	SrcNotPorts    Criterion = "source.notPorts"
	DstNets        Criterion = "destination.nets"
	DstNotNets     Criterion = "destination.notNets"
	DstSelector    Criterion = "destination.selector"
	DstNotSelector Criterion = "destination.notSelector"
	DstService     Criterion = "destination.services"
	DstPorts       Criterion = "destination.ports"
	DstNotPorts    Criterion = "destination.notPorts"
)

type sideCriteria struct{ nets, notNets, selector, notSelector, service, ports, notPorts Criterion }

var (
	srcCriteria = sideCriteria{SrcNets, SrcNotNets, SrcSelector, SrcNotSelector, SrcService, SrcPorts, SrcNotPorts}
	dstCriteria = sideCriteria{DstNets, DstNotNets, DstSelector, DstNotSelector, DstService, DstPorts, DstNotPorts}
)

// Matches says whether a rule matches a packet.
func (r *Rule) Matches(f *model.Flow) bool { return r.Mismatch(f) == Matched }

// Mismatch returns the first criterion of a rule that a packet fails, or
// Matched. Cheap criteria come before sets.
func (r *Rule) Mismatch(f *model.Flow) Criterion {
	m := &r.Match
	isICMP := f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6
	switch {
	case m.Never:
		return NeverMatches
	case m.IPVersion == 4 && !f.Src.Is4(), m.IPVersion == 6 && f.Src.Is4():
		return IPVersion
	case m.Protocol != model.AnyProtocol && m.Protocol != f.Protocol:
		return Protocol
	case m.NotProtocol != model.AnyProtocol && m.NotProtocol == f.Protocol:
		return NotProtocol
	case m.ICMP != nil && !(isICMP && m.ICMP.Matches(f.ICMPType, f.ICMPCode)):
		return ICMP
	case m.NotICMP != nil && isICMP && m.NotICMP.Matches(f.ICMPType, f.ICMPCode):
		return NotICMP
	}
	if c := r.Source.mismatch(&m.Source, f, f.Src, f.SrcPort, &srcCriteria); c != Matched {
		return c
	}
	return r.Destination.mismatch(&m.Destination, f, f.Dst, f.DstPort, &dstCriteria)
}

func (s *PeerSets) mismatch(p *model.Peer, f *model.Flow, a netip.Addr, port uint16, c *sideCriteria) Criterion {
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
	}
	return Matched
}

// matchPorts says whether one of the ports matches. named is parallel to the
// entries with names.
func matchPorts(ports []model.Port, named []*Set, proto model.Protocol, a netip.Addr, port uint16) bool {
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

// Outcome is what became of a packet at one rule, or at the end of a tier.
type Outcome string

// The outcomes.
const (
	// PassedOver: a criterion of the rule did not match.
	PassedOver Outcome = "passed over"
	// Logged: the rule matched and says Log.
	Logged Outcome = "logged"
	// PassedOn: the rule matched and says Pass, or the tier ends in Pass.
	PassedOn Outcome = "passed on"
	// Decided: the rule, or the end of the tier, allowed or denied.
	Decided Outcome = "decided"
	// NoRules: the policy selects the endpoint and has no rules in this direction.
	NoRules Outcome = "no rules"
	// Audited: the rule belongs to an audited policy and matched; it counts for nothing.
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
	// Match says in words what the rule matches.
	Match string `json:"match,omitempty"`
	// Failed is the criterion that did not match, of a rule that was passed
	// over, and Why says so of the packet at hand.
	Failed Criterion `json:"failed,omitempty"`
	Why    string    `json:"why,omitempty"`
	// Annotations of the rule.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Evaluate applies one chain to a packet. def is the action if no tier decides
// (NoAction for stages without one). endOfTier false leaves out the tiers'
// default actions (preDNAT and untracked stages). The caller fills in what the
// chain does not know: endpoint and stage.
func (c Chain) Evaluate(f *model.Flow, dir model.Direction, endOfTier bool, def model.Action) model.Verdict {
	return c.evaluate(f, dir, endOfTier, def, nil)
}

func (c Chain) evaluate(f *model.Flow, dir model.Direction, endOfTier bool, def model.Action, trace func(Step)) model.Verdict {
	v := c.run(f, dir, endOfTier, def, false, trace)
	if c.audited() {
		if a := c.run(f, dir, endOfTier, def, true, nil); a.Action != v.Action || a.Policy != v.Policy || a.Rule != v.Rule || a.Tier != v.Tier {
			v.Audit = &a
		}
	}
	return v
}

// audited says whether there is an audited policy in the chain.
func (c Chain) audited() bool {
	for i := range c {
		if slices.ContainsFunc(c[i].Policies, func(p *Policy) bool { return p.Audit }) {
			return true
		}
	}
	return false
}

// run evaluates the chain, with the audited policies as if they were enforced
// if audit is set.
func (c Chain) run(f *model.Flow, dir model.Direction, endOfTier bool, def model.Action, audit bool, trace func(Step)) model.Verdict {
tiers:
	for i := range c {
		t := &c[i]
		last := model.Ref{}
		for _, p := range t.Policies {
			counts := audit || !p.Audit
			if !counts && trace == nil {
				continue
			}
			if counts {
				last = p.Ref
			}
			rules := p.Ingress
			if dir == model.Egress {
				rules = p.Egress
			}
			if trace != nil && len(rules) == 0 {
				trace(Step{Tier: t.Tier.Name, Policy: p.Ref, Rule: model.RuleDefault, Outcome: NoRules})
			}
			for j := range rules {
				r := &rules[j]
				failed := r.Mismatch(f)
				if trace != nil {
					trace(step(t.Tier, p, r, failed))
				}
				if failed != Matched || !counts {
					continue
				}
				switch r.Action {
				case model.Allow, model.Deny:
					return model.Verdict{
						Action: r.Action, Direction: dir, Reason: model.ReasonRule,
						Tier: t.Tier.Name, Policy: p.Ref, Rule: model.RuleIndex(r.Index), RuleName: r.Name,
					}
				case model.Pass:
					continue tiers
				}
			}
		}
		if last == (model.Ref{}) || !endOfTier {
			continue
		}
		if trace != nil {
			trace(Step{Tier: t.Tier.Name, Policy: last, Rule: model.RuleEndOfTier, Action: t.Tier.DefaultAction, Outcome: outcomeOf(t.Tier.DefaultAction)})
		}
		if t.Tier.DefaultAction != model.Pass {
			return model.Verdict{
				Action: t.Tier.DefaultAction, Direction: dir, Reason: model.ReasonEndOfTier,
				Tier: t.Tier.Name, Policy: last, Rule: model.RuleEndOfTier,
			}
		}
	}
	return model.Verdict{Action: def, Direction: dir, Reason: model.ReasonDefault, Rule: model.RuleDefault}
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

func step(t *model.Tier, p *Policy, r *Rule, failed Criterion) Step {
	s := Step{
		Tier: t.Name, Policy: p.Ref, Rule: model.RuleIndex(r.Index), Name: r.Name, Action: r.Action,
		Match: r.Match.Describe(), Failed: failed, Annotations: r.Annotations,
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
