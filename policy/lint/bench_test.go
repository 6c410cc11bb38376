package lint

import (
	"testing"

	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkRun lints clusters of 5,000 pods and 500 policies.
func BenchmarkRun(b *testing.B) {
	for _, shape := range bench.Shapes() {
		ix := bench.Cluster(shape)
		b.Run(string(shape), func(b *testing.B) {
			for b.Loop() {
				Run(ix, nil, nil, nil)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
		})
	}
}
