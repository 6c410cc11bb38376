package agent

import "context"

// learn brings to the kernel by what addresses of names have changed: a small transaction
// between others'. Answers wait for it.
func (w *kernelWriter) learn(ctx context.Context, c nameChange) {
	w.names.apply(c.deltas)
	if w.failures > 0 { // they come when the kernel takes changes again, which may be long
		c.done(w.lagging)
		return
	}
	if !w.upToDate() {
		// They come with the transaction that brings all else.
		w.names.owed = append(w.names.owed, c.done)
		if w.synced {
			w.hurry(0)
		}
		return
	}
	w.names.learning = true
	ch := w.compile(w.flushPart(w.late.last, false))
	w.names.learning = false
	if !w.dirty { // no rule of a local endpoint asks for them by now
		c.done(nil)
		return
	}
	err := w.write(ctx, ch)
	c.done(err)
	switch {
	case err == nil:
		w.lastSuccess = w.clock.Now()
		w.sweeper.now(ctx) // pods that waited may have had their policy, too
	case ctx.Err() == nil: // the end of the agent is no failure
		w.failures++
		w.log.Error("kernel not up to date", "error", err, "failures", w.failures)
		w.retryLater(err)
	}
}

// pay has answers go on whose addresses came with a transaction.
func (w *kernelWriter) pay(err error) {
	n := w.names
	if err == nil && n.begin && !w.dirty {
		n.begin = false
		if n.keeper != nil {
			n.keeper.Begin()
		}
	}
	owed := n.owed
	n.owed = nil
	for _, done := range owed {
		done(err)
	}
}

// learnMore brings to the kernel what was known before of names that rules have come to
// speak of: the rules are there by now.
func (w *kernelWriter) learnMore(ctx context.Context) {
	if w.names.more {
		w.names.more = false
		w.learn(ctx, nameChange{done: func(error) {}})
	}
}
