package cluster

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/tierwall/tierwall/controllers/agent"
)

// Options of a Source. Config is needed.
type Options struct {
	// Config of the API server. Its content types do not matter.
	Config *rest.Config
	// Node is the agent's own node. A cluster that has no such node is reported.
	// Empty: none is looked for.
	Node string
	// Log; nil: none.
	Log *slog.Logger
}

// Source delivers what a cluster holds. See New and Run.
type Source struct {
	node    string
	log     *slog.Logger
	clients *clients
	gate    *gate
	// changed has room for one: something is to be looked at.
	changed chan struct{}

	// What follows is set by Run.
	status *status
	layers *layers

	mu sync.Mutex
	// defined are the names of the CustomResourceDefinitions of interest; nil:
	// not read yet.
	defined map[string]struct{}
	stale   bool // layers.derive has something to do

	// Run's alone.
	running map[*kind]*run
	custom  []*kind
	lazy    *kind // not running yet
	synced  bool
}

var _ agent.Source = (*Source)(nil)

// New returns a Source that does nothing until Run.
func New(o Options) (*Source, error) {
	if o.Config == nil {
		return nil, errors.New("cluster: a config is needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := newClients(o.Config)
	if err != nil {
		return nil, err
	}
	return &Source{node: o.Node, log: o.Log, clients: c, gate: newGate(), changed: make(chan struct{}, 1), running: map[*kind]*run{}, custom: customKinds()}, nil
}

// backoff is the pause of a kind whose requests the API server answers with an
// error. It is short, for until then nothing new is enforced, and random, for
// there are many agents. For a server that does not answer, see gate.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 500 * time.Millisecond, Cap: 5 * time.Second, Steps: 30, Factor: 2, Jitter: 1}
}

// Run implements agent.Source.
func (s *Source) Run(ctx context.Context, to agent.Sink) error {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.FromSlogHandler(quiet{s.log.Handler()})))
	s.status = newStatus(to.Report)
	s.layers = newLayers(to, s.log, func() { s.mark(&s.stale) })
	var watching sync.WaitGroup
	watching.Go(func() { s.watchDefinitions(ctx) })
	defer func() {
		cancel()
		watching.Wait()
		for _, r := range s.running {
			r.stop()
		}
	}()
	for _, k := range builtinKinds() {
		if k.lazy {
			s.lazy = k
			continue
		}
		s.start(ctx, k)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			s.step(ctx, to)
		}
	}
}

// mark sets a flag under the lock and has step look.
func (s *Source) mark(flag *bool) {
	s.mu.Lock()
	*flag = true
	s.mu.Unlock()
	s.look()
}

// look has step look at everything.
func (s *Source) look() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// step makes what runs and what is derived fit what there is.
func (s *Source) step(ctx context.Context, to agent.Sink) {
	s.mu.Lock()
	known := s.defined != nil
	want := maps.Clone(s.defined)
	stale := s.stale
	s.stale = false
	s.mu.Unlock()
	if known {
		for _, k := range s.custom {
			_, wanted := want[k.crd()]
			r := s.running[k]
			switch {
			case wanted && r == nil:
				s.log.Info("reading objects", "kind", k.String())
				s.start(ctx, k)
			case !wanted && r != nil:
				s.log.Info("definition is gone, and its objects with it", "kind", k.String())
				r.stop()
				r.store.clear()
				delete(s.running, k)
				stale = true
			}
		}
	}
	if s.lazy != nil && s.layers.servicesWanted() {
		s.start(ctx, s.lazy)
		s.lazy = nil
	}
	ready := known && !slices.ContainsFunc(slices.Collect(maps.Values(s.running)), func(r *run) bool { return !r.inSync() })
	// The last policy that was read may have been the one that asks for more.
	ready = ready && (s.lazy == nil || !s.layers.servicesWanted())
	if s.synced && stale || !s.synced && ready {
		s.layers.derive()
	}
	if !s.synced && ready {
		s.synced = true
		s.log.Info("all objects of the cluster read")
		to.Synced()
	}
	if s.synced && s.node != "" {
		var err error
		if !s.layers.hasNode(s.node) {
			err = errors.New("the cluster has no such node: no pod is local to this agent, and no policy is enforced on it")
		}
		s.status.set("Node/"+s.node, err)
	}
}

// start begins to read a kind.
func (s *Source) start(ctx context.Context, k *kind) {
	r := &run{source: s, kind: k, started: time.Now(), over: make(chan struct{})}
	ctx, r.cancel = context.WithCancel(ctx)
	var l layer = ownLayer{s.layers, k}
	if k.foreign {
		l = foreignLayer{s.layers, k, slices.Index(s.custom, k)}
	}
	r.store = newStore(k, l, r)
	s.running[k] = r
	read := &reader{from: s.clients.objects(k), gate: s.gate, store: r.store, observer: r, cached: k.many}
	go func() {
		defer close(r.over)
		s.reflect(ctx, k.String(), read)
		s.status.set(k.String(), nil)
	}()
}

// reflect fills a store until the context ends.
func (s *Source) reflect(ctx context.Context, name string, read *reader) {
	// The type is not checked: what is not of the kind takes no part.
	cache.NewReflectorWithOptions(read.listerWatcher(), nil, read.store, cache.ReflectorOptions{
		Name: name, TypeDescription: name, Backoff: backoff(),
	}).RunWithContext(ctx)
}

// watchDefinitions keeps track of the CustomResourceDefinitions of interest.
// Only their metadata is read.
func (s *Source) watchDefinitions(ctx context.Context) {
	interesting := map[string]bool{}
	for _, k := range s.custom {
		interesting[k.crd()] = true
	}
	d := &definitions{source: s, names: map[string]struct{}{}}
	st := newStore(&kind{gvr: crdResource, named: interesting}, d, d)
	s.reflect(ctx, crdResource.GroupResource().String(), &reader{from: s.clients.definitions(), gate: s.gate, store: st, observer: d})
}

// quiet turns what the reflectors log into debugging output: what is wrong is reported.
type quiet struct{ slog.Handler }

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, rec slog.Record) error {
	if !q.Handler.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	rec.Level = min(rec.Level, slog.LevelDebug)
	return q.Handler.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
