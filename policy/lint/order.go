package lint

import (
	"fmt"
	"math"
	"strconv"

	"github.com/tierwall/tierwall/policy/model"
)

// orders reports policies of one tier with equal order that can contradict each
// other for an endpoint: which of them wins is a matter of their names. Native
// policies are left out, for they only allow and have no order to set.
func (l *linter) orders() {
	policies := l.ix.Policies() // in evaluation order: equals are neighbours
	for i, p := range policies {
		if p.Ref.Kind == model.KindNetworkPolicy || math.IsInf(p.Order, 1) {
			continue
		}
		for _, q := range policies[i+1:] {
			if q.Tier != p.Tier || q.Order != p.Order {
				break
			}
			if q.Ref.Kind == model.KindNetworkPolicy || !contradict(p, q) || !l.meet(p.Ref, q.Ref) {
				continue
			}
			field := "spec.order"
			if q.Ref.Kind == model.KindClusterNetworkPolicy {
				field = "spec.priority"
			}
			l.add(Finding{
				Severity: Info, Code: CodeDuplicateOrder, Object: q.Ref, Field: field,
				Message: fmt.Sprintf("%s has order %s in tier %s too, and selects some of the same endpoints: it is evaluated first because of its name",
					p.Ref, strconv.FormatFloat(p.Order, 'g', -1, 64), p.Tier),
				Related: []Related{{Object: p.Ref, Field: field}},
			})
		}
	}
}

// contradict reports whether the order of two policies can matter: in some
// direction that both govern and at the same stage, their rules have different
// actions.
func contradict(p, q *model.Policy) bool {
	if p.Audit || q.Audit || p.DoNotTrack != q.DoNotTrack || p.PreDNAT != q.PreDNAT {
		return false
	}
	differ := func(a, b []model.Rule) bool {
		for i := range a {
			for j := range b {
				if x, y := a[i].Action, b[j].Action; x != y && x != model.Log && y != model.Log {
					return true
				}
			}
		}
		return false
	}
	return p.Ingress && q.Ingress && differ(p.IngressRules, q.IngressRules) ||
		p.Egress && q.Egress && differ(p.EgressRules, q.EgressRules)
}

// meet reports whether two policies select a common endpoint.
func (l *linter) meet(p, q model.Ref) bool {
	a, b := l.selected(p), l.selected(q)
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].Compare(b[0]); {
		case c == 0:
			return true
		case c < 0:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}
