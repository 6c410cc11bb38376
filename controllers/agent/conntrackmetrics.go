package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/dataplane/conntrack"
)

var (
	conntrackEntries = prometheus.NewDesc("tierwall_agent_conntrack_entries", "Connections that the node's kernel tracks.", nil, nil)
	conntrackLimit   = prometheus.NewDesc("tierwall_agent_conntrack_limit",
		"Connections that the node's kernel tracks at most (nf_conntrack_max). When there is no room, no new connection begins, whatever policy says of it.", nil, nil)
	conntrackDropped = prometheus.NewDesc("tierwall_agent_conntrack_dropped_total",
		"First packets of connections that the node's kernel has dropped because it tracked too many.", nil, nil)
	conntrackEvicted = prometheus.NewDesc("tierwall_agent_conntrack_evicted_total",
		"Connections without an answer that the node's kernel has removed to make room for others.", nil, nil)
)

func describeConntrack(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{conntrackEntries, conntrackLimit, conntrackDropped, conntrackEvicted} {
		out <- d
	}
}

// collectConntrack reads how full the kernel's table of connections is. Without a
// table that reports it there is nothing to collect.
func (a *Agent) collectConntrack(out chan<- prometheus.Metric) {
	m, ok := a.opts.Conntrack.(conntrack.Meter)
	if !ok {
		return
	}
	u, err := m.Usage()
	if err != nil {
		a.metrics.failed("conntrack")
		a.log.Warn("cannot read how full the table of connections is", "error", err)
		return
	}
	out <- prometheus.MustNewConstMetric(conntrackEntries, prometheus.GaugeValue, float64(u.Entries))
	out <- prometheus.MustNewConstMetric(conntrackLimit, prometheus.GaugeValue, float64(u.Limit))
	out <- prometheus.MustNewConstMetric(conntrackDropped, prometheus.CounterValue, float64(u.Dropped))
	out <- prometheus.MustNewConstMetric(conntrackEvicted, prometheus.CounterValue, float64(u.Evicted))
}
