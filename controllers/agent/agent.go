package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/dataplane/links"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Watcher notices when somebody else changes the kernel's rules; see dataplane/watch.
type Watcher interface {
	// Watch calls changed after each change of somebody else's until the context ends.
	Watch(ctx context.Context, changed func()) error
	// Own runs a transaction of the agent's, which is no news.
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
	// Reporter is told how the agent is doing; nil: nobody is.
	Reporter StatusReporter
	// Logs are the packets that Log rules match, which the Backend names if it is a
	// Namer; nil: nobody reads them.
	Logs Logs
	// Lines is where the lines of these packets go, in the format that the settings
	// say; nil: to Log.
	Lines io.Writer
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

// Agent keeps a kernel equal to what a source says. See New and Run.
type Agent struct {
	opts    Options
	clock   clock.Clock
	log     *slog.Logger
	queue   *queue
	resync  chan struct{} // of room 1
	metrics *metrics
	health  health
	logs    *packetLog // nil: without Logs

	// ask has Run fetch counters, of a backend that is Run's alone (else see
	// dataplane.CounterReader); ended is closed when Run is over.
	ask      chan chan<- counters
	counted  atomic.Pointer[counters] // the last answer; nil: none yet
	started  atomic.Bool
	ended    chan struct{}
	progress *progress

	// ix is Run's, which changes it under ixMu; others may ask it under ixMu who
	// has an address.
	ixMu sync.RWMutex
	ix   *index.Index

	// What follows is Run's alone.
	comp *dataplane.Compiler
	// objects are the converted objects that could be to blame for a failure, as
	// the source wants them.
	objects map[model.Ref]model.Object
	// suspects have changed since the kernel last took all.
	suspects map[model.Ref]suspect
	held     map[model.Ref]error // objects that the kernel did not take, and why
	problems map[model.Ref]int
	foreign  foreign
	clashes  map[netip.Addr]clash
	links    nodeLinks
	guards   nodeGuards
	ghosts   ghosts
	budgets  budgets
	// What a Status says beside.
	ledger      ledger
	nodes       map[string]struct{}
	sourceErrs  []error
	lagging     error // why the kernel is not up to date; nil: it is
	lastSuccess time.Time
	took        time.Duration

	synced   bool
	full     bool // the next transaction is a Sync
	dirty    bool // the kernel lags behind
	failures int
	// Whose connections are swept after the next transaction, and when it is time.
	sweepSoon, sweepLater sweepState
	// listing is the sweep at work; nil: none is. listers are its goroutine.
	listing *listing
	listers sync.WaitGroup
	// keeping is when what is enforced after the next boot is written.
	keeping keeping
	// cuts are what sweeps have cut, and what stays so.
	cuts cuts

	// lastTook is when what was taken of the queue had last been dealt with.
	lastTook time.Time
	pace     pace
	late     lateness
	// fresh: the kernel held nothing of Tierwall's when the agent started, but for what was
	// kept for the boot. Where that is not known it is false.
	fresh bool
	// Deadlines; zero: none.
	applyAt, sweepAt, auditAt, reconsiderAt time.Time
	lastTry, lastResync                     time.Time
}

// New returns an Agent that does nothing until Run.
func New(o Options) (*Agent, error) {
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
	a := &Agent{
		opts: o, clock: o.Clock, log: o.Log, queue: newQueue(), resync: make(chan struct{}, 1),
		ask: make(chan chan<- counters), ended: make(chan struct{}), progress: newProgress(),
		comp:    dataplane.NewCompiler(o.Compiler),
		objects: map[model.Ref]model.Object{}, suspects: map[model.Ref]suspect{}, held: map[model.Ref]error{},
		problems: map[model.Ref]int{}, cuts: cuts{back: map[model.Flow]cutFlow{}}, ledger: newLedger(), nodes: map[string]struct{}{}, foreign: newForeign(), clashes: map[netip.Addr]clash{}, links: newNodeLinks(), full: true, pace: newPace(), budgets: newBudgets(), late: newLateness(), guards: nodeGuards{read: make(chan counters)},
	}
	a.ix = index.New(index.Options{Local: a.local})
	a.metrics = newMetrics()
	a.logs = newPacketLog(&o, a.nameOf)
	a.health.clock, a.health.message = o.Clock, "not started"
	return a, nil
}

func (a *Agent) local(node string) bool { return a.opts.Node == "" || node == a.opts.Node }

// Resync makes the agent compare the kernel with what it should hold, soon.
// Backends call it when somebody else has changed the rules. Safe for
// concurrent use; does not block.
func (a *Agent) Resync() {
	select {
	case a.resync <- struct{}{}:
	default:
	}
}

// Run works until the context ends; then it returns nil, and the kernel keeps
// its rules. An error is the source's. It may be called once.
//
// All calls of the backend come from Run's goroutine: to have an agent in
// another network namespace, lock that goroutine to a thread that is in it.
func (a *Agent) Run(ctx context.Context) error {
	if a.started.Swap(true) {
		return errors.New("agent: it has run already")
	}
	defer close(a.ended)
	ctx, cancel := context.WithCancel(ctx)
	a.restoreKept(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.opts.Source.Run(ctx, a.queue) }()
	var watching sync.WaitGroup
	defer func() {
		cancel()
		watching.Wait()
		a.listers.Wait()
		a.keepLast()
		a.health.set(false, "stopped")
	}()
	if a.opts.Watcher != nil {
		watching.Go(func() {
			if err := a.opts.Watcher.Watch(ctx, a.Resync); err != nil {
				a.log.Error("foreign changes are not noticed any more", "error", err, "compareEvery", a.opts.Audit)
			}
		})
	}
	if a.opts.Links != nil {
		watching.Go(func() { a.followLinks(ctx) })
	}
	if a.logs != nil {
		watching.Go(func() { a.logs.run(ctx) })
	}
	a.health.set(false, "waiting for the source to be in sync")
	a.log.Info("agent started", "node", a.opts.Node)
	if a.opts.Audit > 0 {
		a.auditAt = a.clock.Now().Add(a.opts.Audit)
	}
	for {
		if a.work(ctx) {
			continue
		}
		timer, stop := a.timer()
		select {
		case <-ctx.Done():
			stop()
			if err := <-ended; err != nil {
				a.log.Warn("the source did not end well", "error", err)
			}
			a.log.Info("agent stopped; the kernel keeps its rules")
			return nil
		case err := <-ended:
			stop()
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("ended unasked")
			}
			return fmt.Errorf("source: %w", err)
		case <-a.queue.wake:
			stop()
			a.hurry(max(a.lastTook.Add(a.opts.Delay).Sub(a.clock.Now()), 0))
		case <-a.resync:
			stop()
			a.log.Info("the kernel's rules were changed by somebody else, or may have been")
			a.metrics.resyncs.Inc()
			a.full, a.dirty = true, true
			if a.opts.Conntrack != nil {
				a.sweepSoon.addAll() // of what got through meanwhile
			}
			// Two that undo each other's work must not do so without pause.
			now := a.clock.Now()
			wait := max(a.lastResync.Add(a.opts.MinBackoff).Sub(now), 0)
			a.lastResync = now.Add(wait)
			a.hurry(wait)
		case to := <-a.ask:
			stop()
			c, err := a.opts.Backend.Counters(ctx)
			to <- counters{c, err}
		case c := <-a.guards.read:
			stop()
			a.guards.reading = false
			a.guardsRead(c)
			a.tell(ctx)
		case <-a.listed():
			stop()
			a.sweepListed(ctx)
		case <-a.links.noticed:
			stop()
			a.linksChanged()
		case <-a.linksRead():
			stop()
			a.linksOver(ctx)
		case q := <-a.namesWanted():
			stop()
			a.nameRule(q)
		case <-timer:
		}
	}
}

