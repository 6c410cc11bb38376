package dataplane

import (
	goruntime "runtime"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

// BenchmarkAdversaries compiles adversarial worlds from nothing, reads all that a
// backend would program, and then changes the other tenant's policy. It reports
// how large what is compiled is, what was allocated, how long the other tenant's
// change takes, and how many times as long the whole takes as without the adversary.
func BenchmarkAdversaries(b *testing.B) {
	alone := compileWorld(b, nil)
	for _, a := range adversaries {
		b.Run(a.name, func(b *testing.B) {
			objects := a.objects()
			var r worldCost
			for b.Loop() {
				r = compileWorld(b, objects)
			}
			b.ReportMetric(float64(r.size.sum()), "size")
			b.ReportMetric(float64(r.size.linear), "linear-tables")
			b.ReportMetric(float64(r.bytes)/1e6, "alloc-MB")
			b.ReportMetric(float64(r.whole.Microseconds())/1e3, "compile-ms")
			b.ReportMetric(float64(r.whole)/float64(alone.whole), "ratio")
			b.ReportMetric(float64(r.other.Microseconds())/1e3, "other-ms")
			b.ReportMetric(float64(r.other)/float64(alone.other), "other-ratio")
		})
	}
}

// worldCost is what a world costs: to compile it all, and the other tenant's change.
type worldCost struct {
	whole, other time.Duration
	bytes        uint64
	size         heldSize
}

func compileWorld(b *testing.B, objects []runtime.Object) (r worldCost) {
	ix := localIndex()
	feed(b, ix, slices.Concat(goodObjects(80), objects))
	d := ix.Flush()
	var before, after goruntime.MemStats
	goruntime.GC()
	goruntime.ReadMemStats(&before)
	start := time.Now()
	c := NewCompiler(Options{})
	ch := c.Apply(d)
	read(ch)
	r.whole = time.Since(start)
	goruntime.ReadMemStats(&after)
	r.bytes = after.TotalAlloc - before.TotalAlloc
	const changes = 20
	start = time.Now()
	for i := range changes {
		feed(b, ix, goodObjects(8000+i))
		read(c.Apply(ix.Flush()))
	}
	r.other = time.Since(start) / changes
	r.size = c.heldSize()
	return r
}
