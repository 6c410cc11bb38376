package nri

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/startup"
)

// DefaultSocket is where runtimes listen for plugins.
const DefaultSocket = api.DefaultSocketPath

// Name and index of the plugin. An administrator names it in the runtime's list
// of required plugins; the index is its place among others, of which it needs none.
const (
	Name  = "tierwall"
	index = "50"
)

// grace is the time that the runtime grants by default. A plugin that takes longer is
// disconnected; so this one answers after three quarters of it.
const grace = api.DefaultPluginRequestTimeout

// maxWait bounds the wait where the runtime grants more.
const maxWait = 10 * time.Second

// Pods takes what the runtime reports.
type Pods interface {
	// Running takes the sandboxes that there are, in place of those before.
	Running([]startup.Sandbox)
	// Started is called when one has started, and waits until its pod's policy is in force.
	Started(context.Context, startup.Sandbox) error
	// Stopped is called when one has stopped.
	Stopped(startup.Sandbox)
	// Lost is called when the runtime reports nothing any more, until Running is called again.
	Lost()
}

var _ Pods = (*startup.Overlay)(nil)

// Options of a Plugin. Pods is needed; of the others the zero value means the
// default that is named.
type Options struct {
	Pods Pods
	// Socket of the runtime; default DefaultSocket.
	Socket string
	// Require has a pod's start fail if its policy is not in force in time; the
	// kubelet tries again. Else the pod starts without.
	Require bool
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
}

// Plugin is a plugin of the runtime. See New and Run.
type Plugin struct {
	opts    Options
	metrics *metrics
	// mute: it has been logged that the runtime reports no addresses.
	mute atomic.Bool
}

// New returns a Plugin that does nothing until Run.
func New(o Options) (*Plugin, error) {
	if o.Pods == nil {
		return nil, errors.New("nri: no Pods to report to")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Socket = cmp.Or(o.Socket, DefaultSocket)
	return &Plugin{opts: o, metrics: newMetrics()}, nil
}

// Describe implements prometheus.Collector.
func (p *Plugin) Describe(out chan<- *prometheus.Desc) {
	for _, c := range p.metrics.all() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (p *Plugin) Collect(out chan<- prometheus.Metric) {
	for _, c := range p.metrics.all() {
		c.Collect(out)
	}
}

// handler answers the runtime over one connection. Its methods are those that the
// runtime's stub looks for.
type handler struct {
	*Plugin
	// configured is closed when the runtime has accepted the plugin.
	configured chan struct{}
	once       sync.Once
	runtime    string
}

// Configure notes that the runtime has accepted the plugin.
func (h *handler) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	h.once.Do(func() {
		h.runtime = runtime + " " + version
		close(h.configured)
	})
	return 0, nil
}

// Synchronize takes the sandboxes that there are.
func (h *handler) Synchronize(_ context.Context, pods []*api.PodSandbox, _ []*api.Container) ([]*api.ContainerUpdate, error) {
	list := make([]startup.Sandbox, 0, len(pods))
	for _, p := range pods {
		if s := sandboxOf(p); len(s.Addrs) > 0 {
			list = append(list, s)
		}
	}
	h.opts.Pods.Running(list)
	return nil, nil
}

// RunPodSandbox holds the start of a pod until its policy is in force, for as long
// as the runtime allows. Pods on the host's network have no addresses and do not wait.
func (h *handler) RunPodSandbox(ctx context.Context, pod *api.PodSandbox) error {
	s := sandboxOf(pod)
	if len(s.Addrs) == 0 {
		if ownNetwork(pod) && !h.mute.Swap(true) {
			h.opts.Log.Warn("the container runtime does not report the addresses of pods: none waits for its policy", "runtime", h.runtime)
		}
		return nil
	}
	start := h.opts.Clock.Now()
	within, cancel := context.WithTimeout(ctx, answerWithin(ctx))
	defer cancel()
	err := h.opts.Pods.Started(within, s)
	took := h.opts.Clock.Since(start)
	h.metrics.wait.Observe(took.Seconds())
	if err == nil {
		h.opts.Log.Debug("pod starts with its policy in force", "pod", s.Namespace+"/"+s.Name, "addresses", s.Addrs, "waited", took)
		return nil
	}
	missing := startup.MissingKernel
	var late *startup.Late
	if errors.As(err, &late) {
		missing = late.What
	}
	h.metrics.late.WithLabelValues(string(missing)).Inc()
	if h.opts.Require && missing != startup.MissingAnnouncement {
		h.opts.Log.Warn("pod does not start: its policy is not in force", "error", err, "waited", took)
		return err
	}
	h.opts.Log.Warn("pod starts before its policy is in force everywhere", "error", err, "waited", took)
	return nil
}

// StopPodSandbox takes the addresses of a sandbox away.
func (h *handler) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	h.opts.Pods.Stopped(sandboxOf(pod))
	return nil
}

// RemovePodSandbox does so of one that was never stopped, or whose stop was not seen.
func (h *handler) RemovePodSandbox(ctx context.Context, pod *api.PodSandbox) error {
	return h.StopPodSandbox(ctx, pod)
}

// sandboxOf is what counts of a sandbox. Its labels and annotations do not: who
// can talk to the runtime chooses them.
func sandboxOf(p *api.PodSandbox) startup.Sandbox {
	s := startup.Sandbox{ID: p.GetId(), Namespace: p.GetNamespace(), Name: p.GetName(), UID: p.GetUid(), Running: p.GetPid() != 0}
	for _, ip := range p.GetIps() {
		if a, err := netip.ParseAddr(ip); err == nil {
			s.Addrs = append(s.Addrs, a)
		}
	}
	return s
}

// ownNetwork reports whether a pod has a network namespace of its own.
func ownNetwork(p *api.PodSandbox) bool {
	return slices.ContainsFunc(p.GetLinux().GetNamespaces(), func(n *api.LinuxNamespace) bool { return n.GetType() == "network" })
}

// answerWithin is how long an answer to a request may take.
func answerWithin(ctx context.Context) time.Duration {
	granted := grace
	if at, ok := ctx.Deadline(); ok {
		granted = time.Until(at)
	}
	return min(granted*3/4, maxWait)
}
