package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/policy/model"
)

// Logs hands over the packets that Log rules match; see nflog.Reader.
type Logs interface {
	// Run calls each for every packet until the context ends; then it returns nil.
	// After an error it is called again, some time later.
	Run(ctx context.Context, each func(*nflog.Packet)) error
	// Lost is the number of packets that were logged but never came.
	Lost() uint64
}

// Namer is a Backend that knows which rule the prefix of a logged packet
// names. The agent calls it as it calls the Backend.
type Namer interface {
	Origin(prefix string) (dataplane.Origin, bool)
}

const (
	// logRetry is the pause before a source of packets that has failed is tried again.
	logRetry = time.Minute
	// nameMany prefixes are remembered, waitMany packets wait for the name of their rule.
	nameMany = 10_000
	waitMany = 1_000
)

// packetLog writes lines of the packets that Log rules match. A goroutine of its own, run,
// does all of it, so that neither a slow reader of lines nor a slow transaction waits for
// the other. Another one, read, waits for packets.
//
// Rules have names that only the backend knows, and the backend is Run's alone: the
// packets of a prefix that is new wait until Run's goroutine has answered
// (Agent.nameRule); others pass them.
//
// Files: packetlog.go (from a packet to the name of its rule), logwindow.go (how many lines
// a rule and the node may write), logline.go (a line).
type packetLog struct {
	source Logs
	node   string
	clock  clock.Clock
	log    *slog.Logger // of the agent
	json   slog.Handler // of the lines
	text   slog.Handler
	// nameOf is node.nameOf.
	nameOf func(netip.Addr) string
	rate   atomic.Int64 // a rule's lines in logWindow
	all    atomic.Int64 // the node's
	asText atomic.Bool

	// questions go to Run, which alone may ask the backend.
	questions chan question

	packets, suppressed *prometheus.CounterVec
	lost                prometheus.CounterFunc

	// What follows is its own goroutine's.
	known   map[string]named
	waiting map[string][]*nflog.Packet
	order   []string // of the prefixes that wait
	waits   int      // packets
	windows map[string]*window
	whole   nodeWindow // nil window: none is open
	ends    []*window  // all of them, by their end
	// reported is how many lost packets have been logged, and reportedAt when.
	reported   uint64
	reportedAt time.Time
}

// question asks which rule a prefix names. The answer has room for it.
type question struct {
	prefix string
	answer chan<- answer
}

type answer struct {
	prefix string
	origin dataplane.Origin
	ok     bool
}

var logLabels = []string{"tier", "policy", "direction", "rule"}

// newPacketLog returns nil without a source. Lines go to the agent's own log if
// there is no writer. nameOf is node.nameOf.
func newPacketLog(o *Options, nameOf func(netip.Addr) string) *packetLog {
	if o.Logs == nil {
		return nil
	}
	l := &packetLog{
		source: o.Logs, node: o.Node, clock: o.Clock, log: o.Log, json: o.Log.Handler(), text: o.Log.Handler(),
		nameOf:    nameOf,
		questions: make(chan question),
		known:     map[string]named{}, waiting: map[string][]*nflog.Packet{}, windows: map[string]*window{},
	}
	if o.Lines != nil {
		l.json, l.text = slog.NewJSONHandler(o.Lines, nil), slog.NewTextHandler(o.Lines, nil)
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tierwall_" + name, Help: help}, logLabels)
	}
	l.packets = counter("logged_packets_total", "Packets that a Log rule has handed over to the agent.")
	l.suppressed = counter("logged_packets_suppressed_total", "Those of tierwall_logged_packets_total that have no line, because the rule or the node had as many as spec.logging allows.")
	l.lost = prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "tierwall_logged_packets_lost_total", Help: "Packets that Log rules have matched and that the kernel could not hand over, because they came faster than they were read.",
	}, func() float64 { return float64(o.Logs.Lost()) })
	l.configure(model.DefaultSettings())
	return l
}

// configure takes the settings of Tierwall/default. Safe for concurrent use.
func (l *packetLog) configure(s *model.Settings) {
	l.rate.Store(int64(s.Logging.RatePerRule))
	l.all.Store(int64(s.Logging.RatePerNode))
	l.asText.Store(s.Logging.Text)
}

