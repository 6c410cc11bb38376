package diff

import (
	"fmt"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkCompare1000 compares a cluster of 1,000 pods and 210 policies with
// itself after one namespaced policy, and after one policy for every pod; and
// the same where every pod is a class of its own (1,210 policies).
func BenchmarkCompare1000(b *testing.B) {
	for _, distinct := range []bool{false, true} {
		before := bench.Cluster(distinct)
		for name, more := range map[string]runtime.Object{
			"one-namespace": bench.Native("team-07", "more", metav1.LabelSelector{}, networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
			}),
			"every-pod": bench.Deny("more", "all()", "app == 'web'"),
		} {
			after := bench.Cluster(distinct, more)
			b.Run(fmt.Sprintf("distinct=%t/%s", distinct, name), func(b *testing.B) {
				for b.Loop() {
					if !Compare(before, after, Options{}).Different() {
						b.Fatal("no difference")
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
			})
		}
	}
}
