package startup

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/startup/ghosts"
	"github.com/tierwall/tierwall/policy/model"
)

// defaultGrace is the time that a pod has to end whose object names none.
const defaultGrace = 30 * time.Second

// graves is what an Overlay knows of pods of this node whose object is gone, and of
// what shows whether they still run.
type graves struct {
	book *ghosts.Book
	// sandboxes that run, by ID, as far as the runtime reports them; listens is true
	// while it does.
	sandboxes map[string]Sandbox
	listens   bool
	// attached is what the kernel last listed of the addresses of local pods.
	attached map[netip.Addr]attachment
	// own are addresses of this node itself.
	own map[netip.Addr]struct{}
	// timer runs until the next ghost ends by time, at.
	timer clock.Timer
	at    time.Time

	// former are pods that the agent before this one has kept, until the source is in sync.
	former []ghosts.Pod
	// keeping: what is known is to be kept soon; failed is the error of the last time.
	keeping bool
	failed  string

	count  prometheus.GaugeFunc
	ended  *prometheus.CounterVec
	number int // of addresses that ghosts have, for count
}

// attachment is whether an interface leads to the address of a pod.
type attachment struct {
	pod model.Ref
	now bool
	// once: it did at some time.
	once bool
}

func newGraves(node string) graves {
	g := graves{
		book: ghosts.New(node), sandboxes: map[string]Sandbox{}, attached: map[netip.Addr]attachment{}, own: map[netip.Addr]struct{}{},
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierwall_agent_ghost_addresses_ended_total",
			Help: "Addresses of ghosts (pods whose object is gone and whose sandbox may still run) that are ghosts no more, by reason: stopped, unlinked, owned, expired.",
		}, []string{"reason"}),
	}
	for _, e := range ghosts.Ends {
		g.ended.WithLabelValues(string(e))
	}
	return g
}

// collectors are the metrics of ghosts.
func (g *graves) collectors() []prometheus.Collector {
	return []prometheus.Collector{g.count, g.ended}
}

func (o *Overlay) countGhosts() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return float64(o.graves.number)
}

// Describe implements prometheus.Collector.
func (o *Overlay) Describe(out chan<- *prometheus.Desc) {
	for _, c := range o.graves.collectors() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (o *Overlay) Collect(out chan<- prometheus.Metric) {
	for _, c := range o.graves.collectors() {
		c.Collect(out)
	}
}

// bury is called when the object of a pod is gone, before anything of the pod is
// forgotten: the pod may still run.
func (o *Overlay) bury(k key, p *pod) {
	if !p.local {
		return
	}
	g := ghosts.Pod{Namespace: k.namespace, Name: k.name, UID: string(p.UID), Grace: graceOf(p.Pod)}
	addrs := slices.Clone(o.knownAddrs(k, p))
	for id, s := range o.graves.sandboxes {
		if b := (&box{Sandbox: s}); b.of(p.Pod) {
			g.Sandbox, addrs = id, append(addrs, s.Addrs...)
		}
	}
	for _, a := range tidy(addrs) {
		at := o.graves.attached[a]
		if at.pod != podRef(k) {
			at = attachment{}
		}
		if at.once && !at.now || !o.haunts(k, p, a, at.now) {
			continue
		}
		g.Addrs = append(g.Addrs, a)
		if at.now {
			g.Linked = append(g.Linked, a)
		}
	}
	o.graves.book.Begin(g, o.opts.Clock.Now())
}

// Unseen counts the pods of this node of which nothing shows whether they run: neither
// the runtime nor an interface that leads to their address. If the object of one goes
// before it has ended, only time ends its ghost.
func (o *Overlay) Unseen() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, p := range o.pods {
		if p.local && !p.Spec.HostNetwork && o.unseen(k, p) {
			n++
		}
	}
	return n
}

func (o *Overlay) unseen(k key, p *pod) bool {
	for _, s := range o.graves.sandboxes {
		if b := (&box{Sandbox: s}); b.of(p.Pod) {
			return false
		}
	}
	return slices.ContainsFunc(o.knownAddrs(k, p), func(a netip.Addr) bool {
		at := o.graves.attached[a]
		return at.pod != podRef(k) || !at.now
	})
}

