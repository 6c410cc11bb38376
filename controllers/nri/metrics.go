package nri

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/controllers/startup"
)

type metrics struct {
	connected prometheus.Gauge
	wait      prometheus.Histogram
	late      *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tierwall_agent_runtime_connected",
			Help: "1 while the container runtime has new pods wait for their policy (NRI), else 0.",
		}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tierwall_agent_pod_start_wait_seconds", Help: "Time that the starts of pods have waited for their policy.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 12),
		}),
		late: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierwall_agent_pod_start_late_total",
			Help: "Starts of pods that have waited in vain, by what was missing: pod (the API server had not told of it), kernel (this node's), announcement (to other nodes).",
		}, []string{"missing"}),
	}
	for _, w := range []startup.Missing{startup.MissingPod, startup.MissingKernel, startup.MissingAnnouncement} {
		m.late.WithLabelValues(string(w))
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.connected, m.wait, m.late}
}
