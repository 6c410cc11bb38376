package startup

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

// reportKind is what a source calls PodAddressReports.
const reportKind model.Kind = "PodAddressReport"

// Kernel is what an Overlay asks its node's agent, whose kernel it delivers to.
type Kernel interface {
	// Settled waits until the kernel holds what was delivered before the call of a
	// namespace and of cluster-wide objects.
	Settled(ctx context.Context, namespace string) error
	// Holder returns the pod or node that has an address, and its node; the zero Ref:
	// none that is known has it.
	Holder(addr netip.Addr) (model.Ref, string)
}

var _ Kernel = (*agent.Agent)(nil)

// Announcer announces to the other nodes which pods have just started on this one.
type Announcer interface {
	// Announce takes the pods, sorted, in place of those before. It does not block.
	Announce(pods []v1alpha1.StartedPod)
	// Announced waits until the pods that have been added before the call can be
	// read by all. The error is the context's, or why they cannot at the moment.
	Announced(ctx context.Context) error
}

var _ Announcer = (*ReportWriter)(nil)

// Options of an Overlay. Node, Source and Announcer are needed.
type Options struct {
	// Node is the agent's own node.
	Node string
	// Source of the objects, pods without addresses and PodAddressReports among them.
	Source agent.Source
	// Announcer of the pods of this node that have just started.
	Announcer Announcer
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

	mu       sync.Mutex
	delivery delivery
	kernel   Kernel // nil until Attach
	// pods are those of this node, and those of other nodes that have no address yet.
	pods  map[key]*pod
	boxes map[key]*box
	// reports are what other nodes announce, by node and pod.
	reports map[string]map[key]announcedPod
	// claims are the pods that have an address early.
	claims map[netip.Addr]key
	// changed is closed when a pod or sandbox of this node has changed.
	changed   chan struct{}
	announced []v1alpha1.StartedPod
	unknown   unknown
	graves    graves

	saving sync.Mutex // held while the Keeper is at work
}

var _ agent.Source = (*Overlay)(nil)

// New returns an Overlay that knows nothing until Run.
func New(o Options) (*Overlay, error) {
	if o.Node == "" || o.Source == nil || o.Announcer == nil {
		return nil, errors.New("startup: a node, a source and an announcer are needed")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	out := &Overlay{
		opts: o, pods: map[key]*pod{}, boxes: map[key]*box{}, reports: map[string]map[key]announcedPod{},
		claims: map[netip.Addr]key{}, changed: make(chan struct{}), graves: newGraves(o.Node),
	}
	out.graves.count = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tierwall_agent_ghost_addresses",
		Help: "Addresses of this node's ghosts: pods whose object is gone and whose sandbox may still run. They are denied.",
	}, out.countGhosts)
	return out, nil
}

// Attach names the agent that runs this source.
func (o *Overlay) Attach(k Kernel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kernel = k
}

// Run implements agent.Source.
func (o *Overlay) Run(ctx context.Context, to agent.Sink) error {
	o.mu.Lock()
	o.delivery.to = to
	o.recall()
	o.mu.Unlock()
	return o.opts.Source.Run(ctx, &podSink{to, o})
}

// localPodsChanged announces the pods of this node that have just started, if they have
// changed, and wakes those that wait for a pod (Started).
func (o *Overlay) localPodsChanged() {
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
		o.opts.Announcer.Announce(list)
	}
}

// deliver passes on to the agent what has changed.
func (o *Overlay) deliver() {
	o.settleGhosts()
	o.delivery.send()
}
