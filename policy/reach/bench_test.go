package reach

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkMap divides clusters of 5,000 pods and 500 policies into units, each pod a
// workload of its own. BenchmarkBetween asks in one where pods of a namespace are one
// workload about every pair, as a matrix does.
func BenchmarkMap(b *testing.B) {
	for _, shape := range bench.Shapes() {
		ix := bench.Cluster(shape)
		b.Run(string(shape), func(b *testing.B) {
			for b.Loop() {
				if len(New(ix, Options{}).Pods) != 5000 {
					b.Fatal("units are missing")
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
		})
	}
}

func BenchmarkBetween(b *testing.B) {
	for _, shape := range []bench.Shape{bench.Teams, bench.Monoliths} {
		ix := bench.Cluster(shape)
		b.Run(string(shape), func(b *testing.B) {
			for b.Loop() {
				m := New(ix, Options{Workload: func(r model.Ref) string { return r.Namespace }})
				for _, from := range m.Pods {
					for _, to := range m.Pods {
						m.Between(from, to)
					}
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
		})
	}
}
