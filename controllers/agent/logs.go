package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
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
	// logWindow is the time in which a rule has its lines.
	logWindow = time.Second
	// logRetry is the pause before a source of packets that has failed is tried again.
	logRetry = time.Minute
	// lossPause is the least time between two lines that tell of lost packets.
	lossPause = 10 * time.Second
	// nameMany prefixes are remembered, waitMany packets wait for the name of their rule.
	nameMany = 10_000
	waitMany = 1_000
)

// packetLog writes lines of the packets that Log rules match. A goroutine of its
// own does all of it, so that neither a slow reader of lines nor a slow
// transaction waits for the other.
//
// Rules have names that only the backend knows, and the backend is Run's alone:
// the packets of a prefix that is new wait for Run to answer, others pass them.
type packetLog struct {
	source Logs
	node   string
	clock  clock.Clock
	log    *slog.Logger // of the agent
	json   slog.Handler // of the lines
	text   slog.Handler
	// whose says who has an address, or "".
	whose  func(netip.Addr) string
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
	told    uint64     // of the lost packets
	toldAt  time.Time
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

// named is a rule: its name as attributes of a line, and as labels of counters.
type named struct {
	attrs  []slog.Attr
	labels []string
	// tenant: the policy is in a namespace.
	tenant bool
}

// window is the time of a rule's lines, from its first packet on.
type window struct {
	prefix     string
	rule       named
	end        time.Time
	lines      int64
	suppressed int
}

// nodeWindow is the time of all lines of the node, from the first packet on. It bounds
// what many rules write together. Policies in namespaces may have half of the lines
// at most, so that they cannot silence the rules of global policies.
type nodeWindow struct {
	*window
	tenants int64 // lines of policies in namespaces
}

// take reports whether a rule may have a line, of at most limit, and counts it.
func (w *nodeWindow) take(r named, limit int64) bool {
	if w.lines >= limit || r.tenant && w.tenants >= (limit+1)/2 {
		w.suppressed++
		return false
	}
	w.lines++
	if r.tenant {
		w.tenants++
	}
	return true
}

var logLabels = []string{"tier", "policy", "direction", "rule"}

// newPacketLog returns nil without a source. Lines go to the agent's own log if
// there is no writer. whose says who has an address, or "".
func newPacketLog(o *Options, whose func(netip.Addr) string) *packetLog {
	if o.Logs == nil {
		return nil
	}
	l := &packetLog{
		source: o.Logs, node: o.Node, clock: o.Clock, log: o.Log, json: o.Log.Handler(), text: o.Log.Handler(),
		whose:     whose,
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

// configure takes what Tierwall/default says. Safe for concurrent use.
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
			l.log.Warn("Log rules write no lines; all else goes on", "error", err, "tryingAgainEvery", logRetry)
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

// answered takes what Run says of a prefix.
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

func ruleNamed(tier, policy, direction, rule string) named {
	return named{
		attrs: []slog.Attr{
			slog.String("tier", tier), slog.String("policy", policy), slog.String("direction", direction),
			slog.String("rule", rule), slog.String("action", model.Log.String()),
		},
		labels: []string{tier, policy, direction, rule},
	}
}

// unnamed is for a prefix that the backend does not know any more: its rule has
// gone since. The line has the prefix, which says of the rule what fits in.
func unnamed(prefix string) named {
	_, text, _ := strings.Cut(prefix, " ")
	r := ruleNamed("", "unknown", "", "")
	r.attrs = []slog.Attr{slog.String("logPrefix", text), slog.String("action", model.Log.String())}
	return r
}

// packet counts a packet, and writes its line if the rule and the node have one left.
func (l *packetLog) packet(p *nflog.Packet, r named) {
	l.packets.WithLabelValues(r.labels...).Inc()
	now := l.clock.Now()
	if len(l.ends) > 0 && !l.ends[0].end.After(now) {
		l.tick()
	}
	w := l.windows[p.Prefix]
	if w == nil {
		w = &window{prefix: p.Prefix, rule: r, end: now.Add(logWindow)}
		l.windows[p.Prefix] = w
		l.ends = append(l.ends, w)
	}
	if w.lines >= l.rate.Load() {
		w.suppressed++
		l.suppressed.WithLabelValues(r.labels...).Inc()
		return
	}
	if l.whole.window == nil {
		l.whole = nodeWindow{window: &window{end: now.Add(logWindow)}}
		l.ends = append(l.ends, l.whole.window)
	}
	if !l.whole.take(r, l.all.Load()) {
		l.suppressed.WithLabelValues(r.labels...).Inc()
		return
	}
	w.lines++
	l.line(now, "packet", l.describe(p, r))
}

// describe lists a line's attributes in a fixed order; what a packet does not
// have is left out.
func (l *packetLog) describe(p *nflog.Packet, r named) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 20), r.attrs...)
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	port := func(key string, n uint16) {
		if p.Protocol.HasPorts() && !p.Fragment {
			attrs = append(attrs, slog.Int(key, int(n)))
		}
	}
	if p.Src.IsValid() {
		text("protocol", p.Protocol.String())
		text("source", p.Src.String())
		text("sourceName", l.whose(p.Src))
		port("sourcePort", p.SrcPort)
		text("destination", p.Dst.String())
		text("destinationName", l.whose(p.Dst))
		port("destinationPort", p.DstPort)
	}
	if p.HasICMP {
		attrs = append(attrs, slog.Int("icmpType", int(p.ICMPType)), slog.Int("icmpCode", int(p.ICMPCode)))
	}
	if p.Fragment {
		attrs = append(attrs, slog.Bool("fragment", true))
	}
	text("hook", p.Hook.String())
	text("in", p.In)
	text("out", p.Out)
	return append(attrs, slog.Int("length", p.Length))
}

