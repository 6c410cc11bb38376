package startup

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

// reportKind is what a source calls PodAddressReports.
const reportKind model.Kind = "PodAddressReport"

// Kernel is what the agent says of itself.
type Kernel interface {
	// Settled waits until the kernel holds what was delivered before the call of a
	// namespace and of cluster-wide objects.
	Settled(ctx context.Context, namespace string) error
	// Holder says who has an address, and on which node; the zero Ref: nobody.
	Holder(addr netip.Addr) (model.Ref, string)
}

var _ Kernel = (*agent.Agent)(nil)

// Herald tells the other nodes of pods that have just started.
type Herald interface {
	// Announce says which pods these are now, sorted. It does not block.
	Announce(pods []v1alpha1.StartedPod)
	// Announced waits until the pods that have been added before the call can be
	// read by all. The error is the context's, or why they cannot at the moment.
	Announced(ctx context.Context) error
}

var _ Herald = (*Announcer)(nil)

// Options of an Overlay. Node, Source and Herald are needed.
type Options struct {
	// Node is the agent's own node.
	Node string
	// Source of the objects, pods without addresses and PodAddressReports among them.
	Source agent.Source
	Herald Herald
	// Keeper of this node's pods, so that the next agent knows which of them have lost
	// their object; nil: nothing is kept.
	Keeper Keeper
	// Clock; nil: the real one.
	Clock clock.WithDelayedExecution
	// Log; nil: none.
	Log *slog.Logger
}

// Overlay is a source in which pods have their addresses early. See New.
type Overlay struct {
	opts Options

	mu     sync.Mutex
	to     agent.Sink // nil until Run
	kernel Kernel     // nil until Attach
	// pods are those of this node, and those of other nodes that have no address yet.
	pods  map[key]*pod
	boxes map[key]*box
	// reports are what other nodes announce, by node and pod.
	reports map[string]map[key]started
	// claims are the pods that have an address early.
	claims map[netip.Addr]key
	// changed is closed when a pod or sandbox of this node has changed.
	changed   chan struct{}
	announced []v1alpha1.StartedPod
	batch     []change
	unknown   unknown
	graves    graves

	saving sync.Mutex // held while the Keeper is at work
}

// pod is what the API server says of a pod.
type pod struct {
	*corev1.Pod
	local  bool
	status []netip.Addr
	// claims are the addresses that it has early.
	claims []netip.Addr
	// held are addresses of its status that it does not have yet; see hold.
	held []netip.Addr
}

// started is what another node announces of a pod.
type started struct {
	uid   string
	addrs []netip.Addr
}

// change is what goes on to the agent; a nil object is gone.
type change struct {
	ref    model.Ref
	object runtime.Object
}

var _ agent.Source = (*Overlay)(nil)

// New returns an Overlay that knows nothing until Run.
func New(o Options) (*Overlay, error) {
	if o.Node == "" || o.Source == nil || o.Herald == nil {
		return nil, errors.New("startup: a node, a source and a herald are needed")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	out := &Overlay{
		opts: o, pods: map[key]*pod{}, boxes: map[key]*box{}, reports: map[string]map[key]started{},
		claims: map[netip.Addr]key{}, changed: make(chan struct{}), graves: newGraves(o.Node),
	}
	out.graves.count = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tierwall_agent_ghost_addresses",
		Help: "Addresses of this node's ghosts: pods whose object is gone and whose sandbox may still run. They are denied.",
	}, out.countGhosts)
	return out, nil
}

// Attach says whose kernel it is: the agent that runs this source.
func (o *Overlay) Attach(k Kernel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kernel = k
}

// Run implements agent.Source.
func (o *Overlay) Run(ctx context.Context, to agent.Sink) error {
	o.mu.Lock()
	o.to = to
	o.recall()
	o.mu.Unlock()
	return o.opts.Source.Run(ctx, &filter{to, o})
}

// filter is the sink of the source below.
type filter struct {
	agent.Sink
	o *Overlay
}

// Synced implements agent.Sink.
func (f *filter) Synced() {
	f.o.mu.Lock()
	f.o.unknown.synced = true
	f.o.remember()
	f.o.adopt()
	f.o.planKeep()
	f.o.flush()
	f.o.mu.Unlock()
	f.Sink.Synced()
}

