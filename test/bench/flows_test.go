package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tierwall/tierwall/controllers/agent/flows"
	"github.com/tierwall/tierwall/dataplane/conntrack/events"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
)

// recorded are pairs whose nodes' connections are recorded.
func recorded(pairs []*pair) []*pair {
	for _, p := range pairs {
		p.recorded = true
	}
	return pairs
}

// record has the connections of the pair's node recorded, as its agent does.
func (p *pair) record(ctx context.Context, l *lab.Lab, ix *index.Index) error {
	var err error
	p.recorder, err = flows.New(flows.Options{Node: p.node, Index: ix, Always: true, Open: func() (r events.Reader, err error) {
		err = l.Do(p.node, func() error { r, err = events.New(); return err })
		return r, err
	}})
	if err != nil {
		return err
	}
	p.recorder.Begin(true)
	p.recorder.Settle(true)
	go p.recorder.Run(ctx)
	return nil
}

// metrics are the sums of the recorder's.
func (p *pair) metrics() map[string]float64 {
	ch := make(chan prometheus.Metric, 100)
	p.recorder.Collect(ch)
	close(ch)
	out := map[string]float64{}
	for m := range ch {
		var d dto.Metric
		if m.Write(&d) != nil {
			continue
		}
		name := m.Desc().String()
		for _, l := range d.Label {
			name += " " + l.GetValue()
		}
		out[name] = d.GetCounter().GetValue() + d.GetGauge().GetValue()
	}
	return out
}

// sum is that of the metrics of a name.
func sum(metrics map[string]float64, name string) (n float64) {
	for desc, v := range metrics {
		var got string
		if _, err := fmt.Sscanf(desc, "Desc{fqName: %q", &got); err == nil && got == name {
			n += v
		}
	}
	return n
}

// BenchmarkRecording is what recording costs at 5,000 connections a second: of connections
// a second, of a core in the agent, and how many events are lost.
func BenchmarkRecording(b *testing.B) {
	const rate = 5000
	pairs := []*pair{{name: oneRule, plane: byNFTables, feed: byPeer(1)}, {name: "1 rule, connections recorded", plane: byNFTables, feed: byPeer(1), recorded: true}}
	l := newPairs(b, lab.Routed, pairs)
	for b.Loop() {
		rates := map[*pair][]float64{}
		for turn := range some(200, 20) + 2 {
			for _, p := range pairs {
				r, err := p.connections(l)
				if err != nil {
					b.Fatal(err)
				}
				if turn >= 2 {
					rates[p] = append(rates[p], r)
				}
			}
		}
		time.Sleep(time.Second) // for what waits to be read
		m := pairs[1].metrics()
		read := sum(m, "tierwall_flows_events_total")
		perEvent := sum(m, "tierwall_flows_seconds_total") / read
		b.ReportMetric(Median(rates[pairs[0]]), "conn/s-off")
		b.ReportMetric(Median(rates[pairs[1]]), "conn/s-on")
		b.ReportMetric(ratio(rates[pairs[1]], rates[pairs[0]]), "ratio")
		b.ReportMetric(perEvent*1e9, "ns/event")
		b.ReportMetric(perEvent*2*rate*100, "%core-at-5000/s")
		b.ReportMetric(sum(m, "tierwall_flows_events_lost_total"), "lost")
	}
}
