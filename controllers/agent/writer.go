package agent

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
)

// kernelWriter brings the kernel up to date with the index: what has changed is compiled, and
// becomes one transaction of the backend. After an error everything is synced anew, with
// growing pauses, and after some errors in a row it looks for an object to blame.
//
//	flush, flushPart, compile   index → changes in terms of the data plane
//	commit                      these → the kernel: write, prepare, then succeeded or failed
//	syncNext, hurry             write all of it in the next transaction; bring that forward
//	reconsider                  try the objects again that the kernel does not take
//
// It alone calls what changes the kernel's rules (Backend.Sync, Apply, Prepare), but for
// the keeper, which does so once before Run begins. It exchanges objects of the index with
// their stand-ins, by the intake; otherwise it only reads the index.
//
// Files: writer.go, isolate.go (the object to blame), late.go (large policies, part by part).
type kernelWriter struct {
	*node
	late    *lateness
	intake  *intake
	sweeper *sweeper
	links   *linkFollower
	keeper  *keeper
	ledger  *ledger
	names   *nodeNames

	full  bool // the next transaction is a Sync
	dirty bool // the kernel lags behind
	// fresh: the kernel held nothing of Tierwall's when the agent started, but for what was
	// kept for the boot. Where that is not known it is false.
	fresh       bool
	failures    int   // in a row
	lagging     error // why the kernel is not up to date; nil: it is
	lastSuccess time.Time
	lastTry     time.Time
	took        time.Duration // the longest transaction since the last Status

	// Deadlines; zero: none.
	applyAt, reconsiderAt time.Time
}

// upToDate reports whether the kernel holds what the index says.
func (w *kernelWriter) upToDate() bool { return w.synced && !w.dirty }

// syncNext makes the next transaction a Sync: what the kernel holds is not known, or what
// it is to hold has changed in what no Change says.
func (w *kernelWriter) syncNext() { w.full, w.dirty = true, true }

// hurry brings the next transaction forward; after failures, not closer to the
// last try than the least pause.
func (w *kernelWriter) hurry(delay time.Duration) {
	at := w.clock.Now().Add(delay)
	if w.failures > 0 {
		if earliest := w.lastTry.Add(w.opts.MinBackoff); at.Before(earliest) {
			at = earliest
		}
	}
	if w.applyAt.IsZero() || at.Before(w.applyAt) {
		w.applyAt = at
	}
}

// flush compiles all changes of the index.
func (w *kernelWriter) flush() *dataplane.Change {
	ch := w.compile(w.flushIndex(&index.Part{}))
	w.noteLate(w.late.last)
	return ch
}

// compile has the compiler follow a change of the index, and notes what it means for the
// kernel and for the other parts of the agent.
func (w *kernelWriter) compile(d *index.Delta) *dataplane.Change {
	ch := w.comp.Apply(d)
	w.metrics.count(d, ch)
	if w.logs != nil {
		w.logs.configure(w.ix.Settings())
	}
	if w.flows.Configure(&w.ix.Settings().Flows) {
		w.syncNext() // the rules that deny are others
	}
	if w.opts.Reporter != nil {
		w.ledger.note(d)
	}
	w.sweeper.note(d, w.names.toSweep(ch))
	w.links.notePods(ch)
	if len(d.Nodes) > 0 {
		w.intake.foreign.noteNodes()
	}
	w.keeper.note(d, ch)
	if w.names.note(d) {
		w.dirty = true
	}
	if d.Settings || slices.ContainsFunc(d.NodeObjects, w.local) {
		w.syncNext() // they are part of the State but of no Change
		w.intake.foreign.find()
	}
	if f := w.intake.foreign; f.changed {
		f.changed, w.dirty = false, true
	}
	if len(ch.Sets)+len(ch.Added)+len(ch.Removed)+len(ch.Tables)+len(ch.Endpoints) > 0 {
		w.dirty = true
	}
	return ch
}

