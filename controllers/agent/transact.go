package agent

import (
	"context"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// transact takes the next round of what waits in the queue and brings the kernel up
// to date. All that there is before the first transaction is part of it.
func (a *Agent) transact(ctx context.Context) {
	slice := -1
	if a.synced {
		slice = a.pace.slice
	}
	began := a.clock.Now()
	var r *round
	if !a.synced && a.fresh {
		r = a.queue.takeStart(partSize)
	} else {
		r = a.queue.take(slice, terms{a.late.blocks, a.large, a.weigh})
	}
	a.late.noteHolding(r, r.synced && !a.synced)
	a.pace.left = r.left
	a.metrics.waiting.Set(float64(r.left))
	defer func() {
		a.pace.note(r, a.clock.Since(began))
		if a.synced && !a.dirty {
			a.progress.advance(r.calls, a.late.waiting(r))
		}
		if r.left > 0 || a.late.goesOn() {
			a.queue.ring()
		}
	}()
	if r.said {
		a.report(r.reports)
	}
	for _, c := range r.changes {
		a.feed(c)
	}
	a.settleBudgets()
	a.settleNodeBudget()
	first := r.synced && !a.synced
	if first {
		a.synced, a.dirty = true, true
		a.log.Info("source in sync", "problems", len(a.problems))
	}
	ch := a.carryOn(a.flushPart(r, first))
	if first && a.readLinksFirst() {
		ch = a.carryOn(a.flushPart(r, first)) // the first transaction is a Sync: what changed before does not matter
	}
	if !a.synced {
		return
	}
	a.lastTry = a.clock.Now()
	var err error
	wrote := a.dirty
	if wrote {
		err = a.write(ctx, ch)
	}
	if err == nil {
		err = a.prepare(ctx, r)
	}
	if err == nil {
		if wrote {
			a.succeeded(ctx)
		}
		return
	}
	if ctx.Err() != nil {
		return // the end of the agent, not a failure
	}
	a.failures++
	a.log.Error("kernel not up to date", "error", err, "failures", a.failures)
	if a.suspicious(err) && a.isolate(ctx, err) {
		a.succeeded(ctx)
		return
	}
	a.health.failed(err)
	a.lagging = err
	pause := a.backoff()
	a.applyAt = a.clock.Now().Add(pause)
	a.log.Info("trying again", "after", pause)
}

// read converts an object, nil: it is gone, and reports what is wrong with it.
func (a *Agent) read(r model.Ref, object runtime.Object) (o model.Object) {
	var problems []model.Problem
	if object != nil {
		scope, entries := scopeOf(object, a.ix.Settings().Budgets)
		if o, problems, _ = convert.Object(scope); entries > 0 {
			o = denyScope(o, entries)
		}
	}
	delete(a.problems, r)
	if len(problems) > 0 {
		a.problems[r] = len(problems)
		for _, p := range problems {
			a.metrics.failed("object")
			a.log.Warn("object is not as it should be", "object", r.String(), "field", p.Field, "problem", p.Message, "failsClosed", !p.Warning)
		}
	}
	a.metrics.invalid.Set(float64(len(a.problems)))
	return o
}

// feed converts an object and puts it into the index.
func (a *Agent) feed(c change) {
	if c.ref.Kind == model.KindNodeLinks && a.opts.Links != nil && a.local(c.ref.Name) {
		return // the kernel itself is asked
	}
	o := a.read(c.ref, c.object)
	before := a.objects[c.ref]
	if blamable(c.ref.Kind) {
		a.suspect(c.ref, o)
	}
	if c.ref.Kind == model.KindTier {
		a.budgets.tiers = true
	}
	if budgeted(c.ref) {
		a.budgets.came(c.ref, c.object, a.ix.Settings().Budgets)
		a.charge(c.ref, before, o)
		return
	}
	if c.ref.Kind == model.KindPodGhost {
		e, _ := o.(*model.Endpoint) // nil: gone
		a.ghosts.note(c.ref, e)
	}
	if c.ref.Kind == model.KindPod {
		e, _ := o.(*model.Endpoint) // nil: gone
		a.evict(e)
		a.notePod(c.ref, e)
		a.noteForeign(c.ref, e)
	}
	if c.ref.Kind == model.KindNode {
		n, _ := o.(*model.Node)
		a.noteForeignNode(c.ref.Name, n)
		if o == nil {
			delete(a.nodes, c.ref.Name)
		} else {
			a.nodes[c.ref.Name] = struct{}{}
		}
	}
	a.put(c.ref, o)
	if c.ref.Kind == model.KindPod {
		e, _ := o.(*model.Endpoint)
		a.noteClashes(c.ref, e)
	}
}

// evict takes addresses of a pod from another one that has lost them, as a change of
// it that waits says: until that is taken, the other has none.
func (a *Agent) evict(e *model.Endpoint) {
	if e == nil || a.pace.left == 0 {
		return
	}
	for _, addr := range e.Addrs {
		r := a.ix.Owner(addr)
		if r.Kind != model.KindPod || r == e.Ref {
			continue
		}
		later, waits := a.queue.waiting(r)
		if !waits {
			continue
		}
		o, _, _ := convert.Object(later)
		if p, ok := o.(*model.Endpoint); ok && slices.Contains(p.Addrs, addr) {
			continue
		}
		a.put(r, nil)
		a.notePod(r, nil)
		a.noteForeign(r, nil)
		a.noteClashes(r, nil)
	}
}

// put replaces or, with nil, removes an object of the index.
func (a *Agent) put(r model.Ref, o model.Object) {
	a.ixMu.Lock()
	defer a.ixMu.Unlock()
	if o == nil {
		a.ix.Delete(r)
		if a.logs != nil {
			a.logs.forget(r)
		}
		return
	}
	a.ix.Upsert(o)
}

// flush carries all changes of the index on.
func (a *Agent) flush() *dataplane.Change {
	ch := a.carryOn(a.flushIndex(&index.Part{}))
	a.noteLate(a.late.last)
	return ch
}

func (a *Agent) flushIndex(p *index.Part) *index.Delta {
	a.ixMu.Lock()
	defer a.ixMu.Unlock()
	return a.ix.FlushPart(*p)
}

// carryOn carries changes of the index on to the compiler, and notes what they
// mean for the kernel and for established connections.
func (a *Agent) carryOn(d *index.Delta) *dataplane.Change {
	ch := a.comp.Apply(d)
	a.metrics.count(d, ch)
	if a.logs != nil {
		a.logs.configure(a.ix.Settings())
	}
	if a.opts.Reporter != nil {
		a.ledger.note(d)
	}
	a.noteSweep(d, ch)
	a.noteLocalPods(ch)
	if len(d.Nodes) > 0 {
		a.noteNodes()
	}
	a.noteKept(d, ch)
	if d.Settings || slices.ContainsFunc(d.NodeObjects, a.local) {
		// They are part of the State but of no Change.
		a.full, a.dirty = true, true
		a.findForeign()
	}
	if a.foreign.changed {
		a.foreign.changed, a.dirty = false, true
	}
	if len(ch.Sets)+len(ch.Added)+len(ch.Removed)+len(ch.Tables)+len(ch.Endpoints) > 0 {
		a.dirty = true
	}
	return ch
}

// write brings the kernel up to date in one transaction. A change that it does
// not take is lost: what follows is a Sync.
func (a *Agent) write(ctx context.Context, ch *dataplane.Change) error {
	op, start := "apply", a.clock.Now()
	s := a.state()
	call := func() error { return a.opts.Backend.Apply(ctx, ch, s) }
	if a.full {
		op, call = "sync", func() error { return a.opts.Backend.Sync(ctx, s) }
	}
	var err error
	if a.opts.Watcher != nil {
		err = a.opts.Watcher.Own(call)
	} else {
		err = call()
	}
	took := a.clock.Since(start)
	a.took = max(a.took, took)
	if err != nil {
		a.full = true
		a.metrics.failed(op)
		a.metrics.applied(op, "error", took)
		return err
	}
	a.full, a.dirty = false, false
	a.metrics.applied(op, "success", took)
	a.log.Debug("kernel up to date", "by", op, "took", took, "endpoints", len(ch.Endpoints), "sets", len(ch.Sets), "programs", len(ch.Added))
	return nil
}

func (a *Agent) state() *dataplane.State {
	s := dataplane.NewState(a.ix, a.opts.Node, a.comp)
	s.Foreign, s.ForeignNets = a.foreign.addrs(), s.Links.TunnelledWithin(s.PodCIDRs)
	return s
}

// succeeded is called when the kernel holds all that it should.
func (a *Agent) succeeded(ctx context.Context) {
	if a.failures > 0 {
		a.log.Info("kernel up to date again", "failures", a.failures)
	}
	a.failures, a.applyAt, a.lagging = 0, time.Time{}, nil
	if !a.late.waits() {
		clear(a.suspects)
		a.late.failed = 0
	}
	a.lastSuccess = a.clock.Now()
	a.metrics.lastSuccess.Set(float64(a.lastSuccess.UnixNano()) / 1e9)
	a.metrics.held.Set(float64(len(a.held)))
	a.health.set(true, "")
	if len(a.held) > 0 && a.reconsiderAt.IsZero() {
		a.reconsiderAt = a.clock.Now().Add(a.opts.Reconsider)
	}
	a.sweepNow(ctx)
}

// backoff is the pause after a failure: doubled with each, and shortened by up
// to a half at random, so that many nodes do not try in step.
func (a *Agent) backoff() time.Duration {
	pause := float64(a.opts.MinBackoff) * math.Pow(2, float64(min(a.failures-1, 30)))
	pause = min(pause, float64(a.opts.MaxBackoff))
	return time.Duration(pause * (1 - a.opts.Jitter()/2))
}

func (a *Agent) report(errs []error) {
	a.sourceErrs = errs
	a.metrics.sourceErrors.Set(float64(len(errs)))
	for _, err := range errs {
		a.metrics.failed("source")
		a.log.Error("source", "error", err)
	}
	waiting := "waiting for the source to be in sync"
	if len(errs) == 0 {
		a.log.Info("source without problems")
	} else {
		waiting += ": " + errs[0].Error()
	}
	if !a.synced {
		a.health.set(false, waiting)
	}
}
