package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tierwall/tierwall/controllers/agent/answers"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// metrics of an agent. Sizes are kept up to date change by change, and are
// those of what the kernel should hold.
type metrics struct {
	latency      *prometheus.HistogramVec
	sweeps       prometheus.Histogram
	errors       *prometheus.CounterVec
	resyncs      prometheus.Counter
	swept        prometheus.Counter
	lastSuccess  prometheus.Gauge
	invalid      prometheus.Gauge
	held         prometheus.Gauge
	sourceErrors prometheus.Gauge
	endpoints    prometheus.Gauge
	classes      prometheus.Gauge
	programs     prometheus.Gauge
	sets         prometheus.Gauge
	members      prometheus.Gauge
	rules        prometheus.Gauge
	ownAddresses prometheus.Gauge
	podLinks     prometheus.Gauge
	clashes      prometheus.Gauge
	waiting      prometheus.Gauge
	late         prometheus.Gauge
	pastBudget   prometheus.Gauge
	entries      *prometheus.GaugeVec

	// Of the compiler, counted by Run.
	memberCount map[string]int // by set
	policyRefs  map[*index.Policy]int
	counts      struct{ endpoints, classes, programs, members, rules int }
}

// errorKinds are the values of the label kind of tierwall_agent_errors_total.
var errorKinds = []string{"apply", "sync", "prepare", "object", "isolated", "source", "conntrack", "counters", "links", "bar", "kept"}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "tierwall_agent_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "tierwall_agent_" + name, Help: help})
	}
	m := &metrics{
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tierwall_agent_apply_duration_seconds", Help: "Time that transactions with the kernel took.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}, []string{"operation", "result"}),
		sweeps: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tierwall_agent_conntrack_sweep_duration_seconds", Help: "Time that sweeps of tracked connections took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierwall_agent_errors_total", Help: "Errors by kind: of transactions (apply, sync, and prepare: of what packets do not see yet), of objects (object, isolated), of the source, of conntrack, of counters, of the node's interfaces (links), of what keeps cut connections cut (bar) and of what is kept for the next boot (kept).",
		}, []string{"kind"}),
		resyncs:      counter("foreign_changes_total", "Notices that another program may have changed the kernel's rules."),
		swept:        counter("conntrack_deleted_total", "Established connections cut because a changed policy does not allow them."),
		lastSuccess:  gauge("last_success_timestamp_seconds", "When the kernel was last brought up to date, or found to be."),
		invalid:      gauge("objects_with_problems", "Objects that are not as they should be; each is in a form that never widens access."),
		held:         gauge("objects_held_back", "Objects that the kernel does not take."),
		sourceErrors: gauge("source_errors", "Things that are wrong with the source now."),
		endpoints:    gauge("endpoints", "Endpoints of this node."),
		classes:      gauge("classes", "Effective policies; endpoints of one class share one."),
		programs:     gauge("programs", "Compiled programs: one a stage, direction and IP family of a class, equal ones once."),
		sets:         gauge("sets", "Sets of peers."),
		members:      gauge("set_members", "Members of all sets of peers."),
		rules:        gauge("rules", "Rules of the policies that select endpoints of this node."),
		ownAddresses: gauge("node_addresses", "Addresses of the node's own, of all interfaces."),
		podLinks:     gauge("pod_links", "Addresses of this node's pods whose interface or bridge port is known."),
		clashes:      gauge("address_clashes", "Addresses of this node's pods that pods of other nodes claim; the local pods keep them."),
		waiting:      gauge("waiting_changes", "Changes of objects that wait while others' go first."),
		late:         gauge("waiting_namespaces", "Namespaces of pods that wait for what is new in their policies, because those are large; others go first."),
		pastBudget:   gauge("objects_past_budget", "Policies past the budget of their namespace."),
		entries: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tierwall_agent_namespace_entries", Help: "Entries of the policies and NetworkSets of namespaces that have used half of their budget; the ten largest.",
		}, []string{"namespace"}),
		memberCount: map[string]int{}, policyRefs: map[*index.Policy]int{},
	}
	for _, k := range errorKinds {
		m.errors.WithLabelValues(k)
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.latency, m.sweeps, m.errors, m.resyncs, m.swept, m.lastSuccess, m.invalid, m.held, m.sourceErrors,
		m.endpoints, m.classes, m.programs, m.sets, m.members, m.rules, m.ownAddresses, m.podLinks, m.clashes, m.waiting, m.late, m.pastBudget, m.entries,
	}
}

