//go:build linux

package corpus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/integration/agentprocess"
)

// TestMain runs an agent in place of the tests if a test has asked for that.
func TestMain(m *testing.M) { agentprocess.Main(m, child()) }

// node is the agent's.
const node = "corpus"

// event is a line that the child writes.
type event struct {
	// Ready: how long it took from the start until the kernel was up to date.
	Ready time.Duration `json:",omitempty"`
	// What of the other tenant's is in the kernel: "policy/GENERATION" or "pod/NAME".
	What string `json:",omitempty"`
	// When it was delivered to the agent, and when it was in the kernel.
	Delivered, Enforced time.Time
	// Rounds are the transactions from one to the other.
	Rounds int
	// Usage answers "usage", Settled "settle".
	Usage   *usage `json:",omitempty"`
	Settled bool   `json:",omitempty"`
}

// usage of the child so far.
type usage struct {
	// Peak is the most memory that the kernel has counted for the process, in bytes.
	Peak uint64
	CPU  time.Duration
	// Rounds, and the longest of them.
	Rounds int
	Worst  time.Duration
}

// observer notes what becomes of the other tenant's changes.
type observer struct {
	mu      sync.Mutex
	out     *json.Encoder
	pending map[string]event // delivered, by What
	rounds  int
	worst   time.Duration
}

func (o *observer) delivered(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.pending[what]; !known {
		o.pending[what] = event{What: what, Delivered: time.Now(), Rounds: o.rounds}
	}
}

// enforced is called with o.mu held.
func (o *observer) enforced(what string) {
	e, waits := o.pending[what]
	if !waits {
		return
	}
	delete(o.pending, what)
	e.Enforced, e.Rounds = time.Now(), o.rounds-e.Rounds
	_ = o.out.Encode(e)
}

// Report implements agent.StatusReporter.
func (o *observer) Report(r *agent.Status) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.enforced(fmt.Sprint("policy/", r.Enforced[model.Ref{Kind: model.KindNetworkPolicy, Namespace: good, Name: "web"}]))
}

// watchedSource notes when the other tenant's objects are delivered.
type watchedSource struct {
	agent.Source
	o *observer
}

// Run implements agent.Source.
func (s *watchedSource) Run(ctx context.Context, to agent.Sink) error {
	return s.Source.Run(ctx, &watchedSink{to, s.o})
}

type watchedSink struct {
	agent.Sink
	o *observer
}

// Update implements agent.Sink.
func (s *watchedSink) Update(upserts []kruntime.Object, deletes []model.Ref) {
	for _, obj := range upserts {
		switch obj := obj.(type) {
		case *networkingv1.NetworkPolicy:
			if obj.Namespace == good {
				s.o.delivered(fmt.Sprint("policy/", obj.Generation))
			}
		case *corev1.Pod:
			if obj.Namespace == good && len(obj.Status.PodIPs) > 0 {
				s.o.delivered("pod/" + obj.Name)
			}
		}
	}
	s.Sink.Update(upserts, deletes)
}

// watchedKernel notes what is in the kernel.
type watchedKernel struct {
	*nftables.Backend
	o *observer
}

// Sync implements dataplane.Backend.
func (k *watchedKernel) Sync(ctx context.Context, s *dataplane.State) error {
	began := time.Now()
	err := k.Backend.Sync(ctx, s)
	k.o.round(began, err, func(done func(model.Ref)) {
		for _, e := range s.Compiled.Endpoints() {
			done(e.Ref)
		}
	})
	return err
}

// Apply implements dataplane.Backend.
func (k *watchedKernel) Apply(ctx context.Context, ch *dataplane.Change, s *dataplane.State) error {
	began := time.Now()
	err := k.Backend.Apply(ctx, ch, s)
	k.o.round(began, err, func(done func(model.Ref)) {
		for _, e := range ch.Endpoints {
			if e.After.Policy != nil {
				done(e.Ref)
			}
		}
	})
	return err
}

