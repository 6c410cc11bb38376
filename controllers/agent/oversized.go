package agent

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// Of a policy of which nothing is in force no more than the scope is kept, for thousands
// of them may be past a budget. One that has more entries alone than its namespace may
// have never is in force, whatever else there is: no more than its scope is even read,
// which takes no time however large it is.

// source is a policy as it was delivered. scope: what is kept of it denies all that it
// governs, and has nothing else of it.
type source struct {
	object runtime.Object
	scope  bool
}

// denyScope is what stands for an object of so many entries of which only the scope has
// been converted.
func denyScope(scope model.Object, entries int) model.Object {
	p, ok := scope.(*model.Policy)
	if !ok {
		return scope
	}
	p = budget.DenyAll(p)
	p.Entries = entries
	return p
}

// came notes a policy as it was delivered; nil: it is gone.
func (b *budgets) came(r model.Ref, object runtime.Object, set model.Budgets) {
	if object == nil || !r.Kind.IsPolicy() {
		delete(b.sources, r)
		return
	}
	b.sources[r] = &source{object, isOversized(convert.Entries(object), set)}
}

// slim keeps the scope of a policy that stands in for it.
func (in *intake) slim(r model.Ref) {
	s := in.budgets.sources[r]
	if p, ok := in.objects[r].(*model.Policy); ok && s != nil && !s.scope && len(p.IngressRules)+len(p.EgressRules) > 2 {
		in.objects[r], s.scope = budget.DenyAll(p), true
	}
}

// restore reads a policy whole of which no more than the scope is kept.
func (in *intake) restore(r model.Ref) {
	if s := in.budgets.sources[r]; s != nil && s.scope {
		in.objects[r], s.scope = in.read(r, s.object), false
	}
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
