package bench

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// namesAt is when all names of these benchmarks are learnt.
var namesAt = time.Unix(1_800_000_000, 0)

// BenchmarkNameTable is what the agent keeps of 10,000 names of 100 addresses, and what
// becomes of others' names when somebody asks for a million names of a wildcard.
func BenchmarkNameTable(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			tableMemory(b)
		}
	})
	b.Run("flood", func(b *testing.B) {
		for b.Loop() {
			flood(b)
		}
	})
}

func putNames(what string, value float64, unit string, budget Budget) {
	report.Put(Row{Part: Names, What: what, Column: NoRules, Value: value, Unit: unit, Budget: budget})
}

func pattern(b *testing.B, text string) names.Pattern {
	b.Helper()
	p, err := names.ParsePattern(text)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// tableMemory measures the table of names and the index, with the addresses that both have.
func tableMemory(b *testing.B) {
	const perRule = 50 // names
	count := some(10_000, 500)
	a := newAgent(here)
	a.ix.Upsert(pod("client", here, map[string]string{"app": "server"}, addr(1)))
	table := names.New(names.Options{})
	for i := 0; i < count; i += perRule {
		var list []names.Pattern
		for j := range perRule {
			list = append(list, pattern(b, fmt.Sprintf("name-%d.example.com", i+j)))
		}
		rule := model.Rule{Action: model.Allow, Match: model.Match{Protocol: model.TCP, Destination: model.Peer{Domains: list, Ports: []model.Port{{First: 443, Last: 443}}}}}
		p := ingress(fmt.Sprintf("names-%d", i), 10, server)
		p.Ingress, p.Egress, p.EgressRules = false, true, []model.Rule{rule}
		a.ix.Upsert(p)
	}
	d := a.ix.Flush()
	a.compiler.Apply(d)
	if len(d.PatternsAdded) != count {
		b.Fatalf("rules speak of %d names", len(d.PatternsAdded))
	}
	before := liveHeap()
	for _, p := range d.PatternsAdded {
		table.Use(p)
	}
	for i := range count {
		answer := names.Answer{Names: []string{fmt.Sprintf("name-%d.example.com", i)}}
		for j := range 100 {
			answer.Addrs = append(answer.Addrs, names.Address{Addr: addr(1<<22 + i*100 + j), TTL: time.Minute})
		}
		table.Learn(answer, namesAt)
		if i%100 == 99 { // as they come in the kernel
			a.ix.ApplyNames(table.Deltas())
			a.flush()
		}
	}
	after := liveHeap()
	what := fmt.Sprintf("memory of %d names of 100 addresses", count)
	putNames(what+", the index's copy included", float64(after-before)/1e6, "MB", Budget{Limit: 60})
	runtime.KeepAlive(a)
	runtime.KeepAlive(table)
}

// flood learns random names of a wildcard, beside a name that is spelt out and another wildcard.
func flood(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 0))
	table := names.New(names.Options{})
	for _, text := range []string{"*.flood.example", "*.other.example", "api.example.com"} {
		table.Use(pattern(b, text))
	}
	learn := func(name string, a netip.Addr) {
		table.Learn(names.Answer{Names: []string{name}, Addrs: []names.Address{{Addr: a, TTL: time.Minute}}}, namesAt)
	}
	learn("api.example.com", addr(1))
	learn("www.other.example", addr(2))
	table.Deltas()
	n := some(1_000_000, 20_000)
	began := time.Now()
	for i := range n {
		learn(fmt.Sprintf("%016x.flood.example", r.Uint64()), addr(1<<22+i))
		if i%16 == 15 {
			table.Deltas()
		}
	}
	took := time.Since(began)
	size := table.Size()
	for _, name := range []string{"api.example.com", "www.other.example"} {
		if len(table.Known(name)) != 1 {
			b.Fatalf("%s is forgotten", name)
		}
	}
	if len(table.Members(pattern(b, "*.flood.example"))) > names.DefaultMaxNamesPerWildcard {
		b.Fatal("the wildcard has more addresses than names")
	}
	what := fmt.Sprintf("%d random names of a wildcard", n)
	putNames(what+": names known in the end, two of others among them", float64(size.Names), "", Budget{Limit: names.DefaultMaxNamesPerWildcard + 2})
	putNames(what+": learning one", float64(took.Microseconds())/float64(n), "µs", Budget{})
}
