package lint

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/convert"
)

// cluster is 50 namespaces of 20 pods with 4 native policies each, and
// a few global ones over network sets, on 20 nodes.
func cluster(distinct bool, more ...runtime.Object) *policy.Index {
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
		objects = append(objects, native(ns, "deny", metav1.LabelSelector{}, networkingv1.NetworkPolicySpec{}))
		for k, pair := range [][2]string{{"api", "web"}, {"db", "api"}, {"cache", "api"}} {
			from := app(pair[1])
			objects = append(objects, native(ns, fmt.Sprintf("allow-%d", k), app(pair[0]), networkingv1.NetworkPolicySpec{
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
			gnp(fmt.Sprintf("block-%d", i), "env == 'prod'", fmt.Sprintf("set == '%d'", i)))
	}
	if distinct {
		for i := range 1000 {
			// Every pod is told apart from every other.
			objects = append(objects, gnp(fmt.Sprintf("pod-%d", i), "env == 'prod'", fmt.Sprintf("pod == 'p%d-%d'", i/20, i%20)))
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

func native(ns, name string, pods metav1.LabelSelector, spec networkingv1.NetworkPolicySpec) runtime.Object {
	spec.PodSelector = pods
	spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}, Spec: spec}
}

func gnp(name, spaces, peers string) runtime.Object {
	order := 100.0
	return &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GlobalNetworkPolicySpec{
		Tier: "default", Order: &order, NamespaceSelector: spaces,
		Ingress: []v1alpha1.Rule{{Action: v1alpha1.Deny, Source: v1alpha1.EntityRule{Selector: peers, NamespaceSelector: ""}}},
	}}
}

// BenchmarkRun1000 lints a cluster of 1,000 pods and 210 policies, and one where
// every pod is told apart from every other (1,210 policies).
func BenchmarkRun1000(b *testing.B) {
	for _, distinct := range []bool{false, true} {
		ix := cluster(distinct)
		b.Run(fmt.Sprintf("distinct=%t", distinct), func(b *testing.B) {
			for b.Loop() {
				Run(ix, nil, nil)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
		})
	}
}