// line writes a line.
func (l *packetLog) line(now time.Time, message string, attrs []slog.Attr) {
	h := l.json
	if l.asText.Load() {
		h = l.text
	}
	rec := slog.NewRecord(now, slog.LevelInfo, message, 0)
	if l.node != "" {
		rec.AddAttrs(slog.String("node", l.node))
	}
	rec.AddAttrs(attrs...)
	_ = h.Handle(context.Background(), rec) // there is no place to complain of it
}

// tick ends what is over.
func (l *packetLog) tick() {
	now := l.clock.Now()
	for len(l.ends) > 0 && !l.ends[0].end.After(now) {
		w := l.ends[0]
		l.ends = l.ends[1:]
		if w == l.whole.window {
			l.whole = nodeWindow{}
		} else {
			delete(l.windows, w.prefix)
		}
		l.close(now, w)
	}
	if lost := l.source.Lost(); lost > l.told && now.Sub(l.toldAt) >= lossPause {
		l.log.Warn("packets of Log rules came faster than they are read", "lost", lost-l.told)
		l.told, l.toldAt = lost, now
	}
}

// close reports how many lines were left out. A rate of 0 is no line at all.
func (l *packetLog) close(now time.Time, w *window) {
	if w.suppressed == 0 || w.lines == 0 {
		return
	}
	attrs := append(append([]slog.Attr{}, w.rule.attrs...), slog.Int("suppressed", w.suppressed))
	text := fmt.Sprintf("%d more suppressed", w.suppressed)
	if w.rule.labels == nil {
		text += " by spec.logging.ratePerNode"
	}
	l.line(now, text, attrs)
}

// timer fires when the next window ends.
func (l *packetLog) timer() (fired <-chan time.Time, stop func()) {
	if len(l.ends) == 0 {
		return nil, func() {}
	}
	t := l.clock.NewTimer(l.ends[0].end.Sub(l.clock.Now()))
	return t.C(), func() { t.Stop() }
}

// finish writes what there is left to say.
func (l *packetLog) finish() {
	for len(l.order) > 0 {
		l.release(l.order[0], unnamed(l.order[0]))
	}
	for _, w := range l.ends {
		l.close(l.clock.Now(), w)
	}
}

// nameOf says whose an address is: a pod's, a node's, a host endpoint's, or
// nobody's that is known: "". Safe for concurrent use.
func (a *Agent) nameOf(addr netip.Addr) string {
	a.ixMu.RLock()
	defer a.ixMu.RUnlock()
	owner := a.ix.Owner(addr)
	if n := a.ix.NodeOf(addr); n != nil && owner.Kind != model.KindPod {
		return n.Key().String()
	}
	if owner == (model.Ref{}) {
		return ""
	}
	return owner.String()
}

// namesWanted is where Run takes questions of the packet log from: nowhere while
// the backend has no names, or old ones.
func (a *Agent) namesWanted() <-chan question {
	if a.logs == nil || !a.synced || a.dirty {
		return nil
	}
	return a.logs.questions
}

// nameRule answers a question of the packet log; it is Run's.
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
