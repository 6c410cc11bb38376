package convert

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Entries is how large an object is as it is written: one, and one for each rule,
// peer, block, name, port and address that it lists. Budgets count in it (model.Budgets).
func Entries(o runtime.Object) int {
	n := 1
	switch o := o.(type) {
	case *networkingv1.NetworkPolicy:
		for i := range o.Spec.Ingress {
			n += nativeEntries(o.Spec.Ingress[i].From, o.Spec.Ingress[i].Ports)
		}
		for i := range o.Spec.Egress {
			n += nativeEntries(o.Spec.Egress[i].To, o.Spec.Egress[i].Ports)
		}
	case *v1alpha1.NetworkPolicy:
		n += ruleEntries(o.Spec.Ingress) + ruleEntries(o.Spec.Egress)
	case *v1alpha1.GlobalNetworkPolicy:
		n += ruleEntries(o.Spec.Ingress) + ruleEntries(o.Spec.Egress)
	case *clusterv1alpha2.ClusterNetworkPolicy:
		for i := range o.Spec.Ingress {
			n += 1 + len(o.Spec.Ingress[i].From) + len(o.Spec.Ingress[i].Protocols)
		}
		for i := range o.Spec.Egress {
			n += 1 + len(o.Spec.Egress[i].Protocols)
			for j := range o.Spec.Egress[i].To {
				n += 1 + len(o.Spec.Egress[i].To[j].Networks) + len(o.Spec.Egress[i].To[j].DomainNames)
			}
		}
	case *v1alpha1.NetworkSet:
		n += len(o.Spec.Nets) + len(o.Spec.AllowedEgressDomains)
	case *v1alpha1.GlobalNetworkSet:
		n += len(o.Spec.Nets) + len(o.Spec.AllowedEgressDomains)
	case *discoveryv1.EndpointSlice:
		n += len(o.Endpoints)
	}
	return n
}

func nativeEntries(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) int {
	n := 1 + len(ports)
	for i := range peers {
		if n++; peers[i].IPBlock != nil {
			n += len(peers[i].IPBlock.Except)
		}
	}
	return n
}

func ruleEntries(rules []v1alpha1.Rule) int {
	n := 0
	for i := range rules {
		n++
		for _, e := range []*v1alpha1.EntityRule{&rules[i].Source, &rules[i].Destination} {
			n += len(e.Nets) + len(e.NotNets) + len(e.Ports) + len(e.NotPorts) + len(e.Domains)
		}
	}
	return n
}
