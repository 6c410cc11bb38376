package status

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
)

func TestColumns(t *testing.T) {
	global := func(s v1alpha1.GlobalNetworkPolicySpec) runtime.Object { return &v1alpha1.GlobalNetworkPolicy{Spec: s} }
	rules := []v1alpha1.Rule{{Action: v1alpha1.Allow}}
	for _, tt := range []struct {
		name         string
		policy       runtime.Object
		types, order string
	}{
		{"nothing", global(v1alpha1.GlobalNetworkPolicySpec{}), "Ingress", "last"},
		{"by its rules", global(v1alpha1.GlobalNetworkPolicySpec{Egress: rules, Order: ptr.To(10.0)}), "Egress", "10"},
		{"both", global(v1alpha1.GlobalNetworkPolicySpec{Egress: rules, Ingress: rules, Order: ptr.To(0.5)}), "Ingress,Egress", "0.5"},
		{"as it says", global(v1alpha1.GlobalNetworkPolicySpec{Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress}, Order: ptr.To(1e6)}), "Egress", "1000000"},
		{"in a namespace", &v1alpha1.NetworkPolicy{Spec: v1alpha1.NetworkPolicySpec{Ingress: rules, Order: ptr.To(-3.0)}}, "Ingress", "-3"},
		{"no policy", &v1alpha1.Tier{}, "", ""},
	} {
		o, _, _ := convert.Object(tt.policy)
		if types, order := columns(o); types != tt.types || order != tt.order {
			t.Errorf("%s: %q and %q, want %q and %q", tt.name, types, order, tt.types, tt.order)
		}
	}
}
