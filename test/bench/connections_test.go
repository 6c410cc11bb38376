package bench

import "testing"

// BenchmarkConnections is how many TCP connections a second a node forwards, by
// what its table holds.
func BenchmarkConnections(b *testing.B) {
	none := &pair{name: "no table"}
	one := &pair{name: "1 rule", feed: byPeer(1)}
	pairs := []*pair{
		none,
		{name: "a table that tracks and accepts", text: tracking},
		one,
		{name: "1 rule, once more (what chance does)", feed: byPeer(1)},
		{name: "12 rules, distinct sets", feed: bySet(12)},
		{name: "100 rules, distinct blocks", feed: byPeer(100)},
		{name: "1,000 rules, distinct blocks", feed: byPeer(1000)},
		{name: "10,000 rules, distinct blocks", feed: byPeer(10_000)},
		{name: "100 rules, distinct sets", feed: bySet(100)},
		{name: "1,000 rules, distinct sets", feed: bySet(1000)},
		{name: "10,000 rules, distinct sets", feed: bySet(10_000)},
		{name: "100 rules, distinct ports", feed: byPort(100)},
		{name: "1,000 rules, distinct ports", feed: byPort(1000)},
		{name: "10,000 rules, distinct ports", feed: byPort(10_000)},
		{name: "1,000 policies of a rule", feed: byPolicy(1000)},
	}
	l := newPairs(b, pairs)
	const turns, count = 60, 300
	for b.Loop() {
		rates := map[*pair][]float64{}
		for turn := range turns + 2 {
			for _, p := range pairs {
				r, err := p.connections(l, count)
				if err != nil {
					b.Fatal(err)
				}
				if turn >= 2 { // the first warm up
					rates[p] = append(rates[p], r)
				}
			}
		}
		for _, p := range pairs {
			row := Row{Part: Connections, What: p.name, Value: Median(rates[p]), Unit: "/s", Baseline: one.name, Ratio: ratio(rates[p], rates[one])}
			switch {
			case p == one:
				row.Baseline, row.Ratio = none.name, ratio(rates[one], rates[none])
			case p.feed != nil:
				row.Budget = Budget{AtLeast: true, Limit: 0.9, OfRatio: true}
			}
			report.Put(row)
		}
		b.ReportMetric(Median(rates[one]), "conn/s")
	}
}

// ratio is the median of the ratios of turns.
func ratio(list, base []float64) float64 {
	out := make([]float64, len(list))
	for i := range list {
		out[i] = list[i] / base[i]
	}
	return Median(out)
}
