package oracle

import (
	"cmp"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// tier is a tier as DESIGN 3 sorts and ends it.
type tier struct {
	name    string
	order   float64
	pass    bool // the end of the tier passes; otherwise it denies
	missing bool
}

// tiersOf gives the built-in tiers, the Tier objects, and for policies whose
// tier does not exist a tier of that name: evaluated last, deny by default.
func tiersOf(objects []runtime.Object, policies []*policy) []tier {
	tiers := []tier{
		{name: "kube-admin", order: 1000, pass: true},
		{name: "default", order: 1_000_000},
		{name: "kube-baseline", order: 10_000_000, pass: true},
	}
	known := func(name string) bool {
		return slices.ContainsFunc(tiers, func(t tier) bool { return t.name == name })
	}
	for _, o := range objects {
		// Built-in tiers cannot be changed: an object of their name says nothing.
		if t, ok := o.(*v1alpha1.Tier); ok && !known(t.Name) {
			tiers = append(tiers, tier{
				name:  t.Name,
				order: orderOf(t.Spec.Order),
				pass:  t.Spec.DefaultAction != nil && *t.Spec.DefaultAction == v1alpha1.Pass,
			})
		}
	}
	for _, p := range policies {
		if !known(p.tier) {
			tiers = append(tiers, tier{name: p.tier, missing: true})
		}
	}
	slices.SortFunc(tiers, func(a, b tier) int {
		switch {
		case a.missing != b.missing && a.missing:
			return 1
		case a.missing != b.missing:
			return -1
		}
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name))
	})
	return tiers
}

func orderOf(o *float64) float64 {
	if o == nil {
		return math.Inf(1) // nil is last
	}
	return *o
}

// variant is which of a host endpoint's chains a policy belongs to.
type variant int

const (
	normal variant = iota
	forward
	untracked
	preDNAT
)

// policy is a policy of any kind with its selectors and rules understood.
type policy struct {
	ref     model.Ref
	tie     model.Ref // of the object, whatever else is there
	tier    string
	order   float64
	selects func(*owner) bool // asked of pods and host endpoints only
	governs [2]bool           // by model.Direction
	rules   [2][]rule
	audit   bool
	// doNotTrack, preDNAT and applyOnForward of global policies.
	untracked, preDNAT, forward bool
}

// rule is one rule, or one alternative of a rule, of a policy.
type rule struct {
	index   int
	name    string
	action  model.Action
	matches func(model.Flow) bool
}

// takesPart says whether a policy belongs to a chain of an endpoint (contract of
// the stages: doNotTrack and preDNAT policies count on host endpoints only, and
// there in chains of their own; applyOnForward policies count for forwarded traffic too).
func (p *policy) takesPart(o *owner, dir model.Direction, v variant) bool {
	if !p.governs[dir] || !p.selects(o) {
		return false
	}
	if o.kind == model.OwnerPod {
		return v == normal && !p.untracked && !p.preDNAT
	}
	switch v {
	case untracked:
		return p.untracked
	case preDNAT:
		return p.preDNAT
	case forward:
		return p.forward && !p.untracked && !p.preDNAT
	}
	return !p.untracked && !p.preDNAT
}

// chain is the tiers with at least one policy that selects the endpoint in this
// direction, audited policies included (DESIGN 3, "For each endpoint and direction").
func (w *World) chain(o *owner, dir model.Direction, v variant) []tierChain {
	var chain []tierChain
	for _, t := range w.tiers {
		c := tierChain{tier: t}
		for _, p := range w.policies {
			if p.tier == t.name && p.takesPart(o, dir, v) {
				c.policies = append(c.policies, p)
			}
		}
		if len(c.policies) > 0 {
			chain = append(chain, c)
		}
	}
	return chain
}

type tierChain struct {
	tier     tier
	policies []*policy
}

// evaluate is DESIGN 3, "Evaluation, per direction". ends says whether tiers end
// in their default action, def what holds after the last tier. The result's Audit
// is set where the audited policies would make a difference.
func evaluate(chain []tierChain, f model.Flow, dir model.Direction, ends bool, def model.Action) model.Verdict {
	v := decideChain(chain, f, dir, ends, def, false)
	if a := decideChain(chain, f, dir, ends, def, true); a != v {
		v.Audit = &a
	}
	return v
}

func decideChain(chain []tierChain, f model.Flow, dir model.Direction, ends bool, def model.Action, audited bool) model.Verdict {
	for _, c := range chain {
		v, passed := c.decide(f, dir, audited)
		if v.Action != model.NoAction {
			return v
		}
		// The end of the tier: only if a policy that counts selects the endpoint.
		if v.Policy != (model.Ref{}) && !passed && ends && !c.tier.pass {
			v.Action, v.Reason, v.Rule = model.Deny, model.ReasonEndOfTier, model.RuleEndOfTier
			v.Tier = c.tier.name
			return v
		}
	}
	return model.Verdict{Action: def, Direction: dir, Reason: model.ReasonDefault, Rule: model.RuleDefault}
}

// decide tries the rules of one tier. Without a decision, the verdict's policy is
// the last one that counted.
func (c tierChain) decide(f model.Flow, dir model.Direction, audited bool) (v model.Verdict, passed bool) {
	v.Direction = dir
	for _, p := range c.policies {
		if p.audit && !audited {
			continue
		}
		v.Policy = p.ref
		for _, r := range p.rules[dir] {
			if !r.matches(f) {
				continue
			}
			switch r.action {
			case model.Allow, model.Deny:
				return model.Verdict{
					Action: r.action, Direction: dir, Reason: model.ReasonRule,
					Tier: c.tier.name, Policy: p.ref, Rule: model.RuleIndex(r.index), RuleName: r.name,
				}, false
			case model.Pass:
				return v, true
			}
			// Log records and goes on.
		}
	}
	return v, false
}
