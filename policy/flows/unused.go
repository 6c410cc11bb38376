package flows

import (
	"slices"
	"time"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// UnusedRule is a rule that has decided nothing.
type UnusedRule struct {
	RuleKey  `json:",inline"`
	RuleName string       `json:"ruleName,omitempty"`
	Action   model.Action `json:"action"`
	// LastHit is when it last decided something; nil: never, as far as is known.
	LastHit *time.Time `json:"lastHit,omitempty"`
	// Selects is the number of endpoints that its policy selects.
	Selects int `json:"selects"`
}

// Unused returns the rules of an index's policies that have decided nothing since a time,
// sorted by tier, policy, direction and rule. Rules that only log decide nothing, and are
// left out.
func Unused(ix *index.Index, hits []RuleHits, since time.Time) []UnusedRule {
	last := map[RuleKey]*time.Time{}
	for _, h := range hits {
		last[h.RuleKey] = later(last[h.RuleKey], h.LastHit)
	}
	out := []UnusedRule{}
	for _, p := range ix.Policies() {
		selects := len(ix.Selected(p.Ref))
		for _, side := range []struct {
			governs   bool
			direction model.Direction
			rules     []model.Rule
		}{{p.Ingress, model.Ingress, p.IngressRules}, {p.Egress, model.Egress, p.EgressRules}} {
			done := map[int]bool{} // one rule of an object may have become several
			for _, r := range side.rules {
				if !side.governs || r.Action == model.Log || done[r.Index] {
					continue
				}
				done[r.Index] = true
				key := RuleKey{Policy: p.Ref, Tier: p.Tier, Direction: side.direction, Rule: model.RuleIndex(r.Index)}
				if hit := last[key]; hit == nil || hit.Before(since) {
					out = append(out, UnusedRule{RuleKey: key, RuleName: r.Name, Action: r.Action, LastHit: hit, Selects: selects})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b UnusedRule) int { return compareRules(a.RuleKey, b.RuleKey) })
	return out
}