// haunts reports whether nothing else is known to have an address of a pod whose object
// is gone. A pod elsewhere does not count where an interface of this node leads to it.
func (o *Overlay) haunts(k key, p *pod, a netip.Addr, linked bool) bool {
	if _, own := o.graves.own[a]; own {
		return false
	}
	if other, taken := o.claims[a]; taken && other != k {
		return false
	}
	for other, q := range o.pods {
		if q != p && other != k && q.local && slices.Contains(q.status, a) {
			return false
		}
	}
	if o.kernel == nil {
		return true
	}
	switch who, node := o.kernel.Holder(a); {
	case who == (model.Ref{}), who == podRef(k):
		return true
	case who.Kind == model.KindNode:
		return false
	default:
		return linked && node != o.opts.Node
	}
}

// graceOf is the time that a pod has to end after its deletion.
func graceOf(p *corev1.Pod) time.Duration {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(min(*s, int64(ghosts.Longest/time.Second))) * time.Second
	}
	return defaultGrace
}

// adopt makes ghosts of sandboxes that run and are no known pod's: their objects have
// gone while no agent ran.
func (o *Overlay) adopt() {
	if !o.unknown.synced || !o.graves.listens {
		return
	}
	for id, s := range o.graves.sandboxes {
		k := s.key()
		if p := o.pods[k]; p != nil && (&box{Sandbox: s}).of(p.Pod) {
			continue
		}
		g := ghosts.Pod{Namespace: s.Namespace, Name: s.Name, UID: s.UID, Sandbox: id, Grace: ghosts.Longest}
		for _, a := range s.Addrs {
			if o.haunts(k, nil, a, o.graves.attached[a].now) {
				g.Addrs = append(g.Addrs, a)
			}
		}
		o.graves.book.Begin(g, o.opts.Clock.Now())
	}
}

// list takes the sandboxes that the runtime lists.
func (g *graves) list(list []Sandbox, now time.Time) {
	g.listens = true
	clear(g.sandboxes)
	all := make([]ghosts.Sandbox, 0, len(list))
	for _, s := range list {
		s = prepare(s)
		if s.Running && len(s.Addrs) > 0 {
			g.sandboxes[s.ID] = s
		}
		all = append(all, ghosts.Sandbox{ID: s.ID, UID: s.UID, Running: s.Running})
	}
	g.book.Running(all, now)
}

// Lost is called when the runtime does not report any more what becomes of sandboxes, until
// it calls Running again.
func (o *Overlay) Lost() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.graves.listens = false
	clear(o.graves.sandboxes)
	o.graves.book.Lost(o.opts.Clock.Now())
	o.deliver()
}

// owned notes that a pod or node has addresses: no ghost has them any more.
func (g *graves) owned(addrs []netip.Addr, here bool) {
	if g.book.Len() == 0 {
		return
	}
	for _, a := range addrs {
		g.book.Own(a, here)
	}
}

// settleGhosts has the agent follow what has become of ghosts.
func (o *Overlay) settleGhosts() {
	g := &o.graves
	upserts, deletes := g.book.Changes()
	for _, r := range deletes {
		o.delivery.remove(r)
	}
	for _, u := range upserts {
		o.delivery.upsert(u.Ref(), u)
	}
	for _, e := range g.book.Events() {
		if e.End == "" {
			o.opts.Log.Info("the object of a pod is gone, and the pod may still run: its addresses are denied until it has ended", "ghost", e.Ref.String(), "addresses", e.Addrs)
			continue
		}
		g.ended.WithLabelValues(string(e.End)).Add(float64(len(e.Addrs)))
		o.opts.Log.Log(context.Background(), slog.LevelInfo, "addresses of a pod without an object are free", "ghost", e.Ref.String(), "addresses", e.Addrs, "reason", string(e.End))
	}
	g.number = g.book.Len()
	if len(upserts)+len(deletes) > 0 {
		o.planKeep()
	}
	next := g.book.Next()
	if next.Equal(g.at) {
		return
	}
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if g.at = next; !next.IsZero() {
		g.timer = o.opts.Clock.AfterFunc(max(next.Sub(o.opts.Clock.Now()), 0), func() { go o.expire() }) // which asks for the time
	}
}

// expire ends the ghosts whose time is over.
func (o *Overlay) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.graves.at = time.Time{}
	o.graves.book.Expire(o.opts.Clock.Now())
	o.deliver()
}
