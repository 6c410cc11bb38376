package agent

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tierwall/tierwall/policy/model"
)

type guardCollector map[model.GuardName]model.GuardPackets

func (g guardCollector) Describe(out chan<- *prometheus.Desc) { out <- guardPackets }
func (g guardCollector) Collect(out chan<- prometheus.Metric) { collectGuards(out, g) }

func TestGuardMetrics(t *testing.T) {
	const want = `
# HELP tierwall_guard_packets_total Packets that a guard has dropped, or has counted in mode Count and let pass.
# TYPE tierwall_guard_packets_total counter
tierwall_guard_packets_total{action="counted",guard="discovery"} 0
tierwall_guard_packets_total{action="counted",guard="encapsulation"} 0
tierwall_guard_packets_total{action="counted",guard="link"} 5
tierwall_guard_packets_total{action="counted",guard="source"} 0
tierwall_guard_packets_total{action="counted",guard="wildcard"} 0
tierwall_guard_packets_total{action="dropped",guard="discovery"} 0
tierwall_guard_packets_total{action="dropped",guard="encapsulation"} 0
tierwall_guard_packets_total{action="dropped",guard="link"} 0
tierwall_guard_packets_total{action="dropped",guard="source"} 2
tierwall_guard_packets_total{action="dropped",guard="wildcard"} 0
`
	g := guardCollector{model.GuardSourceName: {Dropped: 2}, model.GuardLinkName: {Counted: 5}}
	if err := testutil.CollectAndCompare(g, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
