package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
)

// BenchmarkProgramming programs 2,000 sets of 200,000 members and 2,000 policies
// of 10 rules from nothing, takes them over, and changes a member, a policy and a
// pod; and the same with a quarter of it.
func BenchmarkProgramming(b *testing.B) {
	need(b)
	for b.Loop() {
		for _, n := range some([]int{500, 2000}, []int{200}) {
			for _, p := range planes {
				inKernel(b, func() { sized(b, p, n) })
			}
		}
	}
}

// sized programs a node of n policies.
func sized(b *testing.B, p *plane, n int) {
	what := func(name string) string { return fmt.Sprintf("%s policies: %s", number(float64(n)), name) }
	r := program(b, p, func(ix *index.Index) { sizedNode(ix, n) })
	budget := map[bool]float64{true: 1.5}[n == 2000]
	r.put(Programming, what("from nothing"), r.cold, budget)
	r.put(Programming, what("restart and take-over, nothing to change"), r.restart, budget)
	r.putWrites(Programming, what("writes of that"))
	a := r.agent
	client := pod("client", elsewhere, map[string]string{"set": "set-7"}, addr(1<<23))
	for _, c := range []struct {
		what  string
		limit float64
		do    func(i int)
	}{
		{"one member", 1, func(i int) {
			if i%2 == 0 {
				a.ix.Upsert(client)
			} else {
				a.ix.Delete(client.Ref)
			}
		}},
		{"one policy", 10, func(i int) { a.ix.Upsert(sizedPolicy(77, 100+i, n)) }},
		{"one pod", 0, func(i int) { a.ix.Upsert(sizedPod(78, 1<<16+i)) }},
	} {
		var m measured
		if r.err == nil {
			m = a.measure(b, r.backend, some(100, 10), c.do)
		}
		m.put(Programming, p, what(c.what), 0.5, c.limit)
		m.put(Programming, p, what(c.what), 0.99, 0)
		m.putCPU(Programming, p, what(c.what))
	}
	r.putMemory(Programming, what("memory"))
}

// BenchmarkRealNode programs the profile of a real node, and a tenth of it.
func BenchmarkRealNode(b *testing.B) {
	need(b)
	for b.Loop() {
		for _, part := range some([]int{10, 1}, []int{10}) {
			for _, p := range planes {
				inKernel(b, func() { profiled(b, p, part) })
			}
		}
	}
}

// profiled programs a node by a part of the profile.
func profiled(b *testing.B, p *plane, part int) {
	what := func(name string) string { return map[int]string{10: "a tenth: ", 1: "all: "}[part] + name }
	r := program(b, p, func(ix *index.Index) { realNode(ix, part) })
	report.Put(Row{Part: RealNode, What: what("cold start: index"), Column: p.column, Value: r.index.wall.Seconds(), Unit: "s"})
	report.Put(Row{Part: RealNode, What: what("cold start: compiler"), Column: p.column, Value: r.compiler.wall.Seconds(), Unit: "s"})
	r.put(RealNode, what("cold start: kernel"), r.cold, 0)
	r.put(RealNode, what("restart, nothing to change"), r.restart, 0)
	r.putWrites(RealNode, what("writes of that"))
	r.putMemory(RealNode, what("memory"))
	report.Put(Row{Part: RealNode, What: what("elements in compiled tables"), Column: p.column, Value: float64(r.elements)})
}

// programmed is a node that was programmed from nothing and taken over.
type programmed struct {
	plane                          *plane
	agent                          *agent
	backend                        *written
	err                            error // errTooLong, or nil
	index, compiler, cold, restart lap
	writes                         uint64  // of the restart
	heap, kernel                   float64 // MB
	elements                       int     // of the compiled tables
}

// lap is how long something took, and how much time of CPUs, the kernel's
// included: on a busy machine it is the one that counts.
type lap struct{ wall, cpu time.Duration }

// since starts a lap and returns what ends it.
func since() func() lap {
	start, cpu := time.Now(), cpuTime()
	return func() lap { return lap{time.Since(start), cpuTime() - cpu} }
}

