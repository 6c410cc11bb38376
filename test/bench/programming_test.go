package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/policy"
)

// BenchmarkProgramming programs 2,000 sets of 200,000 members and 2,000 policies
// of 10 rules from nothing, takes them over, and changes a member and a policy.
func BenchmarkProgramming(b *testing.B) {
	for b.Loop() {
		inKernel(b, func() {
			p := program(b, sizedNode)
			a := p.agent
			p.put(Programming, "from nothing", p.cold, 1.5)
			p.put(Programming, "restart and take-over, nothing to change", p.restart, 1.5)
			report.Put(Row{Part: Programming, What: "transactions of that", Value: float64(p.transactions), Budget: Budget{Limit: 0}})
			client := pod("client", elsewhere, map[string]string{"set": "set-7"}, addr(1<<23))
			member := a.measure(b, p.backend, 100, func(i int) {
				if i%2 == 0 {
					a.ix.Upsert(client)
				} else {
					a.ix.Delete(client.Ref)
				}
			})
			member.put(Programming, "one member's change", 0.5, 1)
			rules := a.measure(b, p.backend, 100, func(i int) { a.ix.Upsert(sizedPolicy(77, 100+i)) })
			rules.put(Programming, "one policy's change", 0.5, 10)
		})
	}
}

// BenchmarkRealNode programs the profile of a real node.
func BenchmarkRealNode(b *testing.B) {
	for b.Loop() {
		inKernel(b, func() {
			p := program(b, realNode)
			p.put(RealNode, "cold start: index", p.index, 0)
			p.put(RealNode, "cold start: compiler", p.compiler, 0)
			p.put(RealNode, "cold start: kernel", p.cold, 0)
			p.put(RealNode, "restart, nothing to change", p.restart, 0)
			report.Put(Row{Part: RealNode, What: "transactions of that", Value: float64(p.transactions), Budget: Budget{Limit: 0}})
			report.Put(Row{Part: RealNode, What: "live heap of the agent", Value: p.heap, Unit: "MB"})
			report.Put(Row{Part: RealNode, What: "memory of the kernel", Value: p.kernel, Unit: "MB"})
			report.Put(Row{Part: RealNode, What: "elements in tables", Value: float64(p.elements)})
		})
	}
}

// programmed is a node that was programmed from nothing and taken over.
type programmed struct {
	agent                          *agent
	backend                        *nftables.Backend
	index, compiler, cold, restart lap
	transactions                   uint64  // of the restart
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

func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (p *programmed) put(part Part, what string, l lap, limit float64) {
	row := Row{Part: part, What: what, Value: l.wall.Seconds(), Unit: "s"}
	if limit > 0 {
		row.Budget = Budget{Limit: limit}
	}
	report.Put(row)
	report.Put(Row{Part: part, What: what + ": time of CPUs", Value: l.cpu.Seconds(), Unit: "s"})
}

// program programs the kernel of this namespace.
func program(b *testing.B, feed func(*policy.Index)) *programmed {
	b.Helper()
	p := &programmed{agent: newAgent(here)}
	heap, kernel := liveHeap(), kernelMemory(b)
	end := since()
	feed(p.agent.ix)
	d := p.agent.ix.Flush()
	p.index = end()
	end = since()
	ch := p.agent.compiler.Apply(d)
	p.compiler = end()
	end = since()
	var err error
	p.backend, err = p.agent.sync(b.Context())
	p.cold = end()
	if err != nil {
		b.Fatal(err)
	}
	p.elements = tableElements(ch)
	p.heap, p.kernel = float64(liveHeap()-heap)/1e6, (kernelMemory(b)-kernel)/1e6
	end = since()
	again, err := p.agent.sync(b.Context())
	p.restart = end()
	if err != nil {
		b.Fatal(err)
	}
	p.transactions = again.Stats().Transactions + again.Stats().MemberTransactions
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

func (m measured) put(part Part, what string, quantile, limit float64) {
	report.Put(Row{Part: part, What: fmt.Sprintf("%s, p%.0f", what, quantile*100), Value: Quantile(m.list, quantile), Unit: "ms", Budget: Budget{Limit: limit}})
	report.Put(Row{Part: part, What: what + ": time of CPUs, mean", Value: m.cpu, Unit: "ms"})
}

// measure makes changes, one at a time, and says how long each takes from the
// index to the kernel.
func (a *agent) measure(b *testing.B, backend *nftables.Backend, n int, change func(i int)) measured {
	b.Helper()
	var out measured
	end := since()
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
	}
	out.cpu = Milliseconds(end().cpu) / float64(n)
	return out
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
