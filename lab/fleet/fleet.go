// Package fleet runs Tierwall's agent on every node of a lab: the agent's own
// code, each in the namespace of its node, fed from memory in the place of a
// cluster. Policy tests with packets, the demo and the benchmarks use it.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/agent"
	keeper "github.com/tierwall/tierwall/controllers/agent/answers"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/dataplane/nflog"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/answers"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Fleet is the running agents of a lab.
type Fleet struct {
	lab    *lab.Lab
	cancel context.CancelFunc
	done   sync.WaitGroup
	agents []*member

	mu  sync.Mutex
	err error // of the first agent that ended by itself
}

// member is one node's agent, and the source that it is fed from.
type member struct {
	node  string
	agent *agent.Agent
	feed  feed
	// kernel is the agent's backend, table its connections, links the node's own.
	kernel shared
	table  *conntrack.Kernel
	links  *links.Kernel
	logs   *nflog.Kernel // nil: Log rules write no lines
}

// Options of a Fleet.
type Options struct {
	// Log; nil: none.
	Log *slog.Logger
	// Lines of the packets that Log rules match, of all nodes; nil: none.
	Lines io.Writer
	// Backend makes the backend of a node's agent, on a thread in the node's
	// namespace; nil: the nftables backend.
	Backend func() (Kernel, error)
	// Tunnels are reported as the nodes' beside those that they have: the kernel at
	// hand may lack devices of the kind.
	Tunnels []model.Tunnel
	// Answers are DNS answers that the agents know from the beginning.
	Answers []answers.Answer
	// Change changes the options of an agent before it is made, and returns a function that
	// is called with the agent, or nil. If Change is nil, the options stay as they are.
	Change func(*agent.Options) (made func(*agent.Agent), err error)
}

// tunnelled reports tunnels beside those of the kernel.
type tunnelled struct {
	links.Reader
	more []model.Tunnel
}

// Read implements links.Reader.
func (t tunnelled) Read(pods links.Pods) (*model.Links, error) {
	l, err := t.Reader.Read(pods)
	if err == nil {
		l.Tunnels = append(slices.Clone(l.Tunnels), t.more...)
	}
	return l, err
}

// Kernel is a backend that knows its log prefixes.
type Kernel interface {
	dataplane.Backend
	dataplane.Barrer
	agent.Namer
}

func newNFTables() (Kernel, error) { return nftables.New(nftables.Options{}) }

// Start runs an agent in the namespace of each node and returns when all
// kernels hold what the objects say. The caller stops it.
func Start(ctx context.Context, l *lab.Lab, nodes []string, objects []runtime.Object, o Options) (*Fleet, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &Fleet{lab: l, cancel: cancel}
	objects = placed(objects)
	for _, node := range nodes {
		m := &member{node: node, feed: feed{first: objects, sinks: make(chan agent.Sink, 1)}}
		started := make(chan error, 1)
		f.done.Go(func() {
			// The agent calls its backend from this goroutine, which the lab has
			// bound to a thread in the node's namespace.
			err := l.Do(node, func() error { return m.run(ctx, o, started) })
			f.ended(node, err)
		})
		if err := <-started; err != nil {
			return nil, errors.Join(fmt.Errorf("node %s: %w", node, err), f.Stop())
		}
		f.agents = append(f.agents, m)
	}
	if err := f.wait(ctx); err != nil {
		return nil, errors.Join(err, f.Stop())
	}
	return f, nil
}

func (m *member) run(ctx context.Context, o Options, started chan<- error) error {
	if err := m.open(o); err != nil {
		started <- err
		return nil
	}
	defer m.table.Close()
	defer m.links.Close()
	if m.logs != nil {
		defer func() { _ = m.logs.Close() }()
	}
	started <- nil
	return m.agent.Run(ctx)
}

// open makes the agent; on the thread that is in the node's namespace.
func (m *member) open(o Options) error {
	open := o.Backend
	if open == nil {
		open = newNFTables
	}
	backend, err := open()
	if err != nil {
		return err
	}
	if m.table, err = conntrack.New(); err != nil {
		return err
	}
	if m.links, err = links.New(); err != nil {
		return err
	}
	m.kernel.to = backend
	options := agent.Options{Node: m.node, Source: &m.feed, Backend: &m.kernel, Conntrack: m.table, Links: m.links, Log: o.Log}
	if len(o.Tunnels) > 0 {
		options.Links = tunnelled{m.links, o.Tunnels}
	}
	if len(o.Answers) > 0 {
		options.Names = &agent.NamesOptions{Open: func() (keeper.Options, error) { return keeper.Options{Known: known(o.Answers)}, nil }}
	}
	if o.Lines != nil {
		if m.logs, err = nflog.New(nftables.DefaultLogGroup, nil); err != nil {
			return err
		}
		options.Logs, options.Lines = m.logs, o.Lines
	}
	made := func(*agent.Agent) {}
	if o.Change != nil {
		change, err := o.Change(&options)
		if err != nil {
			return err
		}
		if change != nil {
			made = change
		}
	}
	if m.agent, err = agent.New(options); err != nil {
		return err
	}
	made(m.agent)
	return nil
}

