package flows

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkTake is the cost of a connection, its beginning and its end, that is like others.
func BenchmarkTake(b *testing.B) {
	r := newRig(b, smallWorld())
	c := r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{})
	e := ended(c, 100, 100)
	b.ReportAllocs()
	for b.Loop() {
		r.take(&c)
		r.take(&e)
	}
}

// BenchmarkAttribute is the cost of a connection that is like no other.
func BenchmarkAttribute(b *testing.B) {
	r := newRig(b, smallWorld())
	c := r.connection(flowTo("10.0.0.1", "10.0.0.9", 80), netip.AddrPort{})
	b.ReportAllocs()
	for b.Loop() {
		r.cache, r.rate.left = nil, unlimited
		r.take(&c)
	}
}

// BenchmarkDistinct is six minutes of a million distinct keys a minute: the memory that they
// leave, and the cost of an event.
func BenchmarkDistinct(b *testing.B) {
	const perWindow = 250_000
	for b.Loop() {
		b.StopTimer()
		before := heap()
		r := newRig(b, smallWorld())
		b.StartTimer()
		n, most := 0, 0.0
		began := time.Now()
		for w := range 24 {
			for i := range perWindow {
				f := flowTo("10.0.0.1", "10.0.0.9", uint16(1+i%65_000))
				if i >= 130_000 {
					f = flowTo("10.0.0.9", "10.0.0.2", uint16(1+i%65_000))
				}
				if i/65_000%2 == 1 {
					f.Src = netip.AddrFrom4([4]byte{203, 0, 113, byte(w)})
				}
				e := r.connection(f, netip.AddrPort{})
				if i%(perWindow/15) == 0 {
					r.clock.Step(time.Second)
				}
				r.take(&e)
				n++
			}
			r.read()
			if w%6 == 5 {
				most = max(most, heap()-before)
			}
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(n), "ns/event")
		b.ReportMetric(most, "MB")
		b.ReportMetric(float64(r.table.size), "keys")
		b.ReportMetric(float64(r.table.total), "counts")
		runtime.KeepAlive(r)
	}
}

// heap is how much memory is in use, in MB.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}
