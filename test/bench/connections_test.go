package bench

import (
	"slices"
	"testing"
)

// BenchmarkConnections is how many TCP connections a second a node forwards, by
// what its kernel holds.
func BenchmarkConnections(b *testing.B) {
	const oneRule = "1 rule"
	one := onPlanes(oneRule, byPeer(1))
	pairs := slices.Concat([]*pair{{name: noRules}}, trackers(), one,
		onPlanes("1 rule, once more (what chance does)", byPeer(1)),
		onPlanes("12 rules, distinct sets", bySet(12)),
		onPlanes("100 rules, distinct blocks", byPeer(100)),
		onPlanes("1,000 rules, distinct blocks", byPeer(1000)),
		onPlanes("10,000 rules, distinct blocks", byPeer(some(10_000, 2000))),
		onPlanes("100 rules, distinct sets", bySet(100)),
		onPlanes("1,000 rules, distinct sets", bySet(1000)),
		onPlanes("10,000 rules, distinct sets", bySet(some(10_000, 2000))),
		onPlanes("100 rules, distinct ports", byPort(100)),
		onPlanes("1,000 rules, distinct ports", byPort(1000)),
		onPlanes("10,000 rules, distinct ports", byPort(some(10_000, 2000))),
		onPlanes("1,000 policies of a rule", byPolicy(1000)))
	l := newPairs(b, pairs)
	for b.Loop() {
		rates := map[*pair][]float64{}
		for turn := range some(60, 5) + 2 {
			for _, p := range pairs {
				if p.missing {
					continue
				}
				r, err := p.connections(l)
				if err != nil {
					b.Fatal(err)
				}
				if turn >= 2 { // the first warm up
					rates[p] = append(rates[p], r)
				}
			}
		}
		none := pairs[0]
		first := map[*plane]*pair{}
		for _, p := range one {
			first[p.plane] = p
		}
		for _, p := range pairs {
			row := Row{Part: Connections, What: p.name, Column: p.column(), Unit: "/s"}
			if p.missing {
				row.Missing = tooLong()
			} else {
				row.Value = Median(rates[p])
			}
			switch {
			case p == none:
			case p.feed == nil || p.name == oneRule:
				row.Baseline, row.Ratio = noRules, ratio(rates[p], rates[none])
			default:
				row.Baseline, row.Ratio = oneRule, ratio(rates[p], rates[first[p.plane]])
				row.Budget = Budget{AtLeast: true, Limit: 0.9, OfRatio: true}
			}
			report.Put(row)
		}
		b.ReportMetric(Median(rates[first[byNFTables]]), "conn/s")
	}
}

// ratio is the median of the ratios of turns.
func ratio(list, base []float64) float64 {
	out := make([]float64, min(len(list), len(base)))
	for i := range out {
		out[i] = list[i] / base[i]
	}
	return Median(out)
}
