package reach

import (
	"testing"

	"github.com/tierwall/tierwall/test/bench"
)

// BenchmarkNew1000 divides a cluster of 1,000 pods and 210 policies into units.
func BenchmarkNew1000(b *testing.B) {
	ix := bench.Cluster(false)
	for b.Loop() {
		if len(New(ix, Options{}).Pods) != 1000 {
			b.Fatal("units are missing")
		}
	}
}
