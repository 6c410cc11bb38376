package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Run works until the context ends; then it returns nil, and the kernel keeps
// its rules. An error is the source's. It may be called once.
//
// All calls of the backend come from Run's goroutine: to have an agent in
// another network namespace, lock that goroutine to a thread that is in it.
func (a *Agent) Run(ctx context.Context) error {
	if a.counters.started.Swap(true) {
		return errors.New("agent: it has run already")
	}
	defer close(a.counters.ended)
	ctx, cancel := context.WithCancel(ctx)
	a.kernel.fresh = a.keeper.restore(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.opts.Source.Run(ctx, a.queue) }()
	watching := a.watch(ctx)
	defer func() {
		cancel()
		watching.Wait()
		a.beside.Wait()
		a.keeper.last(a.kernel.upToDate())
		a.flows.Settle(a.kernel.upToDate())
		a.health.set(false, "stopped")
	}()
	a.health.set(false, "waiting for the source to be in sync")
	a.log.Info("agent started", "node", a.opts.Node)
	if a.opts.Audit > 0 {
		a.auditAt = a.clock.Now().Add(a.opts.Audit)
	}
	for {
		a.flows.Settle(a.kernel.upToDate())
		if a.work(ctx) {
			continue
		}
		timer, stop := a.timer()
		select {
		case <-ctx.Done():
			stop()
			if err := <-ended; err != nil {
				a.log.Warn("the source failed during shutdown", "error", err)
			}
			a.log.Info("agent stopped; the kernel keeps its rules")
			return nil
		case err := <-ended:
			stop()
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("stopped unexpectedly")
			}
			return fmt.Errorf("source: %w", err)
		case <-a.queue.wake:
			stop()
			a.kernel.hurry(max(a.lastTook.Add(a.opts.Delay).Sub(a.clock.Now()), 0))
		case <-a.resync:
			stop()
			a.rulesChanged()
		case to := <-a.counters.questions:
			stop()
			to <- countersOf(ctx, a.opts.Backend)
		case c := <-a.guards.answer:
			stop()
			a.guards.take(c)
			a.reportStatus(ctx)
		case <-a.sweeper.listed():
			stop()
			a.sweeper.take(ctx, a.kernel.upToDate())
		case <-a.links.noticed:
			stop()
			a.links.soon()
		case <-a.links.over():
			stop()
			a.linksRead(ctx)
		case c := <-a.names.changes:
			stop()
			a.kernel.learn(ctx, c)
		case q := <-a.namesWanted():
			stop()
			a.nameRule(q)
		case <-timer:
		}
	}
}

// watch starts the goroutines that wait for the kernel: they take notices of changed rules
// and links, and packets of Log rules, until the context ends.
func (a *Agent) watch(ctx context.Context) *sync.WaitGroup {
	var watching sync.WaitGroup
	if a.opts.Watcher != nil {
		watching.Go(func() {
			if err := a.opts.Watcher.Watch(ctx, a.Resync); err != nil {
				a.log.Error("no longer notified of changes by other programs to the kernel's rules", "error", err, "compareEvery", a.opts.Audit)
			}
		})
	}
	if a.opts.Links != nil {
		watching.Go(func() { a.links.follow(ctx) })
	}
	a.names.start = func(run func(context.Context)) { watching.Go(func() { run(ctx) }) }
	if a.logs != nil {
		watching.Go(func() { a.logs.run(ctx) })
	}
	if a.flows != nil {
		watching.Go(func() { a.flows.Run(ctx) })
	}
	return &watching
}

// rulesChanged has the kernel compared with what it should hold, for another program may
// have changed its rules.
func (a *Agent) rulesChanged() {
	a.log.Info("another program changed the kernel's rules, or may have")
	a.metrics.resyncs.Inc()
	a.kernel.syncNext()
	a.sweeper.noteAll() // for what got through meanwhile
	// Two that undo each other's work must not do so without pause.
	now := a.clock.Now()
	wait := max(a.lastResync.Add(a.opts.MinBackoff).Sub(now), 0)
	a.lastResync = now.Add(wait)
	a.kernel.hurry(wait)
}

// linksRead has the kernel follow what has been read of the node's links.
func (a *Agent) linksRead(ctx context.Context) {
	switch changed, news := a.links.finish(); {
	case changed:
		a.kernel.dirty = true
		a.kernel.hurry(0)
	case news:
		a.reportStatus(ctx)
	}
}

// work does one thing that is due, and reports whether it did.
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
	case due(&a.kernel.applyAt):
		a.transact(ctx)
		a.lastTook = a.clock.Now()
		a.reportStatus(ctx)
	case due(&a.sweeper.at):
		a.sweeper.due(ctx, a.kernel.upToDate())
	case due(&a.links.at):
		a.links.read()
	case due(&a.sweeper.cuts.lookAt):
		a.sweeper.lookDue()
	case due(&a.keeper.at):
		a.keeper.due(a.kernel.upToDate())
	case due(&a.guards.at):
		a.reportStatus(ctx)
	case due(&a.kernel.reconsiderAt):
		a.kernel.reconsider(ctx)
		a.reportStatus(ctx)
	case due(&a.auditAt):
		a.auditAt = now.Add(a.opts.Audit)
		if a.synced {
			a.kernel.syncNext()
			a.kernel.hurry(0)
		}
	default:
		return false
	}
	return true
}

// timer fires at the next deadline.
func (a *Agent) timer() (fired <-chan time.Time, stop func()) {
	var next time.Time
	for _, at := range []time.Time{
		a.kernel.applyAt, a.sweeper.at, a.sweeper.cuts.lookAt, a.links.at, a.keeper.at, a.guards.at, a.auditAt, a.kernel.reconsiderAt,
	} {
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