// largest is how many namespaces are reported by name.
const largest = 10

// budgets keeps what namespaces have used of their budgets.
func (m *metrics) budgets(b *budgets) {
	m.pastBudget.Set(float64(b.count()))
	m.entries.Reset()
	list := slices.SortedFunc(maps.Keys(b.large), func(x, y string) int {
		return cmp.Or(cmp.Compare(b.book.Entries(y), b.book.Entries(x)), cmp.Compare(x, y))
	})
	for _, ns := range list[:min(len(list), largest)] {
		m.entries.WithLabelValues(ns).Set(float64(b.book.Entries(ns)))
	}
}

func (m *metrics) failed(kind string) { m.errors.WithLabelValues(kind).Inc() }

func (m *metrics) applied(op, result string, took time.Duration) {
	m.latency.WithLabelValues(op, result).Observe(took.Seconds())
}

// count keeps the sizes.
func (m *metrics) count(d *index.Delta, ch *dataplane.Change) {
	for i := range ch.Sets {
		s := &ch.Sets[i]
		n := len(s.Added) - len(s.Removed)
		if s.Gone {
			n = -m.memberCount[s.Set.ID]
			delete(m.memberCount, s.Set.ID)
		} else {
			m.memberCount[s.Set.ID] += n
		}
		m.counts.members += n
	}
	for i := range ch.Endpoints {
		switch e := &ch.Endpoints[i]; {
		case e.Before.Policy == nil && e.After.Policy != nil:
			m.counts.endpoints++
		case e.Before.Policy != nil && e.After.Policy == nil:
			m.counts.endpoints--
		}
	}
	m.counts.programs += len(ch.Added) - len(ch.Removed)
	m.counts.classes += len(d.Added) - len(d.Removed)
	for _, e := range d.Added {
		m.countRules(e, 1)
	}
	for _, e := range d.Removed {
		m.countRules(e, -1)
	}
	m.endpoints.Set(float64(m.counts.endpoints))
	m.classes.Set(float64(m.counts.classes))
	m.programs.Set(float64(m.counts.programs))
	m.sets.Set(float64(len(m.memberCount)))
	m.members.Set(float64(m.counts.members))
	m.rules.Set(float64(m.counts.rules))
}

// countRules counts each policy once, however many effective policies it is part of.
func (m *metrics) countRules(e *index.Effective, n int) {
	for _, st := range e.Stages() {
		for i := range st.Chain {
			for _, p := range st.Chain[i].Policies {
				before := m.policyRefs[p]
				after := before + n
				switch {
				case before == 0:
					m.counts.rules += rulesOf(p.IngressRules) + rulesOf(p.EgressRules)
				case after == 0:
					m.counts.rules -= rulesOf(p.IngressRules) + rulesOf(p.EgressRules)
				}
				if after == 0 {
					delete(m.policyRefs, p)
				} else {
					m.policyRefs[p] = after
				}
			}
		}
	}
}

// rulesOf counts the rules of the source object, one of which may stand as several.
func rulesOf(rules []model.Rule) int {
	n, last := 0, -1
	for i := range rules {
		if rules[i].Index != last {
			n, last = n+1, rules[i].Index
		}
	}
	return n
}

// Descriptions of what the kernel counts.
var (
	ruleLabels  = []string{"tier", "policy", "direction", "rule", "action", "audit"}
	dropLabels  = []string{"tier", "policy", "direction", "rule"}
	rulePackets = prometheus.NewDesc("tierwall_rule_packets_total",
		"First packets of connections (of untracked ones, all packets) that a rule, or the end of a tier, has decided or logged.", ruleLabels, nil)
	ruleBytes    = prometheus.NewDesc("tierwall_rule_bytes_total", "Bytes of the packets that tierwall_rule_packets_total counts.", ruleLabels, nil)
	rulesLeftOut = prometheus.NewDesc("tierwall_agent_rules_without_metrics",
		"Rules whose packets are counted but not shown, because there are too many in their namespace or on the node.", nil, nil)
	dropped = prometheus.NewDesc("tierwall_dropped_packets_total", "Packets that a rule, or the end of a tier, has denied.", dropLabels, nil)
)

