package answers

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	answers                                           *prometheus.CounterVec
	unheld                                            *prometheus.CounterVec
	held, changes, refused, full, unanswered, unsaved prometheus.Counter
	added                                             prometheus.Histogram
	names, addresses, patterns                        prometheus.Gauge
}

func newMetrics() *metrics {
	const prefix = "tierwall_agent_names_"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
	}
	return &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "answers_total",
			Help: "DNS messages and packets read, by what came of them: new (brings addresses that are not in the kernel), known, unnamed (no rule speaks of its names), malformed, untrusted, torn (over TCP, with parts missing) or other (no answers)."}, []string{"result"}),
		unheld: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "unheld_total",
			Help: "DNS answers that went on before their addresses were in the kernel, by reason: late (the kernel took longer than answers wait), rate (the pod has more than its share), or failed (the kernel has not taken the change)."}, []string{"reason"}),
		held:       counter("held_total", "DNS answers that have waited until their addresses were in the kernel."),
		changes:    counter("changes_total", "Changes of addresses of names that were brought to the kernel."),
		refused:    counter("refused_total", "Addresses in DNS answers that are internal, which no rule by name allows."),
		full:       counter("full_total", "Names and addresses that were left out because there are more than the settings allow."),
		unanswered: counter("unanswered_total", "Questions of the agent's own that no server has answered."),
		unsaved:    counter("unsaved_total", "Failures to write the file that keeps names for a restart."),
		added: prometheus.NewHistogram(prometheus.HistogramOpts{Name: prefix + "added_seconds",
			Help: "How long DNS answers have waited.", Buckets: []float64{.0001, .0002, .0003, .0005, .001, .002, .005, .01, .025, .1, .25, 1}}),
		names:     gauge("names", "Names that addresses are known of."),
		addresses: gauge("addresses", "Addresses of these names; one of two names counts twice."),
		patterns:  gauge("patterns", "Names, and names with *, that rules of local endpoints speak of."),
	}
}

// measure notes how much is known.
func (k *Keeper) measure() {
	s := k.table.Size()
	k.metrics.names.Set(float64(s.Names))
	k.metrics.addresses.Set(float64(s.Addresses))
	k.metrics.patterns.Set(float64(s.Patterns))
}

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(ch chan<- *prometheus.Desc) { Describe(ch) }

// Describe describes the metrics of every Keeper, for whoever collects one that is made later.
func Describe(ch chan<- *prometheus.Desc) {
	for _, c := range newMetrics().collectors() {
		c.Describe(ch)
	}
	ch <- missed
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(ch chan<- prometheus.Metric) {
	k.mu.Lock()
	k.measure()
	k.mu.Unlock()
	for _, c := range k.metrics.collectors() {
		c.Collect(ch)
	}
	n := 0.0
	if k.opts.Reader != nil {
		n = float64(k.opts.Reader.Missed())
	}
	ch <- prometheus.MustNewConstMetric(missed, prometheus.CounterValue, n)
}

var missed = prometheus.NewDesc("tierwall_agent_names_overflow_total", "DNS answers that went on unread, at least, because the queue was full.", nil, nil)

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.answers, m.unheld, m.held, m.changes, m.refused, m.full, m.unanswered, m.unsaved, m.added, m.names, m.addresses, m.patterns}
}