// cpuTime is what this process has taken, and the commands that it has run.
func cpuTime() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) != nil {
			return 0
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// row is a row of what was measured of the node, or why there is nothing.
func (p *programmed) row(part Part, what string, value float64, unit string) Row {
	row := Row{Part: part, What: what, Column: p.plane.column, Value: value, Unit: unit}
	if p.err != nil {
		row.Missing = tooLong()
	}
	return row
}

func (p *programmed) put(part Part, what string, l lap, limit float64) {
	row := p.row(part, what, l.wall.Seconds(), "s")
	if limit > 0 {
		row.Budget = Budget{Limit: limit}
	}
	report.Put(row)
	report.Put(p.row(part, what+": time of CPUs", l.cpu.Seconds(), "s"))
}

func (p *programmed) putWrites(part Part, what string) {
	report.Put(p.row(part, what, float64(p.writes), ""))
}

func (p *programmed) putMemory(part Part, what string) {
	report.Put(p.row(part, what+": live heap of the agent", p.heap, "MB"))
	report.Put(p.row(part, what+" of the kernel", p.kernel, "MB"))
}

// program programs the kernel of this namespace.
func program(b *testing.B, pl *plane, feed func(*index.Index)) *programmed {
	b.Helper()
	p := &programmed{plane: pl, agent: newAgent(here)}
	heap, kernel := liveHeap(), settledMemory(b)
	end := since()
	feed(p.agent.ix)
	d := p.agent.ix.Flush()
	p.index = end()
	end = since()
	ch := p.agent.compiler.Apply(d)
	p.compiler = end()
	p.elements = tableElements(ch)
	end = since()
	p.backend, p.err = pl.sync(b.Context(), p.agent)
	p.cold = end()
	if errors.Is(p.err, errTooLong) {
		return p
	} else if p.err != nil {
		b.Fatal(p.err)
	}
	p.heap, p.kernel = float64(liveHeap()-heap)/1e6, (kernelMemory(b)-kernel)/1e6
	end = since()
	again, err := pl.sync(b.Context(), p.agent)
	p.restart = end()
	if err != nil && !errors.Is(err, errTooLong) {
		b.Fatal(err)
	}
	p.writes = again.writes()
	return p
}

func tableElements(ch *dataplane.Change) (n int) {
	for _, t := range ch.Tables {
		n += t.State.Len() + len(t.State.Blocks)
	}
	return n
}

// measured is how long changes took, in milliseconds, and how much time of CPUs
// one took on average.
type measured struct {
	list []float64
	cpu  float64
}

// row is a row of what was measured, or says that there was nothing.
func (m measured) row(part Part, p *plane, what string, value float64) Row {
	row := Row{Part: part, What: what, Column: p.column, Value: value, Unit: "ms"}
	if len(m.list) == 0 {
		row.Missing = tooLong()
	}
	return row
}

func (m measured) put(part Part, p *plane, what string, quantile, limit float64) {
	row := m.row(part, p, fmt.Sprintf("%s, p%.0f", what, quantile*100), Quantile(m.list, quantile))
	row.Budget = Budget{Limit: limit}
	report.Put(row)
}

func (m measured) putCPU(part Part, p *plane, what string) {
	report.Put(m.row(part, p, what+": time of CPUs, mean", m.cpu))
}

// patience is how long the same change is measured at most.
const patience = 15 * time.Second

// measure makes up to n changes, one at a time, and says how long each takes from
// the index to the kernel.
func (a *agent) measure(b *testing.B, backend *written, n int, change func(i int)) measured {
	b.Helper()
	var out measured
	end, until := since(), time.Now().Add(patience)
	for i := range n {
		start := time.Now()
		change(i)
		ch := a.flush()
		err := backend.Apply(b.Context(), ch, a.state())
		out.list = append(out.list, Milliseconds(time.Since(start)))
		if err != nil {
			b.Fatal(err)
		}
		if len(ch.Sets)+len(ch.Tables)+len(ch.Added)+len(ch.Endpoints) == 0 {
			b.Fatal("nothing changed")
		}
		if time.Now().After(until) {
			break
		}
	}
	out.cpu = Milliseconds(end().cpu) / float64(len(out.list))
	return out
}

// settledMemory is kernelMemory once what was there before is gone: the kernel
// frees namespaces a moment later.
func settledMemory(b *testing.B) float64 {
	b.Helper()
	have := kernelMemory(b)
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		next := kernelMemory(b)
		if next > have-1<<20 {
			return next
		}
		have = next
	}
	return have
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// kernelMemory is what the kernel has allocated for itself, in bytes: by slabs,
// by pages for large tables, and for each CPU.
func kernelMemory(b *testing.B) float64 {
	b.Helper()
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sum := 0.0
	for s := bufio.NewScanner(f); s.Scan(); {
		name, rest, _ := strings.Cut(s.Text(), ":")
		switch name {
		case "Slab", "VmallocUsed", "Percpu":
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += kb * 1024
		}
	}
	return sum
}
