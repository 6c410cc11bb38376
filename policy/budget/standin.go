package budget

import (
	"strings"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// companionSuffix is appended to the name of the policy that denies what the version in
// force does not govern. No object of the API has such a name.
const companionSuffix = ":past-budget"

// CompanionOf names the policy that is enforced in addition to a kept version (see
// StandIn).
func CompanionOf(r model.Ref) model.Ref {
	r.Name += companionSuffix
	return r
}

// IsCompanion reports whether a name is one of CompanionOf.
func IsCompanion(r model.Ref) bool { return strings.HasSuffix(r.Name, companionSuffix) }

// StandIn returns what is enforced in place of a policy past its budget. If a version
// of it is in force (kept), that version stays; if the two do not govern the same,
// beside is a policy that denies what only the new one governs, and otherwise nil. If
// none is in force (kept is nil), put denies everything that the policy governs.
func StandIn(wanted, kept *model.Policy) (put, beside *model.Policy) {
	if kept == nil {
		put = DenyAll(wanted)
		put.Entries = 1
		return put, nil
	}
	if SameScope(kept, wanted) {
		return kept, nil
	}
	beside = DenyAll(wanted)
	beside.Ref, beside.Entries = CompanionOf(wanted.Ref), 1
	beside.Selector = selector.And(wanted.Selector, selector.Not(kept.Selector))
	return kept, beside
}

// forms are what may be in force of a policy past its budget: what agents report of it for
// people, and by what part of that it is known in reports of earlier versions, which worded
// the rest differently. The first that is found counts.
var forms = []struct {
	form        v1alpha1.PastBudgetForm
	text, known string
}{
	{v1alpha1.PastBudgetCurrent, "the same, until the agent restarts: then deny everything that it governs", "the same, until the agent"},
	{v1alpha1.PastBudgetNarrowed, "its previous version, and deny what that does not govern", "its previous version, and deny"},
	{v1alpha1.PastBudgetPrevious, "its previous version", "its previous version"},
	{v1alpha1.PastBudgetDenyAll, "deny everything that it governs", "holds: deny "},
}

// Describe describes what is in force of a policy past its budget; empty for a form that
// is not known.
func Describe(f v1alpha1.PastBudgetForm) string {
	for i := range forms {
		if forms[i].form == f {
			return forms[i].text
		}
	}
	return ""
}

// FormOf returns what a node's report says is in force of a policy past its budget; empty:
// the policy has failed for another reason. Agents of earlier versions report it in the
// message alone.
func FormOf(f *v1alpha1.FailedPolicy) v1alpha1.PastBudgetForm {
	if f.PastBudget != "" || !strings.Contains(f.Message, Past) {
		return f.PastBudget
	}
	for i := range forms {
		if strings.Contains(f.Message, forms[i].known) {
			return forms[i].form
		}
	}
	return ""
}

// IsStandIn reports whether a policy was made by StandIn. A policy as written that has
// rules has more entries.
func IsStandIn(p *model.Policy) bool {
	return p.Entries == 1 && len(p.IngressRules)+len(p.EgressRules) > 0
}

// DenyAll returns a policy with the same name, scope, tier and directions that denies
// everything.
func DenyAll(p *model.Policy) *model.Policy {
	c := *p
	deny := []model.Rule{{Action: model.Deny}}
	if c.Audit {
		deny = nil // it denies nothing either way
	}
	c.IngressRules, c.EgressRules = nil, nil
	if c.Ingress {
		c.IngressRules = deny
	}
	if c.Egress {
		c.EgressRules = deny
	}
	return &c
}

// SameScope reports whether two versions of a policy govern the same.
func SameScope(x, y *model.Policy) bool {
	return x.Selector.String() == y.Selector.String() && x.Tier == y.Tier && x.Order == y.Order && x.Ingress == y.Ingress && x.Egress == y.Egress && x.Audit == y.Audit
}
