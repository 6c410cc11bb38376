package agent

import "context"

// transact takes the next round of what waits in the queue and brings the kernel up
// to date. All that there is before the first transaction is part of it.
//
// The way of a change, of a pod or a policy: the queue gives it a place in a round, the
// intake converts it and puts it into the index, the index says what that means for
// effective policies and sets, the kernel writer compiles this and commits it.
func (a *Agent) transact(ctx context.Context) {
	began := a.clock.Now()
	r := a.takeRound()
	defer func() {
		a.pace.note(r, a.clock.Since(began))
		if a.kernel.upToDate() {
			a.progress.advance(r.calls, a.late.waiting(r))
		}
		if r.left > 0 || a.late.goesOn() {
			a.queue.ring()
		}
	}()
	if r.said {
		a.reportSource(r.reports)
	}
	a.intake.take(r)
	first := r.synced && !a.synced
	if first {
		a.synced, a.kernel.dirty = true, true
		a.log.Info("source in sync", "problems", len(a.intake.problems))
	}
	ch := a.kernel.compile(a.kernel.flushPart(r, first))
	if links := first && a.links.readFirst(); links || first && a.names.more {
		ch = a.kernel.compile(a.kernel.flushPart(r, first)) // the first transaction is a Sync: what changed before does not matter
	}
	if a.synced {
		a.kernel.commit(ctx, ch, r)
	}
}

// takeRound takes the next round of the queue.
func (a *Agent) takeRound() *round {
	slice := -1
	if a.synced {
		slice = a.pace.slice
	}
	var r *round
	if !a.synced && a.kernel.fresh {
		r = a.queue.takeStart(partSize)
	} else {
		r = a.queue.take(slice, terms{a.late.blocks, a.intake.large, a.intake.weigh, a.intake.known})
	}
	a.late.noteHolding(r, r.synced && !a.synced)
	a.pace.left = r.left
	a.metrics.waiting.Set(float64(r.left))
	return r
}

// reportSource notes what is wrong with the source in place of what was before.
func (a *Agent) reportSource(errs []error) {
	a.sourceErrs = errs
	a.metrics.sourceErrors.Set(float64(len(errs)))
	for _, err := range errs {
		a.metrics.failed("source")
		a.log.Error("source", "error", err)
	}
	waiting := "waiting for the source to be in sync"
	if len(errs) == 0 {
		a.log.Info("the source works again")
	} else {
		waiting += ": " + errs[0].Error()
	}
	if !a.synced {
		a.health.set(false, waiting)
	}
}
