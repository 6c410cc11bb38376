package diff

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkCompare compares clusters of 5,000 pods and 500 policies with themselves
// after one namespaced policy more, and after one for most pods.
func BenchmarkCompare(b *testing.B) {
	for _, shape := range bench.Shapes() {
		before := bench.Cluster(shape)
		for _, change := range []struct {
			name string
			more runtime.Object
		}{
			{"one-namespace", bench.Native("team-07", "more", metav1.LabelSelector{}, networkingv1.NetworkPolicySpec{
				Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
			})},
			{"most-pods", bench.Deny("more", "env == 'prod'", "app == 'app-1'")},
		} {
			after := bench.Cluster(shape, change.more)
			b.Run(string(shape)+"/"+change.name, func(b *testing.B) {
				for b.Loop() {
					Compare(before, after, Options{})
				}
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
			})
		}
	}
}
