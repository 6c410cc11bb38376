// Package reporter tells the cluster how the agent of one node is doing: it
// writes the node's NodeReport, from which the manager makes the status of
// policies and people see what is wrong on a node.
//
//	Agent.Run ──Report──→ newest Status ──Run──→ NodeReport of the node
//
// What it writes is bounded, in size (see content.go) and in number: something
// that people wait for (a policy's generation, a failure, an error) is written
// soon if nothing was written lately, and together with all else of the same
// window if something was; what no one waits for (sizes, durations) goes along
// with the next report, of which one comes every Refresh as a sign of life. All
// these times grow with the number of nodes, so that all agents of a cluster
// together stay below a fixed number of writes a second.
//
// It never holds up the agent. When the API server cannot be reached the
// newest report waits.
package reporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
)

// Spread is the time over which the agents of a cluster of so many nodes spread
// the reports that one event calls for: 100 a second.
func Spread(nodes int) time.Duration { return time.Duration(max(nodes, 1)) * 10 * time.Millisecond }

// Window is the least time between two reports of one agent in a cluster of so
// many nodes: 5 s, and with more than 250 nodes as much more as keeps all
// together below 50 a second.
func Window(nodes int) time.Duration { return max(5*time.Second, 2*Spread(nodes)) }

// Refresh is how long an agent with nothing new to say waits before it reports
// all the same: 60 s, and with more than 1,200 nodes as much more as keeps all
// together below 20 a second.
func Refresh(nodes int) time.Duration { return max(time.Minute, 5*Spread(nodes)) }

// writeTimeout is how long one request may take.
const writeTimeout = 15 * time.Second

// Options of a Reporter. Client and Node are needed.
type Options struct {
	// Client that writes NodeReports and reads the Node, past any cache.
	Client client.Client
	// Node is the agent's node, and the name of the report.
	Node string
	// Version of the agent, Dataplane what programs the kernel, for people.
	Version   string
	Dataplane v1alpha1.Dataplane
	// Unseen counts pods of which nothing shows whether they run; nil: not known.
	Unseen func() int
	// Window is the least time between two reports; default Window of the number of nodes.
	Window time.Duration
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
	// Jitter returns a number of [0, 1); nil: math/rand/v2's.
	Jitter func() float64
}

// Reporter writes the report of one node. See New, Report and Run.
type Reporter struct {
	opts   Options
	clock  clock.Clock
	log    *slog.Logger
	wake   chan struct{} // of room 1
	writes *prometheus.CounterVec

	mu     sync.Mutex
	status *agent.Status // the newest; nil: none yet
	took   durations

	// What follows is Run's alone.
	written *v1alpha1.NodeReport // as the server has it; nil: not known
	said    *agent.Status        // what written says; nil: nothing of this agent's
	lastTry time.Time
	dueAt   time.Time // of a report that is awaited; zero: none
	failing int
}

var _ agent.StatusReporter = (*Reporter)(nil)

// New returns a Reporter that writes nothing until Run.
func New(o Options) (*Reporter, error) {
	if o.Client == nil || o.Node == "" {
		return nil, errors.New("reporter: a client and the name of the node are needed")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	return &Reporter{
		opts: o, clock: o.Clock, log: o.Log, wake: make(chan struct{}, 1),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tierwall_agent_report_writes_total", Help: "Attempts to write the node's report, by result: success or error.",
		}, []string{"result"}),
	}, nil
}

// Report implements agent.StatusReporter.
func (r *Reporter) Report(s *agent.Status) {
	r.mu.Lock()
	r.status = s
	r.took.add(s.Time, s.Took)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Describe implements prometheus.Collector.
func (r *Reporter) Describe(out chan<- *prometheus.Desc) { r.writes.Describe(out) }

// Collect implements prometheus.Collector.
func (r *Reporter) Collect(out chan<- prometheus.Metric) { r.writes.Collect(out) }

// Run writes reports until the context ends. It returns nil: a report that
// cannot be written is tried again, and logged. It may be called once.
func (r *Reporter) Run(ctx context.Context) error {
	for {
		var timer clock.Timer
		var fired <-chan time.Time
		if at := r.plan(); !at.IsZero() {
			timer = r.clock.NewTimer(at.Sub(r.clock.Now()))
			fired = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-fired:
			r.write(ctx)
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// newest returns what there is to say; nil: nothing yet.
func (r *Reporter) newest() *agent.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// plan says when the next report is to be written; zero: not before the agent
// says something.
func (r *Reporter) plan() time.Time {
	s := r.newest()
	if s == nil {
		return time.Time{}
	}
	now := r.clock.Now()
	pause := cmp.Or(r.opts.Window, Window(s.Nodes)) << min(r.failing, 3)
	switch {
	case r.failing > 0:
		if r.dueAt.IsZero() {
			r.dueAt = r.lastTry.Add(pause/2 + r.jitter(pause/2))
		}
	case r.said == nil || awaited(r.said, s):
		if r.dueAt.IsZero() {
			r.dueAt = now.Add(r.jitter(Spread(s.Nodes)))
			if earliest := r.lastTry.Add(pause); !r.lastTry.IsZero() && r.dueAt.Before(earliest) {
				r.dueAt = earliest
			}
		}
	case !r.dueAt.IsZero():
		r.dueAt = time.Time{} // what was to be said is as it was before
	}
	if !r.dueAt.IsZero() {
		return r.dueAt
	}
	return r.lastTry.Add(Refresh(s.Nodes))
}

func (r *Reporter) jitter(d time.Duration) time.Duration {
	return time.Duration(r.opts.Jitter() * float64(d))
}

// write writes the newest report.
func (r *Reporter) write(ctx context.Context) {
	s := r.newest()
	r.dueAt, r.lastTry = time.Time{}, r.clock.Now()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := r.put(ctx, s)
	if err == nil {
		if r.failing > 0 {
			r.log.Info("report written again", "failures", r.failing)
		}
		r.said, r.failing = s, 0
		r.writes.WithLabelValues("success").Inc()
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	if r.failing++; r.failing == 1 {
		r.log.Warn("the node's report cannot be written; trying again", "error", fmt.Errorf("NodeReport/%s: %w", r.opts.Node, err))
	}
	r.written = nil
	r.writes.WithLabelValues("error").Inc()
}
