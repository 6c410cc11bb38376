package bench

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

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
			report.Put(Row{Part: Programming, What: "from nothing", Value: p.cold.Seconds(), Unit: "s", Budget: Budget{Limit: 1.5}})
			report.Put(Row{Part: Programming, What: "restart and take-over, nothing to change", Value: p.restart.Seconds(), Unit: "s", Budget: Budget{Limit: 1.5}})
			report.Put(Row{Part: Programming, What: "transactions of that", Value: float64(p.transactions), Budget: Budget{Limit: 0}})
			client := pod("client", elsewhere, map[string]string{"set": "set-7"}, addr(1<<23))
			member := a.measure(b, p.backend, 40, func(i int) {
				if i%2 == 0 {
					a.ix.Upsert(client)
				} else {
					a.ix.Delete(client.Ref)
				}
			})
			report.Put(Row{Part: Programming, What: "one member's change", Value: Median(member), Unit: "ms", Budget: Budget{Limit: 1}})
			rules := a.measure(b, p.backend, 20, func(i int) { a.ix.Upsert(sizedPolicy(77, 100+i)) })
			report.Put(Row{Part: Programming, What: "one policy's change", Value: Median(rules), Unit: "ms", Budget: Budget{Limit: 10}})
		})
	}
}

// BenchmarkRealNode programs the profile of a real node.
func BenchmarkRealNode(b *testing.B) {
	for b.Loop() {
		inKernel(b, func() {
			p := program(b, realNode)
			report.Put(Row{Part: RealNode, What: "cold start: index", Value: p.index.Seconds(), Unit: "s"})
			report.Put(Row{Part: RealNode, What: "cold start: compiler", Value: p.compiler.Seconds(), Unit: "s"})
			report.Put(Row{Part: RealNode, What: "cold start: kernel", Value: p.cold.Seconds(), Unit: "s"})
			report.Put(Row{Part: RealNode, What: "restart, nothing to change", Value: p.restart.Seconds(), Unit: "s"})
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
	index, compiler, cold, restart time.Duration
	transactions                   uint64  // of the restart
	heap, kernel                   float64 // MB
	elements                       int     // of the compiled tables
}

// program programs the kernel of this namespace.
func program(b *testing.B, feed func(*policy.Index)) *programmed {
	b.Helper()
	p := &programmed{agent: newAgent(here)}
	heap, kernel := liveHeap(), kernelMemory(b)
	start := time.Now()
	lap := func() time.Duration {
		now := time.Now()
		defer func() { start = now }()
		return now.Sub(start)
	}
	feed(p.agent.ix)
	d := p.agent.ix.Flush()
	p.index = lap()
	ch := p.agent.compiler.Apply(d)
	p.compiler = lap()
	var err error
	p.backend, err = p.agent.sync(b.Context())
	p.cold = lap()
	if err != nil {
		b.Fatal(err)
	}
	p.elements = tableElements(ch)
	ch, d = nil, nil
	p.heap, p.kernel = float64(liveHeap()-heap)/1e6, (kernelMemory(b)-kernel)/1e6
	lap()
	again, err := p.agent.sync(b.Context())
	p.restart = lap()
	if err != nil {
		b.Fatal(err)
	}
	p.transactions = again.Stats().Transactions + again.Stats().MemberTransactions
	return p
}

func tableElements(ch *dataplane.Change) (n int) {
	for _, t := range ch.Tables {
		n += len(t.State.Addrs) + len(t.State.Blocks)
	}
	return n
}

// measure makes changes, one at a time, and says how long each takes from the
// index to the kernel, in milliseconds.
func (a *agent) measure(b *testing.B, backend *nftables.Backend, n int, change func(i int)) []float64 {
	b.Helper()
	var out []float64
	for i := range n {
		start := time.Now()
		change(i)
		ch := a.flush()
		err := backend.Apply(b.Context(), ch, a.state())
		out = append(out, Milliseconds(time.Since(start)))
		if err != nil {
			b.Fatal(err)
		}
		if len(ch.Sets)+len(ch.Tables)+len(ch.Added)+len(ch.Endpoints) == 0 {
			b.Fatal("nothing changed")
		}
	}
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
	defer f.Close()
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