func (o *observer) round(began time.Time, err error, endpoints func(func(model.Ref))) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rounds++
	o.worst = max(o.worst, time.Since(began))
	if err == nil {
		endpoints(func(r model.Ref) {
			if r.Namespace == good {
				o.enforced("pod/" + r.Name)
			}
		})
	}
}

// child is an agent on an nftables of its own, which writes what happens, and answers the
// lines "usage" and "settle".
func child() agentprocess.Child {
	o := &observer{out: json.NewEncoder(os.Stdout), pending: map[string]event{}}
	return agentprocess.Child{
		Node: node,
		Agent: func(from agent.Source, log *slog.Logger) (*agent.Agent, error) {
			return newAgent(&watchedSource{from, o}, o, log)
		},
		Ready: func(took time.Duration) { o.write(event{Ready: took}) },
		Answer: func(ctx context.Context, a *agent.Agent, line string) error {
			switch line {
			case "usage":
				o.write(event{Usage: o.usage()})
			case "settle":
				if err := a.Settled(ctx, ""); err != nil {
					return err
				}
				o.write(event{Settled: true})
			}
			return nil
		},
	}
}

// childNetwork is the child's file descriptor of its network namespace, which outlives it.
const childNetwork = 3

// newNetwork returns a network namespace of its own, which is there until the file is closed.
func newNetwork() (*os.File, error) {
	made := make(chan error, 1)
	var f *os.File
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			f, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("a network namespace: %w", err)
	}
	return f, nil
}

// newAgent makes the agent on the thread that it is called on, in the child's network.
func newAgent(from agent.Source, o *observer, log *slog.Logger) (*agent.Agent, error) {
	if err := unix.Setns(childNetwork, unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("the network namespace: %w", err)
	}
	kernel, err := nftables.New(nftables.Options{})
	if err != nil {
		return nil, err
	}
	table, err := conntrack.New()
	if err != nil {
		return nil, err
	}
	return agent.New(agent.Options{Node: node, Source: from, Backend: &watchedKernel{kernel, o}, Conntrack: table, Reporter: o, Log: log})
}

func (o *observer) write(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.out.Encode(e)
}

func (o *observer) usage() *usage {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &usage{Rounds: o.rounds, Worst: o.worst, Peak: agentprocess.Memory("VmHWM"), CPU: agentprocess.CPU()}
}

// process is a child at work.
type process struct {
	*agentprocess.Process
	events chan event
	ready  time.Duration // how long it took; 0: it is not known yet
}

// startAgent starts a child in a network namespace.
func startAgent(kubeconfig string, network *os.File) (*process, error) {
	child, err := agentprocess.Start(kubeconfig, network)
	if err != nil {
		return nil, err
	}
	p := &process{Process: child, events: make(chan event, 1000)}
	go func() {
		defer close(p.events)
		for {
			var e event
			if p.Answers.Decode(&e) != nil {
				return
			}
			p.events <- e
		}
	}()
	return p, nil
}

// untilReady waits until a child is ready.
func (p *process) untilReady() error {
	if p.ready > 0 {
		return nil
	}
	_, err := p.wait(5*time.Minute, func(e event) bool { return e.Ready > 0 })
	return err
}

// wait returns the first event that is what is waited for.
func (p *process) wait(most time.Duration, want func(event) bool) (event, error) {
	for timeout := time.After(most); ; {
		select {
		case e, open := <-p.events:
			if !open {
				return event{}, fmt.Errorf("the agent has ended")
			}
			p.ready = max(p.ready, e.Ready)
			if want(e) {
				return e, nil
			}
		case <-timeout:
			return event{}, fmt.Errorf("nothing after %s", most)
		}
	}
}

// ask sends a line and waits for its answer.
func (p *process) ask(line string) (event, error) {
	if err := p.Ask(line); err != nil {
		return event{}, err
	}
	return p.wait(10*time.Minute, func(e event) bool { return e.Usage != nil || e.Settled })
}

// stop ends the child.
func (p *process) stop() error {
	err := p.Close()
	for range p.events { // until it has closed its output
	}
	if ended := p.Wait(); err == nil {
		err = ended
	}
	return err
}