// collectors are the metrics. Safe for concurrent use.
func (l *packetLog) collectors() []prometheus.Collector {
	return []prometheus.Collector{l.packets, l.suppressed, l.lost}
}

// forget drops the counters of an object that is gone, if it is a policy. Safe
// for concurrent use.
func (l *packetLog) forget(policy model.Ref) {
	if !blamable(policy.Kind) {
		return
	}
	of := prometheus.Labels{"policy": policy.String()}
	l.packets.DeletePartialMatch(of)
	l.suppressed.DeletePartialMatch(of)
}

// run writes lines until the context ends.
func (l *packetLog) run(ctx context.Context) {
	packets, read := make(chan *nflog.Packet), make(chan struct{})
	go func() {
		defer close(read)
		l.read(ctx, packets)
	}()
	answers := make(chan answer, 1)
	asked := false
	for {
		ask, q := chan<- question(nil), question{answer: answers}
		if len(l.order) > 0 && !asked {
			ask, q.prefix = l.questions, l.order[0]
		}
		timer, stop := l.timer()
		select {
		case <-ctx.Done():
			stop()
			<-read
			l.finish()
			return
		case p := <-packets:
			l.take(p)
		case ask <- q:
			asked = true
		case a := <-answers:
			asked = false
			l.answered(a)
		case <-timer:
			l.tick()
		}
		stop()
	}
}

// read hands packets over from the source, and goes on when that fails.
func (l *packetLog) read(ctx context.Context, packets chan<- *nflog.Packet) {
	failed := ""
	each := func(p *nflog.Packet) {
		if failed != "" {
			l.log.Info("packets of Log rules are read again")
			failed = ""
		}
		select {
		case packets <- p:
		case <-ctx.Done():
		}
	}
	for {
		err := l.source.Run(ctx, each)
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); text != failed {
			failed = text
			l.log.Warn("Log rules write no lines: their packets cannot be read; enforcement is not affected", "error", err, "tryingAgainEvery", logRetry)
		}
		pause := l.clock.NewTimer(logRetry)
		select {
		case <-pause.C():
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// take counts a packet, or puts it aside until its rule has a name.
func (l *packetLog) take(p *nflog.Packet) {
	if r, ok := l.known[p.Prefix]; ok {
		l.packet(p, r)
		return
	}
	if l.waits >= waitMany {
		l.packet(p, unnamed(p.Prefix))
		return
	}
	if l.waiting[p.Prefix] == nil {
		l.order = append(l.order, p.Prefix)
	}
	l.waiting[p.Prefix] = append(l.waiting[p.Prefix], p)
	l.waits++
}

// answered takes the answer to a question.
func (l *packetLog) answered(a answer) {
	r := unnamed(a.prefix)
	if a.ok {
		if len(l.known) >= nameMany {
			clear(l.known)
		}
		o := a.origin
		r = ruleNamed(o.Tier, o.Policy.String(), o.Direction.String(), o.Rule.String())
		r.tenant = o.Policy.Namespace != ""
		l.known[a.prefix] = r
	}
	l.release(a.prefix, r)
}

// release has the packets that waited for the name of a rule counted.
func (l *packetLog) release(prefix string, r named) {
	packets := l.waiting[prefix]
	delete(l.waiting, prefix)
	l.order = l.order[1:]
	l.waits -= len(packets)
	for _, p := range packets {
		l.packet(p, r)
	}
}

// finish writes the lines that are left.
func (l *packetLog) finish() {
	for len(l.order) > 0 {
		l.release(l.order[0], unnamed(l.order[0]))
	}
	for _, w := range l.ends {
		l.close(l.clock.Now(), w)
	}
}

// namesWanted is where Run takes questions of the packet log from: nowhere while
// the backend has no names, or old ones.
func (a *Agent) namesWanted() <-chan question {
	if a.logs == nil || !a.kernel.upToDate() {
		return nil
	}
	return a.logs.questions
}

// nameRule answers a question of the packet log. Run's goroutine calls it.
func (a *Agent) nameRule(q question) {
	out := answer{prefix: q.prefix}
	if n, ok := a.opts.Backend.(Namer); ok {
		out.origin, out.ok = n.Origin(q.prefix)
	}
	if _, _, guard := out.origin.Guard(); guard {
		out = answer{prefix: q.prefix} // guards log nothing
	}
	q.answer <- out
}
