package dataplane

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/tierwall/tierwall/policy/index"
)

func (w *benchWorld) index() *index.Index {
	ix := index.New(index.Options{Local: func(n string) bool { return n == here }})
	w.feed(ix)
	return ix
}

// cpuTime is what this process has used: on a busy machine it is what counts.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func liveHeap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// read visits all that a backend would have to program of a change's new tables.
func read(ch *Change) (n int) {
	for i := range ch.Tables {
		tc := &ch.Tables[i]
		if !tc.New {
			for _, a := range tc.Addrs {
				tc.State.At(a)
			}
			continue
		}
		for range tc.State.EachAddr() {
			n++
		}
	}
	return n
}

// BenchmarkColdStart compiles worlds from nothing.
func BenchmarkColdStart(b *testing.B) {
	for _, w := range benchWorlds {
		b.Run(w.name, func(b *testing.B) {
			// What is alive, to be let go of one after the other.
			var live struct {
				ix *index.Index
				d  *index.Delta
				c  *Compiler
				ch *Change
			}
			live.ix = w.index()
			live.d = live.ix.Flush()
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				live.c = NewCompiler(Options{})
				live.ch = live.c.Apply(live.d)
			}
			b.ReportMetric(float64((cpuTime()-cpu).Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(len(live.ch.Added)), "programs")
			b.ReportMetric(float64(len(live.ch.Tables)), "tables")
			cpu = cpuTime()
			b.ReportMetric(float64(read(live.ch)), "addrs")
			b.ReportMetric(float64((cpuTime() - cpu).Milliseconds()), "read-cpu-ms")
			live.d, live.ch = nil, nil
			whole := liveHeap()
			live.c = nil
			index := liveHeap()
			b.ReportMetric(whole-index, "heap-MB")
			live.ix = nil
			b.ReportMetric(index-liveHeap(), "index-MB")
			runtime.KeepAlive(&live)
		})
	}
}

// BenchmarkChanges makes one change at a time, through index and compiler.
func BenchmarkChanges(b *testing.B) {
	for _, w := range benchWorlds {
		b.Run(w.name, func(b *testing.B) {
			ix := w.index()
			c := NewCompiler(Options{})
			c.Apply(ix.Flush())
			i := 0
			measure := func(b *testing.B, change func(i int)) {
				change(0)
				c.Apply(ix.Flush())
				b.ReportAllocs()
				runtime.GC()
				var inIndex time.Duration
				cpu := cpuTime()
				for b.Loop() {
					i++
					start := time.Now()
					change(i)
					d := ix.Flush()
					inIndex += time.Since(start)
					ch := c.Apply(d)
					read(ch)
					if len(ch.Tables)+len(ch.Added)+len(ch.Sets) == 0 {
						b.Fatal("nothing changed")
					}
				}
				b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(float64(inIndex.Microseconds())/float64(b.N), "index-µs/op")
			}
			b.Run("policy", func(b *testing.B) { measure(b, func(i int) { ix.Upsert(w.policy(i)) }) })
			b.Run("pod-elsewhere", func(b *testing.B) { measure(b, func(i int) { ix.Upsert(w.pod(i, elsewhere)) }) })
			b.Run("pod-here", func(b *testing.B) { measure(b, func(i int) { ix.Upsert(w.pod(i, here)) }) })
		})
	}
}
