package bench

import (
	"testing"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// BenchmarkUpdates is one pod's address and one policy's rules changed at
// 100,000 endpoints and 10,000 policies.
func BenchmarkUpdates(b *testing.B) {
	for _, w := range []struct {
		name, what string
		feed       func(*policy.Index)
		// The pod of a number on a node, with the next address if odd; the policy likewise.
		pod    func(i int, node string) *model.Endpoint
		policy func(i int) *model.Policy
	}{
		{
			"teams", "1,000 teams of 100 pods", teams,
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
	} {
		b.Run(w.name, func(b *testing.B) {
			for b.Loop() {
				inKernel(b, func() {
					a := newAgent(here)
					w.feed(a.ix)
					ch := a.flush()
					b.ReportMetric(float64(tableElements(ch)), "elements")
					backend, err := a.sync(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					put := func(what string, m measured, limit float64) {
						report.Put(Row{Part: Updates, What: w.what + ": " + what + ", p50", Value: Median(m.list), Unit: "ms"})
						m.put(Updates, w.what+": "+what, 0.99, limit)
					}
					for _, node := range []string{elsewhere, here} {
						a.measure(b, backend, 1, func(int) { a.ix.Upsert(w.pod(1000, node)) })
						list := a.measure(b, backend, 500, func(i int) { a.ix.Upsert(w.pod(i, node)) })
						name := map[string]string{elsewhere: "address of a pod elsewhere", here: "address of a pod here"}[node]
						put(name, list, 5)
					}
					put("rules of a policy", a.measure(b, backend, 100, func(i int) { a.ix.Upsert(w.policy(i)) }), 100)
				})
			}
		})
	}
}
