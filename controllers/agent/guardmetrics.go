package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/policy/model"
)

// guardPackets describes the packets that guards meet, by guard and action
// (dropped, counted).
var guardPackets = prometheus.NewDesc("tierwall_guard_packets_total",
	"Packets that a guard has dropped, or has counted in mode Count and let pass.", []string{"guard", "action"}, nil)

// collectGuards sends the counters of all guards, also of those that have met no
// packet, so that a rate is known from the first one on.
func collectGuards(out chan<- prometheus.Metric, packets map[model.GuardName]model.GuardPackets) {
	for _, name := range model.GuardNames {
		n := packets[name]
		out <- prometheus.MustNewConstMetric(guardPackets, prometheus.CounterValue, float64(n.Dropped), string(name), "dropped")
		out <- prometheus.MustNewConstMetric(guardPackets, prometheus.CounterValue, float64(n.Counted), string(name), "counted")
	}
}