// known is what an agent knows that has seen answers, for longer than a lab is there.
func known(list []answers.Answer) (out []names.Known) {
	now := time.Now()
	for _, a := range list {
		for _, name := range a.Names {
			for _, addr := range a.Addrs {
				out = append(out, names.Known{Name: name, Addr: addr, Since: now, Until: now.Add(24 * time.Hour)})
			}
		}
	}
	return out
}

func (f *Fleet) ended(node string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("agent of node %s: %w", node, err)
	}
}

// wait returns when all agents are ready.
func (f *Fleet) wait(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		ready := true
		for _, m := range f.agents {
			ready = ready && m.agent.Ready() == nil
		}
		f.mu.Lock()
		err := f.err
		f.mu.Unlock()
		if ready || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// placed puts pods without a node where the lab has put them.
func placed(objects []runtime.Object) []runtime.Object {
	out := slices.Clone(objects)
	for i, o := range out {
		if p, ok := o.(*corev1.Pod); ok && p.Spec.NodeName == "" {
			p = p.DeepCopy()
			p.Spec.NodeName = lab.DefaultNode
			out[i] = p
		}
	}
	return out
}

// Update tells all agents of changed objects, as a cluster would. It does not
// wait for their kernels.
func (f *Fleet) Update(upserts []runtime.Object, deletes []model.Ref) {
	upserts = placed(upserts)
	for _, m := range f.agents {
		m.feed.sink().Update(upserts, deletes)
	}
}

// Counters returns what a node's kernel has counted, by rule.
func (f *Fleet) Counters(ctx context.Context, node string) (map[dataplane.Origin]dataplane.Count, error) {
	for _, m := range f.agents {
		if m.node == node {
			var counts map[dataplane.Origin]dataplane.Count
			err := f.lab.Do(node, func() (err error) {
				counts, err = m.kernel.Counters(ctx)
				return err
			})
			return counts, err
		}
	}
	return nil, fmt.Errorf("node %s has no agent", node)
}

// Collect returns the metrics of a node's agent, those that the kernel counts included.
func (f *Fleet) Collect(node string) (prometheus.Gatherer, error) {
	for _, m := range f.agents {
		if m.node == node {
			r := prometheus.NewRegistry()
			err := r.Register(m.agent)
			return r, err
		}
	}
	return nil, fmt.Errorf("node %s has no agent", node)
}

// Stop ends all agents; the kernels keep their rules. It returns the error of an
// agent that had ended by itself.
func (f *Fleet) Stop() error {
	f.cancel()
	f.done.Wait()
	return f.err
}

// feed is a Source in memory.
type feed struct {
	first []runtime.Object
	sinks chan agent.Sink
	once  sync.Once
	to    agent.Sink
}

var _ agent.Source = (*feed)(nil)

// Run implements agent.Source.
func (f *feed) Run(ctx context.Context, to agent.Sink) error {
	to.Update(f.first, nil)
	to.Synced()
	f.sinks <- to
	<-ctx.Done()
	return nil
}

// sink waits until the agent has asked for objects.
func (f *feed) sink() agent.Sink {
	f.once.Do(func() { f.to = <-f.sinks })
	return f.to
}

// shared lets others than the agent ask a backend for its counters. They do so
// from a thread in the same namespace.
type shared struct {
	mu sync.Mutex
	to Kernel
}

var (
	_ dataplane.Backend = (*shared)(nil)
	_ dataplane.Barrer  = (*shared)(nil)
	_ agent.Namer       = (*shared)(nil)
)

// Bar implements dataplane.Barrer.
func (s *shared) Bar(ctx context.Context, flows []model.Flow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Bar(ctx, flows)
}

// Unbar implements dataplane.Barrer.
func (s *shared) Unbar(ctx context.Context, flows []model.Flow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Unbar(ctx, flows)
}

// Origin implements agent.Namer.
func (s *shared) Origin(prefix string) (dataplane.Origin, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Origin(prefix)
}

// Sync implements dataplane.Backend.
func (s *shared) Sync(ctx context.Context, st *dataplane.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Sync(ctx, st)
}

// Apply implements dataplane.Backend.
func (s *shared) Apply(ctx context.Context, ch *dataplane.Change, st *dataplane.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Apply(ctx, ch, st)
}

// Counters implements dataplane.Backend.
func (s *shared) Counters(ctx context.Context) (map[dataplane.Origin]dataplane.Count, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Counters(ctx)
}

// Cleanup implements dataplane.Backend.
func (s *shared) Cleanup(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Cleanup(ctx)
}