// write brings the kernel up to date in one transaction. A change that it does
// not take is lost: what follows is a Sync.
func (w *kernelWriter) write(ctx context.Context, ch *dataplane.Change) error {
	op, start := "apply", w.clock.Now()
	s := w.state()
	call := func() error { return w.opts.Backend.Apply(ctx, ch, s) }
	if w.full {
		op, call = "sync", func() error { return w.opts.Backend.Sync(ctx, s) }
	}
	err := w.own(call)
	took := w.clock.Since(start)
	w.took = max(w.took, took)
	if err != nil {
		w.full = true
		w.metrics.failed(op)
		w.metrics.applied(op, "error", took)
		return err
	}
	w.full, w.dirty = false, false
	w.metrics.applied(op, "success", took)
	w.log.Debug("kernel up to date", "by", op, "took", took, "endpoints", len(ch.Endpoints), "sets", len(ch.Sets), "programs", len(ch.Added))
	return nil
}

// state is what the kernel is to hold.
func (w *kernelWriter) state() *dataplane.State {
	s := dataplane.NewState(w.ix, w.opts.Node, w.comp)
	s.Answers = w.names.answers
	s.SampleDenied = w.flows.Samples()
	s.Foreign, s.ForeignNets = w.intake.foreign.addrs(), s.Links.TunnelledWithin(s.PodCIDRs)
	return s
}

// succeeded is called when the kernel holds all that it should.
func (w *kernelWriter) succeeded(ctx context.Context) {
	if w.failures > 0 {
		w.log.Info("kernel up to date again", "failures", w.failures)
	}
	w.failures, w.applyAt, w.lagging = 0, time.Time{}, nil
	if !w.late.waits() {
		clear(w.intake.suspects)
		w.late.failed = 0
	}
	w.lastSuccess = w.clock.Now()
	w.metrics.lastSuccess.Set(float64(w.lastSuccess.UnixNano()) / 1e9)
	w.metrics.held.Set(float64(len(w.intake.held)))
	w.health.set(true, "")
	if len(w.intake.held) > 0 && w.reconsiderAt.IsZero() {
		w.reconsiderAt = w.clock.Now().Add(w.opts.Reconsider)
	}
	w.sweeper.now(ctx)
}

// commit brings the kernel up to date with a change, and prepares some of what waits for
// the round.
func (w *kernelWriter) commit(ctx context.Context, ch *dataplane.Change, r *round) {
	w.lastTry = w.clock.Now()
	var err error
	wrote := w.dirty
	if wrote {
		err = w.write(ctx, ch)
	}
	if err == nil {
		err = w.prepare(ctx, r)
	}
	w.pay(err)
	switch {
	case err == nil && wrote:
		w.succeeded(ctx)
		w.learnMore(ctx)
	case err != nil && ctx.Err() == nil: // the end of the agent is no failure
		w.failed(ctx, err)
	}
}

// failed is called when a transaction has failed: it looks for an object to blame, if it is
// time to, and else plans the next transaction.
func (w *kernelWriter) failed(ctx context.Context, err error) {
	w.failures++
	w.log.Error("kernel not up to date", "error", err, "failures", w.failures)
	if w.suspicious(err) && w.isolate(ctx, err) {
		w.succeeded(ctx)
		return
	}
	w.log.Info("trying again", "after", w.retryLater(err))
}

// retryLater plans the next transaction after a pause, which it returns.
func (w *kernelWriter) retryLater(err error) time.Duration {
	w.health.failed(err)
	w.lagging = err
	pause := w.backoff()
	w.applyAt = w.clock.Now().Add(pause)
	return pause
}

// backoff is the pause after a failure: doubled with each, and shortened by up
// to a half at random, so that many nodes do not try in step.
func (w *kernelWriter) backoff() time.Duration {
	pause := float64(w.opts.MinBackoff) * math.Pow(2, float64(min(w.failures-1, 30)))
	pause = min(pause, float64(w.opts.MaxBackoff))
	return time.Duration(pause * (1 - w.opts.Jitter()/2))
}
