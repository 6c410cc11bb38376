package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onsi/gomega"

	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// TestScopeOf: what is read of a policy that is past the budget alone governs what the
// policy does, and denies all of it.
func TestScopeOf(t *testing.T) {
	gomega.RegisterTestingT(t)
	const knp = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: shop}, spec: {podSelector: {matchLabels: {app: web}}, %s}}"
	const tnp = "{apiVersion: tierwall.io/v1alpha1, kind: NetworkPolicy, metadata: {name: p, namespace: shop}, spec: {tier: security, order: 7, selector: app == 'web', %s}}"
	ports := "ports: [" + strings.Repeat("{port: 80},", 20) + "]"
	allow := strings.Repeat("{action: Allow, protocol: TCP, destination: {ports: [80]}},", 10)
	for _, text := range []string{
		fmt.Sprintf(knp, "ingress: [{"+ports+"}]"),
		fmt.Sprintf(knp, "egress: [{"+ports+"}]"),
		fmt.Sprintf(knp, "policyTypes: [Egress], egress: [{"+ports+"}]"),
		fmt.Sprintf(knp, "policyTypes: [Ingress, Egress], ingress: [{"+ports+"}]"),
		fmt.Sprintf(knp, "policyTypes: [Ingress], ingress: [{"+ports+"}], egress: [{}]"),
		fmt.Sprintf(tnp, "ingress: ["+allow+"]"),
		fmt.Sprintf(tnp, "egress: ["+allow+"]"),
		fmt.Sprintf(tnp, "ingress: ["+allow+"], egress: [{action: Deny}]"),
		fmt.Sprintf(tnp, "types: [Ingress], ingress: ["+allow+"], enforcement: Audit"),
	} {
		o := objects(text)[0]
		set := model.Budgets{Namespace: 15, Node: 100}
		scope, entries := scopeOf(o, set)
		full, _, _ := convert.Object(o)
		part, _, _ := convert.Object(scope)
		if want := convert.Entries(o); entries != want || entries <= 15 {
			t.Errorf("%s: %d entries, want %d", text, entries, want)
		}
		b := newBudgets()
		b.came(full.Key(), o, set)
		got, want := denyScope(part, entries).(*model.Policy), full.(*model.Policy)
		if !budget.SameScope(got, want) || got.Entries != want.Entries || got.Ref != want.Ref {
			t.Errorf("%s: governs %+v, want %+v", text, got, want)
		}
		for _, r := range append(got.IngressRules, got.EgressRules...) {
			if r.Action != model.Deny {
				t.Errorf("%s: a rule %+v", text, r)
			}
		}
		if s := b.sources[full.Key()]; s == nil || s.object != o || !s.scope {
			t.Errorf("%s: is not kept", text)
		}
		for _, set := range []model.Budgets{{Namespace: entries}, {Mode: model.GuardCount, Namespace: 1}, {Mode: model.GuardOff, Namespace: 1}} {
			if same, n := scopeOf(o, set); same != o || n != 0 {
				t.Errorf("%s: rules are left out with %+v", text, set)
			}
		}
	}
	set := objects("{apiVersion: tierwall.io/v1alpha1, kind: NetworkSet, metadata: {name: s, namespace: shop}, spec: {nets: [10.0.0.0/8, 192.0.2.0/24]}}")[0]
	if same, n := scopeOf(set, model.Budgets{Namespace: 1}); same != set || n != 0 {
		t.Error("a set is emptied")
	}
}
