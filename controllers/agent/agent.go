package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/index"
)

// Watcher notices changes that other programs make to the kernel's rules; see dataplane/watch.
type Watcher interface {
	// Watch calls changed after each change of another program's until the context ends.
	Watch(ctx context.Context, changed func()) error
	// Own runs a transaction of the agent's, for which changed is not called.
	Own(write func() error) error
}

// Options of an Agent. Source and Backend are needed; of the others the zero
// value means the default that is named.
type Options struct {
	// Node is the agent's own node: its endpoints are the ones that are enforced
	// here. Empty: all endpoints are.
	Node string
	// Source of the objects.
	Source Source
	// Backend of the kernel. The agent makes one call at a time, but for those of a
	// dataplane.CounterReader.
	Backend dataplane.Backend
	// Conntrack is the kernel's table of connections; nil: established connections
	// are left alone.
	Conntrack conntrack.Table
	// Watcher of foreign changes; nil: they are found by Audit alone.
	Watcher Watcher
	// Links reads what the kernel reports of the node itself; nil: the node has the
	// addresses of its Node object, and where its pods are attached is not known.
	Links links.Reader
	// Reporter receives how the agent is doing; nil: nothing does.
	Reporter StatusReporter
	// Logs are the packets that Log rules match, which the Backend names if it is a
	// Namer; nil: nothing reads them.
	Logs Logs
	// Lines is where the lines of these packets go, in the format that the settings
	// say; nil: to Log.
	Lines io.Writer
	// Names is what rules by DNS name need; nil: such rules match nothing.
	Names *NamesOptions
	// Flows is what recording connections needs; nil: none are recorded.
	Flows *FlowsOptions
	// Boot is what the node enforces from its boot until the source is in sync; nil:
	// nothing is kept for it.
	Boot *Boot
	// Compiler's options.
	Compiler dataplane.Options
	// Clock; nil: the real one.
	Clock clock.Clock
	// Log; nil: none.
	Log *slog.Logger
	// Jitter returns a number of [0, 1); nil: math/rand/v2's.
	Jitter func() float64

	// Delay between a transaction and the next one, so that many changes in a row
	// have few transactions. A change that comes later than that is not held up.
	// Negative: none; default 2 ms.
	Delay time.Duration
	// MinBackoff and MaxBackoff bound the pause after a failed transaction, which
	// doubles with each failure in a row; defaults 100 ms and 30 s. MinBackoff is
	// also the least pause between two repairs of foreign changes.
	MinBackoff, MaxBackoff time.Duration
	// Audit is how often the kernel is compared with what it should hold; default
	// 5 min, negative: never.
	Audit time.Duration
	// SweepDelay is how long the sweep of connections waits after a change that
	// concerns the members of sets only, so that many such changes have one
	// sweep; default 1 s. Changes of policies sweep at once.
	SweepDelay time.Duration
	// Reconsider is how often objects that the kernel would not take are tried
	// again; default 5 min.
	Reconsider time.Duration
}

// Agent keeps a kernel equal to what a source says. See New and Run. It runs the loop, and
// its parts do the work; see node.
type Agent struct {
	*node
	queue    *queue
	intake   *intake
	kernel   *kernelWriter
	sweeper  *sweeper
	links    *linkFollower
	keeper   *keeper
	late     *lateness
	ledger   *ledger
	guards   *nodeGuards
	counters *counterReader
	progress *progress
	names    *nodeNames
	pace     pace
	resync   chan struct{} // of room 1: the kernel's rules may have been changed

	// What follows is Run's alone.
	sourceErrs []error
	lastTook   time.Time // when what was taken of the queue had last been dealt with
	lastResync time.Time
	auditAt    time.Time // zero: never
}

// New returns an Agent that does nothing until Run.
func New(o Options) (a *Agent, err error) {
	if o.Source == nil || o.Backend == nil {
		return nil, errors.New("agent: a source and a backend are needed")
	}
	fill := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	fill(&o.Delay, 2*time.Millisecond)
	fill(&o.MinBackoff, 100*time.Millisecond)
	fill(&o.MaxBackoff, 30*time.Second)
	fill(&o.Audit, 5*time.Minute)
	fill(&o.SweepDelay, time.Second)
	fill(&o.Reconsider, 5*time.Minute)
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	n := &node{opts: o, clock: o.Clock, log: o.Log, metrics: newMetrics(), health: &health{clock: o.Clock, message: "not started"}, comp: dataplane.NewCompiler(o.Compiler)}
	n.ix = index.New(index.Options{Local: n.local})
	n.logs = newPacketLog(&o, n.nameOf)
	a = assemble(n)
	if n.flows, err = newFlows(n, a.counters.denials); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return a, nil
}

// assemble makes the parts of an agent, and lets each know those that it works with.
func assemble(n *node) *Agent {
	a := &Agent{
		node: n, queue: newQueue(), late: newLateness(), ledger: newLedger(), sweeper: newSweeper(n),
		guards: &nodeGuards{node: n, answer: make(chan counters)}, counters: newCounterReader(n),
		progress: newProgress(), pace: newPace(), resync: make(chan struct{}, 1), names: newNodeNames(n),
	}
	a.intake = newIntake(n, a.queue, a.late, a.ledger)
	a.links = newLinkFollower(n, a.sweeper)
	a.keeper = &keeper{node: n, intake: a.intake}
	a.kernel = &kernelWriter{
		node: n, late: a.late, intake: a.intake, sweeper: a.sweeper, links: a.links, keeper: a.keeper, ledger: a.ledger, names: a.names,
		full: true,
	}
	return a
}

// Resync makes the agent compare the kernel with what it should hold, soon. Call it when
// another program has changed the rules. Safe for concurrent use; does not block.
func (a *Agent) Resync() {
	select {
	case a.resync <- struct{}{}:
	default:
	}
}