// Update implements agent.Sink.
func (f *filter) Update(upserts []runtime.Object, deletes []model.Ref) {
	o := f.o
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range deletes {
		switch r.Kind {
		case model.KindPod:
			o.removed(r)
		case reportKind:
			o.reported(r.Name, nil)
		default:
			o.unknown.removed(r, o.opts.Node)
			o.batch = append(o.batch, change{r, nil})
		}
	}
	for _, obj := range upserts {
		switch obj := obj.(type) {
		case *corev1.Pod:
			o.upserted(obj)
		case *v1alpha1.PodAddressReport:
			o.reported(obj.Name, obj.Pods)
		case *corev1.Node:
			o.nodeUpserted(obj)
			o.unknown.upserted(obj, o.opts.Node)
			o.batch = append(o.batch, change{object: obj})
		default:
			o.unknown.upserted(obj, o.opts.Node)
			o.batch = append(o.batch, change{object: obj})
		}
	}
	o.flush()
}

func podRef(k key) model.Ref {
	return model.Ref{Kind: model.KindPod, Namespace: k.namespace, Name: k.name}
}

// upserted takes a pod that is new or changed.
func (o *Overlay) upserted(obj *corev1.Pod) {
	k := key{obj.Namespace, obj.Name}
	local := obj.Spec.NodeName == o.opts.Node
	p := o.pods[k]
	if !local && p == nil && (obj.Status.PodIP != "" || len(obj.Status.PodIPs) > 0) && len(o.claims) == 0 {
		o.batch = append(o.batch, change{podRef(k), obj}) // almost all are like this
		if o.graves.book.Len() > 0 {
			o.owned(statusAddrs(obj), false)
		}
		return
	}
	status := statusAddrs(obj)
	if p == nil || p.UID != obj.UID {
		before := p
		p = &pod{}
		if before != nil {
			o.bury(k, before)
			p.claims = before.claims
		}
	}
	if local {
		o.hold(k, p, obj, status)
	}
	p.Pod, p.local, p.status = obj, local, status
	if local || len(status) == 0 {
		o.pods[k] = p
	} else {
		delete(o.pods, k)
	}
	o.resolve(k, p)
}

// removed takes a pod that is gone or has finished.
func (o *Overlay) removed(r model.Ref) {
	k := key{r.Namespace, r.Name}
	o.batch = append(o.batch, change{r, nil})
	p := o.pods[k]
	if p == nil {
		return
	}
	o.bury(k, p)
	delete(o.pods, k)
	if b := o.boxes[k]; b != nil && b.ended {
		delete(o.boxes, k)
	}
	o.release(k, p)
	if p.local {
		o.noteLocal()
	}
}

// reported takes what another node announces in place of what it did before.
func (o *Overlay) reported(node string, pods []v1alpha1.StartedPod) {
	if node == o.opts.Node {
		return // it knows better
	}
	before := o.reports[node]
	now := make(map[key]started, len(pods))
	for i := range pods {
		e := &pods[i]
		s := started{uid: e.UID}
		for _, ip := range e.IPs {
			s.addrs = appendAddr(s.addrs, ip)
		}
		if s.addrs = tidy(s.addrs); len(s.addrs) > 0 && len(s.addrs) <= v1alpha1.MaxPodAddresses {
			now[key{e.Namespace, e.Name}] = s
		}
	}
	if len(now) == 0 {
		delete(o.reports, node)
	} else {
		o.reports[node] = now
	}
	look := func(k key) {
		if p := o.pods[k]; p != nil && !p.local && p.Spec.NodeName == node {
			o.resolve(k, p)
		}
	}
	for k := range before {
		if _, still := now[k]; !still {
			look(k) // first of all, so that its addresses are free
		}
	}
	for k := range now {
		look(k)
	}
}

// word is what there is to say of a pod's addresses before anybody else's are looked at.
func (o *Overlay) word(k key, p *pod) []netip.Addr {
	if p.local {
		b := o.boxes[k]
		if b == nil || !b.of(p.Pod) {
			return p.status
		}
		b.meet(p.status)
		return addresses(p.status, b)
	}
	if len(p.status) > 0 {
		return p.status
	}
	if s, ok := o.reports[p.Spec.NodeName][k]; ok && s.uid == string(p.UID) {
		return s.addrs
	}
	return nil
}

