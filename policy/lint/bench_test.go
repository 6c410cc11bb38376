package lint

import (
	"fmt"
	"testing"

	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkRun1000 lints a cluster of 1,000 pods and 210 policies, and one where
// every pod is told apart from every other (1,210 policies).
func BenchmarkRun1000(b *testing.B) {
	for _, distinct := range []bool{false, true} {
		ix := bench.Cluster(distinct)
		b.Run(fmt.Sprintf("distinct=%t", distinct), func(b *testing.B) {
			for b.Loop() {
				Run(ix, nil, nil, nil)
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s")
		})
	}
}
