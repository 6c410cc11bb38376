package bench

import (
	"errors"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// updated is a world in which an address of a pod and the rules of a policy change.
type updated struct {
	name, what string
	feed       func(ix *index.Index, part int)
	// The pod of a number on a node, with the next address if odd; the policy likewise.
	pod    func(i int, node string) *model.Endpoint
	policy func(i int) *model.Policy
}

var updates = []updated{
	{
		"teams", "teams of 100 pods", teams,
		func(i int, node string) *model.Endpoint {
			p := teamPod(3, 5, node)
			p.Ref.Name = "mover-" + node
			p.Addrs[0] = addr(1<<22 + i)
			return p
		},
		func(i int) *model.Policy { return teamPolicy(3, 5, 9000+i) },
	},
	{
		"markers", "all among all, by 30 labels", markers,
		func(i int, node string) *model.Endpoint {
			p := markerPod(7, node)
			p.Ref.Name = "mover-" + node
			p.Addrs[0] = addr(1<<22 + i)
			return p
		},
		func(i int) *model.Policy { return markerPolicy(77, i) },
	},
}

// BenchmarkUpdates is one pod's address and one policy's rules changed at
// 100,000 endpoints and 10,000 policies, and at a tenth of both.
func BenchmarkUpdates(b *testing.B) {
	need(b)
	for _, u := range updates {
		for _, part := range some([]int{10, 1}, []int{10}) {
			for _, p := range planes {
				b.Run(u.name+"/"+map[int]string{1: "100000", 10: "10000"}[part]+"/"+p.column.String(), func(b *testing.B) {
					for b.Loop() {
						inKernel(b, func() { u.measure(b, p, part) })
					}
				})
			}
		}
	}
}

func (u *updated) measure(b *testing.B, p *plane, part int) {
	a := newAgent(here)
	u.feed(a.ix, part)
	ch := a.flush()
	b.ReportMetric(float64(tableElements(ch)), "elements")
	world := map[int]string{1: "100,000 endpoints, ", 10: "10,000 endpoints, "}[part] + u.what + ": "
	backend, err := p.sync(b.Context(), a)
	if err != nil && !errors.Is(err, errTooLong) {
		b.Fatal(err)
	}
	changes := []struct {
		what  string
		n     int
		limit float64
		do    func(i int)
	}{
		{"address of a pod elsewhere", 500, 5, func(i int) { a.ix.Upsert(u.pod(i, elsewhere)) }},
		{"address of a pod here", 500, 5, func(i int) { a.ix.Upsert(u.pod(i, here)) }},
		{"rules of a policy", 100, 100, func(i int) { a.ix.Upsert(u.policy(i)) }},
	}
	for _, c := range changes {
		var m measured // of what is not there
		if err == nil {
			a.measure(b, backend, 1, func(int) { c.do(1000) })
			m = a.measure(b, backend, some(c.n, 5), c.do)
		}
		m.put(Updates, p, world+c.what, 0.5, 0)
		m.put(Updates, p, world+c.what, 0.99, c.limit)
		m.putCPU(Updates, p, world+c.what)
	}
}
