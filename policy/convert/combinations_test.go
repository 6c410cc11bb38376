package convert

import (
	"fmt"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// TestNamedPortCombinations has policies that multiply named ports: within a
// small object they come to more sets than a node has memory for.
func TestNamedPortCombinations(t *testing.T) {
	native := func(peers, ports int) *networkingv1.NetworkPolicy {
		var rule networkingv1.NetworkPolicyIngressRule
		for i := range peers {
			rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": fmt.Sprint(i)}}})
		}
		for i := range ports {
			port := intstr.FromString(fmt.Sprint("p-", i))
			rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Port: &port})
		}
		return &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "x"},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{rule, {From: rule.From[:1]}}},
		}
	}
	ours := func(from, to int) *v1alpha1.NetworkPolicy {
		tcp := intstr.FromString("TCP")
		rule := v1alpha1.Rule{Action: v1alpha1.Allow, Protocol: &tcp}
		for i := range from {
			rule.Source.Ports = append(rule.Source.Ports, intstr.FromString(fmt.Sprint("p-", i)))
		}
		for i := range to {
			rule.Destination.Ports = append(rule.Destination.Ports, intstr.FromString(fmt.Sprint("p-", i)))
		}
		return &v1alpha1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "evil", Name: "x"},
			Spec:       v1alpha1.NetworkPolicySpec{Ingress: []v1alpha1.Rule{rule, {Action: v1alpha1.Allow}}},
		}
	}
	for _, tc := range []struct {
		name   string
		policy func() (model.Object, []model.Problem)
		many   bool
	}{
		{"native, few", func() (model.Object, []model.Problem) { o, p, _ := Object(native(256, 256)); return o, p }, false},
		{"native, many", func() (model.Object, []model.Problem) { o, p, _ := Object(native(20_000, 40_000)); return o, p }, true},
		{"two sides, few", func() (model.Object, []model.Problem) { o, p, _ := Object(ours(50, 50)); return o, p }, false},
		{"two sides, many", func() (model.Object, []model.Problem) { o, p, _ := Object(ours(60_000, 60_000)); return o, p }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, problems := tc.policy()
			rules := o.(*model.Policy).IngressRules
			many := false
			for _, p := range problems {
				many = many || strings.Contains(p.Message, "too many") && !p.Warning
			}
			if many != tc.many || rules[0].Match.Never != tc.many {
				t.Errorf("problems %v, the rule matches nothing: %v, want %v", problems, rules[0].Match.Never, tc.many)
			}
			if last := rules[len(rules)-1]; last.Index != 1 || last.Match.Never {
				t.Errorf("the other rule is %+v", last)
			}
		})
	}
}
