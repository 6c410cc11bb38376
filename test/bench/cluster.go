// Package bench builds the worlds that benchmarks of several packages share.
package bench

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/convert"
)

// Cluster is the index of 50 namespaces of 20 pods with 4 native policies each,
// and a few global ones over network sets, on 20 nodes: 1,000 pods and 210
// policies. With distinct, 1,000 more policies tell every pod apart from every
// other. More objects are added as they are.
func Cluster(distinct bool, more ...runtime.Object) *policy.Index {
	var objects []runtime.Object
	addr := netip.MustParseAddr("10.1.0.0")
	for n := range 20 {
		objects = append(objects, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%02d", n)},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.168.0.%d", n+1)}}},
		})
	}
	for i := range 50 {
		ns := fmt.Sprintf("team-%02d", i)
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"kubernetes.io/metadata.name": ns, "env": []string{"prod", "test"}[i%2]}}})
		for j := range 20 {
			addr = addr.Next()
			labels := map[string]string{"app": []string{"web", "api", "db", "job", "cache"}[j%5]}
			if distinct {
				labels["pod"] = fmt.Sprintf("p%d-%d", i, j)
			}
			objects = append(objects, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%02d", j), Namespace: ns, Labels: labels},
				Spec:       corev1.PodSpec{NodeName: fmt.Sprintf("node-%02d", (i+j)%20)},
				Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: addr.String()}}},
			})
		}
		app := func(v string) metav1.LabelSelector {
			return metav1.LabelSelector{MatchLabels: map[string]string{"app": v}}
		}
		port := intstr.FromInt32(8080)
		objects = append(objects, Native(ns, "deny", metav1.LabelSelector{}, networkingv1.NetworkPolicySpec{}))
		for k, pair := range [][2]string{{"api", "web"}, {"db", "api"}, {"cache", "api"}} {
			from := app(pair[1])
			objects = append(objects, Native(ns, fmt.Sprintf("allow-%d", k), app(pair[0]), networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &from}},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
				}},
			}))
		}
	}
	for i := range 10 {
		objects = append(objects,
			&v1alpha1.GlobalNetworkSet{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("set-%d", i), Labels: map[string]string{"set": fmt.Sprint(i)}},
				Spec:       v1alpha1.NetworkSetSpec{Nets: []string{fmt.Sprintf("203.0.%d.0/24", i)}},
			},
			Deny(fmt.Sprintf("block-%d", i), "env == 'prod'", fmt.Sprintf("set == '%d'", i)))
	}
	if distinct {
		for i := range 1000 {
			// Every pod is told apart from every other.
			objects = append(objects, Deny(fmt.Sprintf("pod-%d", i), "env == 'prod'", fmt.Sprintf("pod == 'p%d-%d'", i/20, i%20)))
		}
	}
	ix := policy.New(policy.Options{})
	for _, o := range append(objects, more...) {
		m, problems, _ := convert.Object(o)
		if len(problems) > 0 {
			panic(problems[0].Error())
		}
		ix.Upsert(m)
	}
	ix.Flush()
	return ix
}

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