// hurry brings the next transaction forward; after failures, not closer to the
// last try than the least pause.
func (a *Agent) hurry(delay time.Duration) {
	at := a.clock.Now().Add(delay)
	if a.failures > 0 {
		if earliest := a.lastTry.Add(a.opts.MinBackoff); at.Before(earliest) {
			at = earliest
		}
	}
	if a.applyAt.IsZero() || at.Before(a.applyAt) {
		a.applyAt = at
	}
}

// work does one thing that is due, and says whether it did.
func (a *Agent) work(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	now := a.clock.Now()
	due := func(at *time.Time) bool {
		if at.IsZero() || at.After(now) {
			return false
		}
		*at = time.Time{}
		return true
	}
	defer a.health.busy()()
	switch {
	case due(&a.applyAt):
		a.transact(ctx)
		a.lastTook = a.clock.Now()
		a.tell(ctx)
	case due(&a.sweepAt):
		a.sweepDue(ctx)
	case due(&a.links.at):
		a.readLinks()
	case due(&a.cuts.lookAt):
		a.lookDue()
	case due(&a.keeping.at):
		a.keepDue()
	case due(&a.guards.at):
		a.tell(ctx)
	case due(&a.reconsiderAt):
		a.reconsider(ctx)
		a.tell(ctx)
	case due(&a.auditAt):
		a.auditAt = now.Add(a.opts.Audit)
		if a.synced {
			a.full, a.dirty = true, true
			a.hurry(0)
		}
	default:
		return false
	}
	return true
}

// timer fires at the next deadline.
func (a *Agent) timer() (fired <-chan time.Time, stop func()) {
	var next time.Time
	for _, at := range []time.Time{a.applyAt, a.sweepAt, a.cuts.lookAt, a.links.at, a.keeping.at, a.guards.at, a.auditAt, a.reconsiderAt} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		return nil, func() {}
	}
	t := a.clock.NewTimer(next.Sub(a.clock.Now()))
	return t.C(), func() { t.Stop() }
}
