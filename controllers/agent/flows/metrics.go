package flows

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/dataplane/conntrack/events"
)

// metrics are counted under the Recorder's lock of its table.
type metrics struct {
	events     [3]uint64 // by events.Kind
	attributed uint64
	lost       uint64 // by readers that are closed
	busy       float64
}

func newMetrics(*Recorder) *metrics { return &metrics{} }

var (
	eventsDesc = prometheus.NewDesc("tierwall_flows_events_total",
		"Connections that the kernel has reported: as new, as ended, and as open in a dump.", []string{"event"}, nil)
	lostDesc = prometheus.NewDesc("tierwall_flows_events_lost_total",
		"Times that events of connections were lost because they came faster than they are read; each time at least one.", nil, nil)
	keysDesc = prometheus.NewDesc("tierwall_flows_keys",
		"Distinct combinations of ends, service, port and decision that are kept.", nil, nil)
	otherDesc = prometheus.NewDesc("tierwall_flows_other_total",
		"Connections that are summed without their ends, because there were too many distinct ones.", nil, nil)
	attributedDesc = prometheus.NewDesc("tierwall_flows_attributions_total",
		"Flows of which policy was asked what it decides; all other connections were alike one of these.", nil, nil)
	busyDesc = prometheus.NewDesc("tierwall_flows_seconds_total",
		"Time spent reading events and attributing them.", nil, nil)
)

var eventNames = [3]string{events.Began: "new", events.Ended: "ended", events.Listed: "open"}

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{eventsDesc, lostDesc, keysDesc, otherDesc, attributedDesc, busyDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector. While nothing is recorded there is nothing.
func (r *Recorder) Collect(to chan<- prometheus.Metric) {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	if r.table == nil {
		return
	}
	counter := func(d *prometheus.Desc, n float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
	}
	for kind, n := range r.metrics.events {
		counter(eventsDesc, float64(n), eventNames[kind])
	}
	counter(lostDesc, float64(r.metrics.lost+r.reader.Lost()))
	counter(otherDesc, float64(r.table.summed.Load()))
	counter(attributedDesc, float64(r.metrics.attributed))
	counter(busyDesc, r.metrics.busy)
	to <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, float64(r.table.size))
}
