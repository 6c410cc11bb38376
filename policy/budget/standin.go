package budget

import (
	"strings"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

// companionSuffix is behind the name of what denies where the version of a policy that
// stays in force does not govern. No object of the API has such a name.
const companionSuffix = ":past-budget"

// CompanionOf names what is enforced beside a policy past its budget (see StandIn).
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

// What holds instead of a policy past its budget on a node, as its agent reports it.
const (
	HoldsSame     = "the same, until the agent restarts: then deny everything that it governs"
	HoldsNarrowed = "its previous version, and deny what that does not govern"
	HoldsPrevious = "its previous version"
	HoldsDenial   = "deny everything that it governs"
)

// IsStandIn reports whether a policy is what StandIn makes. As it is written one that has
// rules has more entries.
func IsStandIn(p *model.Policy) bool {
	return p.Entries == 1 && len(p.IngressRules)+len(p.EgressRules) > 0
}

// DenyAll returns a policy of the same name, scope, tier and directions that denies all.
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
