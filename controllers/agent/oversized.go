package agent

import (
	"maps"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// oversized are policies that have more entries alone than their namespace may have. None
// of their rules is ever in force, whatever else there is. So only their scope is read,
// which takes no time however large they are; the objects wait here in case that the
// budget grows.
type oversized map[model.Ref]runtime.Object

// note keeps an object of which only the scope has been converted, and returns what is
// known of it in a form that denies all.
func (b oversized) note(r model.Ref, object runtime.Object, scope model.Object, entries int) model.Object {
	p, ok := scope.(*model.Policy)
	if !ok {
		return scope
	}
	b[r] = object
	p = budget.DenyAll(p)
	p.Entries = entries
	return p
}

// isOversized reports whether an object of so many entries is past a budget alone.
func isOversized(entries int, set model.Budgets) bool {
	return set.Mode == model.GuardEnforce && entries > set.Namespace
}

// scopeOf returns an object without most of its rules, and how many entries it has, if it
// is a policy of a namespace that is past the budget alone; else itself and 0. Which
// directions a policy governs follows from there being rules.
func scopeOf(object runtime.Object, set model.Budgets) (runtime.Object, int) {
	entries := convert.Entries(object)
	if !isOversized(entries, set) {
		return object, 0
	}
	switch o := object.(type) {
	case *networkingv1.NetworkPolicy:
		c := *o
		c.Spec.Ingress = make([]networkingv1.NetworkPolicyIngressRule, min(len(o.Spec.Ingress), 1))
		c.Spec.Egress = make([]networkingv1.NetworkPolicyEgressRule, min(len(o.Spec.Egress), 1))
		return &c, entries
	case *v1alpha1.NetworkPolicy:
		deny := []v1alpha1.Rule{{Action: v1alpha1.Deny}}
		c := *o
		c.Spec.Ingress, c.Spec.Egress = deny[:min(len(o.Spec.Ingress), 1)], deny[:min(len(o.Spec.Egress), 1)]
		return &c, entries
	}
	return object, 0
}

// readOversized reads the policies that the budget, as it is now, has room for.
func (a *Agent) readOversized() {
	b := &a.budgets
	set := a.ix.Settings().Budgets
	for _, r := range slices.SortedFunc(maps.Keys(b.oversized), model.Ref.Compare) {
		object := b.oversized[r]
		if isOversized(convert.Entries(object), set) {
			continue
		}
		a.objects[r] = a.read(r, object)
		if b.open[r.Namespace] == nil {
			b.open[r.Namespace] = map[model.Ref]struct{}{}
		}
		b.open[r.Namespace][r] = struct{}{}
	}
}