// collectors are all metrics but what the kernel counts.
func (a *Agent) collectors() []prometheus.Collector {
	out := a.metrics.all()
	if a.logs != nil {
		out = append(out, a.logs.collectors()...)
	}
	if a.flows != nil {
		out = append(out, a.flows)
	}
	return out
}

// Describe implements prometheus.Collector.
func (a *Agent) Describe(out chan<- *prometheus.Desc) {
	for _, c := range a.collectors() {
		c.Describe(out)
	}
	out <- rulePackets
	out <- ruleBytes
	out <- dropped
	out <- rulesLeftOut
	out <- guardPackets
	describeConntrack(out)
	answers.Describe(out)
}

// Collect implements prometheus.Collector. It has the kernel's counters read, beside
// the transactions where the backend can (dataplane.CounterReader) and else after the
// one that may be under way; whoever serves metrics to others must see
// to it that it is called now and then only (controllers/scrape does).
func (a *Agent) Collect(out chan<- prometheus.Metric) {
	counted, err := a.counters.read()
	if err != nil {
		a.metrics.failed("counters")
		a.log.Error("cannot read the counters", "error", fmt.Errorf("kernel: %w", err))
	}
	for _, c := range a.collectors() {
		c.Collect(out)
	}
	a.collectConntrack(out)
	if keeper := a.names.shown.Load(); keeper != nil {
		keeper.Collect(out)
	}
	if packets := guardPacketsOf(counted); packets != nil { // else they would seem to begin anew
		collectGuards(out, packets)
	}
	shown, leftOut := shownRules(ruleOrigins(counted))
	out <- prometheus.MustNewConstMetric(rulesLeftOut, prometheus.GaugeValue, float64(leftOut))
	for _, o := range shown {
		n := counted[o]
		labels := []string{o.Tier, o.Policy.String(), o.Direction.String(), o.Rule.String(), o.Action.String(), strconv.FormatBool(o.Audit)}
		out <- prometheus.MustNewConstMetric(rulePackets, prometheus.CounterValue, float64(n.Packets), labels...)
		out <- prometheus.MustNewConstMetric(ruleBytes, prometheus.CounterValue, float64(n.Bytes), labels...)
		if o.Action == model.Deny && !o.Audit {
			out <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(n.Packets), labels[:len(dropLabels)]...)
		}
	}
}

// ruleOrigins are the rules that have counters, in order; guards are none.
func ruleOrigins(counted map[dataplane.Origin]dataplane.Count) []dataplane.Origin {
	origins := make([]dataplane.Origin, 0, len(counted))
	for o := range counted {
		if _, _, guard := o.Guard(); !guard && o != (dataplane.Origin{}) {
			origins = append(origins, o)
		}
	}
	slices.SortFunc(origins, compareOrigins)
	return origins
}

// Limits of the series of rules. A rule has up to three.
const (
	// maxRules is for all rules of the node, so that a scrape stays a few megabytes.
	maxRules = 10_000
	// maxRulesPerNamespace is for the policies of one namespace, so that no tenant
	// takes the room of others; policies of the cluster have only the limit of all.
	maxRulesPerNamespace = 1000
)

// shownRules returns the rules that have series, in the order given, and how many
// have not. Policies of the cluster come first where there is no room for all.
func shownRules(origins []dataplane.Origin) (shown []dataplane.Origin, leftOut int) {
	show := make([]bool, len(origins))
	used := map[string]int{}
	room := maxRules
	for _, global := range []bool{true, false} {
		for i := range origins {
			namespace := origins[i].Policy.Namespace
			if (namespace == "") != global {
				continue
			}
			if room == 0 || !global && used[namespace] == maxRulesPerNamespace {
				leftOut++
				continue
			}
			show[i] = true
			room--
			used[namespace]++
		}
	}
	shown = origins[:0]
	for i, o := range origins {
		if show[i] {
			shown = append(shown, o)
		}
	}
	return shown, leftOut
}

func compareOrigins(x, y dataplane.Origin) int {
	audit := 0
	if x.Audit != y.Audit {
		audit = 1
		if y.Audit {
			audit = -1
		}
	}
	return cmp.Or(cmp.Compare(x.Tier, y.Tier), x.Policy.Compare(y.Policy), cmp.Compare(x.Direction, y.Direction),
		cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.Action, y.Action), audit)
}
