package flows

import (
	"cmp"
	"slices"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

func compareRules(a, b RuleKey) int {
	return cmp.Or(cmp.Compare(a.Tier, b.Tier), a.Policy.Compare(b.Policy), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Rule, b.Rule))
}

// Hits counts by rule what records say: connections that the rule decided, and for rules
// of audited policies those that it would have decided. Sorted by tier, policy,
// direction and rule.
func Hits(list []Record) []RuleHits {
	byKey := map[RuleKey]*RuleHits{}
	for i := range list {
		r := &list[i]
		n := max(r.Attempts(), r.Connections.Live)
		if n == 0 {
			continue
		}
		for _, v := range []*model.Verdict{r.Decided.Egress, r.Decided.Ingress} {
			count(byKey, v, n, r.End)
			if v != nil {
				count(byKey, v.Audit, n, r.End)
			}
		}
	}
	return sortedHits(byKey)
}

func count(byKey map[RuleKey]*RuleHits, v *model.Verdict, n uint64, at time.Time) {
	key, ok := keyOf(v)
	if !ok {
		return
	}
	h := byKey[key]
	if h == nil {
		h = &RuleHits{RuleKey: key}
		byKey[key] = h
	}
	h.Packets += n
	h.LastHit = later(h.LastHit, &at)
}

// MergeHits adds up lists, of several nodes for instance.
func MergeHits(lists ...[]RuleHits) []RuleHits {
	byKey := map[RuleKey]*RuleHits{}
	for _, l := range lists {
		for _, h := range l {
			if old := byKey[h.RuleKey]; old != nil {
				old.Packets += h.Packets
				old.LastHit = later(old.LastHit, h.LastHit)
				continue
			}
			byKey[h.RuleKey] = &h
		}
	}
	return sortedHits(byKey)
}

// later returns the later of two times, either of which may be nil.
func later(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}

func sortedHits(byKey map[RuleKey]*RuleHits) []RuleHits {
	out := make([]RuleHits, 0, len(byKey))
	for _, h := range byKey {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b RuleHits) int { return compareRules(a.RuleKey, b.RuleKey) })
	return out
}
