//go:build linux

package startup

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Roles of targets.
const (
	// allowed lets starters in, by their label, and nobody else.
	allowed = "allowed"
	// deniedEgress is what starters must not send to.
	deniedEgress = "denied-egress"
	// deniedIngress lets all in but starters, by their label: who does not know a
	// starter lets it in.
	deniedIngress = "denied-ingress"
)

var roles = []string{allowed, deniedEgress, deniedIngress}

// Places of targets.
const (
	sameNode  = "same node"
	otherNode = "other node"
)

// policies are those of a measurement.
func policies() []client.Object {
	starters := metav1.LabelSelector{MatchLabels: map[string]string{"app": "starter"}}
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	rule := func(action v1alpha1.Action) v1alpha1.Rule { return v1alpha1.Rule{Action: action} }
	toDenied, fromStarters := rule(v1alpha1.Deny), rule(v1alpha1.Deny)
	toDenied.Destination.Selector = "role == '" + deniedEgress + "'"
	fromStarters.Source.Selector = "app == 'starter'"
	return []client.Object{
		&networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: allowed},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"role": allowed}},
				Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &starters}}}},
			},
		},
		&v1alpha1.GlobalNetworkPolicy{ObjectMeta: in("startup-egress"), Spec: v1alpha1.GlobalNetworkPolicySpec{
			Tier: "default", Order: ptr.To(10.0), Selector: "app == 'starter'", Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress},
			Egress: []v1alpha1.Rule{toDenied, rule(v1alpha1.Allow)},
		}},
		&v1alpha1.GlobalNetworkPolicy{ObjectMeta: in("startup-ingress"), Spec: v1alpha1.GlobalNetworkPolicySpec{
			Tier: "default", Order: ptr.To(10.0), Selector: "role == '" + deniedIngress + "'", Types: []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress},
			Ingress: []v1alpha1.Rule{fromStarters, rule(v1alpha1.Allow)},
		}},
	}
}