// resolve says what addresses a pod has, and delivers it.
func (o *Overlay) resolve(k key, p *pod) {
	var has, early, displaced []netip.Addr
	for _, a := range o.word(k, p) {
		if slices.Contains(p.held, a) {
			continue
		}
		if slices.Contains(p.status, a) {
			if other, taken := o.claims[a]; taken && other != k && o.sameNode(other, p) {
				continue // its node has given it to another pod since
			}
			has = append(has, a)
			continue
		}
		if ok, from := o.claim(k, p, a); ok {
			has, early = append(has, a), append(early, a)
			if from {
				displaced = append(displaced, a)
			}
		}
	}
	o.owned(has, p.local)
	before := p.claims
	p.claims = early
	for _, a := range early {
		o.claims[a] = k
	}
	switch {
	case len(has) == 0:
		o.batch = append(o.batch, change{podRef(k), nil})
	case slices.Equal(has, p.status):
		o.batch = append(o.batch, change{podRef(k), p.Pod})
	default:
		o.batch = append(o.batch, change{podRef(k), withAddrs(p.Pod, has)})
	}
	for _, a := range before {
		if !slices.Contains(early, a) {
			o.unclaim(k, a)
		}
	}
	for _, a := range displaced {
		o.displace(k, a)
	}
	if p.local {
		o.noteLocal()
	}
}

func (o *Overlay) sameNode(other key, p *pod) bool {
	q := o.pods[other]
	return q != nil && q.Spec.NodeName == p.Spec.NodeName
}

// claim says whether a pod may have an address early, and whether it is another
// pod's of the same node by its status: that one's sandbox has stopped.
func (o *Overlay) claim(k key, p *pod, a netip.Addr) (ok, displaces bool) {
	if other, taken := o.claims[a]; taken && other != k && !o.sameNode(other, p) {
		return p.local, false
	}
	if o.kernel == nil {
		return p.local, false
	}
	switch who, node := o.kernel.Holder(a); {
	case who == (model.Ref{}), who == podRef(k):
		return true, false
	case who.Kind != model.KindPod:
		return false, false // a node's
	case node == p.Spec.NodeName:
		return true, true
	}
	return p.local, false // one's own runtime is believed
}

// displace has the pod that has an address by its status have it no more.
func (o *Overlay) displace(k key, a netip.Addr) {
	who, _ := o.kernel.Holder(a)
	other := key{who.Namespace, who.Name}
	if who.Kind != model.KindPod || other == k {
		return
	}
	if q := o.pods[other]; q != nil {
		if !slices.Contains(q.claims, a) {
			o.resolve(other, q)
		}
		return
	}
	o.batch = append(o.batch, change{who, nil})
}

// unclaim frees an address; a pod of this node that has it by its status has it again.
func (o *Overlay) unclaim(k key, a netip.Addr) {
	if o.claims[a] != k {
		return
	}
	delete(o.claims, a)
	for other, q := range o.pods {
		if other != k && q.local && slices.Contains(q.status, a) {
			o.resolve(other, q)
		}
	}
}

// release frees all that a pod has early.
func (o *Overlay) release(k key, p *pod) {
	claims := p.claims
	p.claims = nil
	for _, a := range claims {
		o.unclaim(k, a)
	}
}

// noteLocal announces what has changed, and wakes who waits.
func (o *Overlay) noteLocal() {
	o.planKeep()
	close(o.changed)
	o.changed = make(chan struct{})
	var list []v1alpha1.StartedPod
	for k, p := range o.pods {
		if !p.local || len(p.status) > 0 || len(p.claims) == 0 {
			continue
		}
		e := v1alpha1.StartedPod{Namespace: k.namespace, Name: k.name, UID: string(p.UID)}
		for _, a := range p.claims[:min(len(p.claims), v1alpha1.MaxPodAddresses)] {
			e.IPs = append(e.IPs, a.String())
		}
		list = append(list, e)
	}
	slices.SortFunc(list, compareStarted)
	list = list[:min(len(list), v1alpha1.MaxStartedPods)]
	if !slices.EqualFunc(list, o.announced, func(x, y v1alpha1.StartedPod) bool { return compareStarted(x, y) == 0 }) {
		o.announced = list
		o.opts.Herald.Announce(list)
	}
}

// flush hands on what has changed; of several changes of one object the last counts.
func (o *Overlay) flush() {
	o.settleGhosts()
	if o.to == nil || len(o.batch) == 0 {
		return
	}
	var upserts []runtime.Object
	var deletes []model.Ref
	last := map[model.Ref]int{}
	if len(o.batch) > 1 {
		for i, c := range o.batch {
			if c.ref != (model.Ref{}) {
				last[c.ref] = i
			}
		}
	}
	for i, c := range o.batch {
		if at, several := last[c.ref]; several && at != i {
			continue
		}
		if c.object == nil {
			deletes = append(deletes, c.ref)
		} else {
			upserts = append(upserts, c.object)
		}
	}
	o.batch = o.batch[:0]
	o.to.Update(upserts, deletes)
}
