package bench

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Native is an ingress policy of namespace ns.
func Native(ns, name string, pods metav1.LabelSelector, spec networkingv1.NetworkPolicySpec) runtime.Object {
	spec.PodSelector = pods
	spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: spec}
}

// Deny is a global policy of tier default, before all native ones, that denies
// ingress from what peers selects to the namespaces that spaces selects.
func Deny(name, spaces, peers string) runtime.Object {
	order := 100.0
	return &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GlobalNetworkPolicySpec{
		Tier: "default", Order: &order, NamespaceSelector: spaces,
		Ingress: []v1alpha1.Rule{{Action: v1alpha1.Deny, Source: v1alpha1.EntityRule{Selector: peers, NamespaceSelector: ""}}},
	}}
}

// rule is an ingress rule about a protocol ("": any), a peer ("": any) and a port (0: any).
func rule(action v1alpha1.Action, protocol, peers string, port int) v1alpha1.Rule {
	r := v1alpha1.Rule{Action: action, Source: v1alpha1.EntityRule{Selector: peers}}
	if protocol != "" {
		p := intstr.FromString(protocol)
		r.Protocol = &p
	}
	if port != 0 {
		r.Destination.Ports = []intstr.IntOrString{intstr.FromInt(port)}
	}
	return r
}

func (c *cluster) globalPolicy(tier, name string, order float64, selector, spaces string, ingress ...v1alpha1.Rule) {
	c.add(&v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GlobalNetworkPolicySpec{
		Tier: tier, Order: &order, Selector: selector, NamespaceSelector: spaces, Ingress: ingress,
	}})
}

// app is the label of the n-th workload of each namespace.
func app(n int) string { return fmt.Sprintf("app-%d", n) }

func ofApp(n int) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app(n)}}
}

// teamPolicies are what teams write: native policies and some of Tierwall's, with a
// network set of each namespace.
func (c *cluster) teamPolicies(namespaces int, sizes [][]int) {
	perSpace := (policies - c.policies) / namespaces
	for i := range namespaces {
		ns, apps := namespace(i), len(sizes[i%len(sizes)])
		end := c.policies + perSpace
		c.native(ns, "default-deny", networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}})
		c.native(ns, "resolve-names", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{portOf("UDP", intstr.FromInt32(53)), portOf("TCP", intstr.FromInt32(53))}}},
		})
		c.native(ns, "among-ourselves", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{
				{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}},
				{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace((i + 1) % namespaces)}}, PodSelector: ofApp(0)}}},
				{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8", "192.168.0.0/16"}}}}, Ports: []networkingv1.NetworkPolicyPort{portOf("TCP", intstr.FromInt32(443))}},
			},
		})
		c.add(&v1alpha1.NetworkSet{
			ObjectMeta: metav1.ObjectMeta{Name: "partners", Namespace: ns, Labels: map[string]string{"role": "partner"}},
			Spec:       v1alpha1.NetworkSetSpec{Nets: []string{fmt.Sprintf("198.18.%d.0/28", i), fmt.Sprintf("198.18.%d.77/32", i)}},
		})
		order := 10.0
		c.add(&v1alpha1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "partners", Namespace: ns}, Spec: v1alpha1.NetworkPolicySpec{
			Tier: "platform", Order: &order, Selector: "app == 'app-0'",
			Ingress: []v1alpha1.Rule{rule(v1alpha1.Allow, "TCP", "role == 'partner'", 8443)},
		}})
		for k := 0; c.policies < end; k++ {
			to, from := k%apps, (k+1)%apps
			peer := networkingv1.NetworkPolicyPeer{PodSelector: ofApp(from)}
			if from == to || k%7 == 6 {
				peer = networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace((i + k) % namespaces)}}, PodSelector: ofApp(0)}
			}
			c.native(ns, fmt.Sprintf("allow-%02d", k), networkingv1.NetworkPolicySpec{
				PodSelector: *ofApp(to),
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From:  []networkingv1.NetworkPolicyPeer{peer},
					Ports: []networkingv1.NetworkPolicyPort{portOf("TCP", intstr.FromString("http")), portOf("TCP", intstr.FromInt(9000+k))},
				}},
			})
		}
	}
}

// strangerPolicies tell each pod from each other: a policy for each bit of a pod's
// number selects the pods that have it, and allows from those that lack it.
func (c *cluster) strangerPolicies(namespaces int) {
	for i := range namespaces {
		for bit := range strangerBits {
			label := fmt.Sprintf("bit-%d", bit)
			c.native(namespace(i), fmt.Sprintf("allow-%d", bit), networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{label: "1"}},
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{label: "0"}}}},
					Ports: []networkingv1.NetworkPolicyPort{portOf("TCP", intstr.FromInt(8080+bit))},
				}},
			})
		}
	}
}

func (c *cluster) native(ns, name string, spec networkingv1.NetworkPolicySpec) {
	c.add(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: spec})
}

func portOf(protocol corev1.Protocol, port intstr.IntOrString) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port}
}
