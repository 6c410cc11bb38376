package bench

import (
	"slices"
	"testing"

	"github.com/tierwall/tierwall/lab"
)

// oneRule is what nodes with more rules are compared with.
const oneRule = "1 rule"

// BenchmarkConnections is how many TCP connections a second a node forwards, by
// what its kernel holds.
func BenchmarkConnections(b *testing.B) {
	connections(b, lab.Routed, slices.Concat([]*pair{{name: noRules}}, trackers(), onPlanes(oneRule, byPeer(1)),
		onPlanes("1 rule, once more (what chance does)", byPeer(1)),
		unguarded(onPlanes("1 rule, without guards", byPeer(1))),
		recorded(onPlanes("1 rule, connections recorded", byPeer(1))),
		besideBarred(some(10_000, 1000), onPlanes("1 rule, 10,000 cut connections of others in the bar", byPeer(1))),
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
		onPlanes("1,000 policies of a rule", byPolicy(1000))))
}

// BenchmarkConnectionsBridged is BenchmarkConnections for pods on one bridge.
func BenchmarkConnectionsBridged(b *testing.B) {
	connections(b, lab.Bridge, slices.Concat([]*pair{{name: noRules}}, trackers(), onPlanes(oneRule, byPeer(1)),
		onPlanes("1 rule, once more (what chance does)", byPeer(1)),
		unguarded(onPlanes("1 rule, without guards", byPeer(1)))))
}

// connections measures pairs of a network in turns. The first has no rules.
func connections(b *testing.B, network lab.Network, pairs []*pair) {
	l := newPairs(b, network, pairs)
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
		for _, p := range pairs {
			if p.name == oneRule {
				first[p.plane] = p
			}
		}
		for _, p := range pairs {
			row := Row{Part: Connections, What: on(network, p.name), Column: p.column(), Unit: "/s"}
			if p.missing {
				row.Missing = tooLong()
			} else {
				row.Value = Median(rates[p])
			}
			switch {
			case p == none:
			case p.feed == nil || p.name == oneRule:
				row.Baseline, row.Ratio = on(network, noRules), ratio(rates[p], rates[none])
			default:
				row.Baseline, row.Ratio = on(network, oneRule), ratio(rates[p], rates[first[p.plane]])
				row.Budget = Budget{AtLeast: true, Limit: 0.9, OfRatio: true}
				if p.recorded {
					row.Budget.Limit = 0.97
				}
			}
			report.Put(row)
		}
		b.ReportMetric(Median(rates[first[byNFTables]]), "conn/s")
	}
}

// on names a row of a network.
func on(network lab.Network, what string) string {
	if network == lab.Bridge {
		return what + ", on a bridge"
	}
	return what
}

// ratio is the median of the ratios of turns.
func ratio(list, base []float64) float64 {
	out := make([]float64, min(len(list), len(base)))
	for i := range out {
		out[i] = list[i] / base[i]
	}
	return Median(out)
}
