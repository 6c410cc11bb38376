package agent

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"syscall"

	"github.com/tierwall/tierwall/policy/model"
)

// After isolateAfter failures in a row, and after each so many more, the agent
// looks for an object to blame; after isolatePassingAfter if they are of a kind
// that most often ends by itself.
const (
	isolateAfter        = 3
	isolatePassingAfter = 6
)

// suspicious reports whether it is time to look for an object to blame.
func (w *kernelWriter) suspicious(err error) bool {
	switch {
	case errors.Is(err, os.ErrPermission), errors.Is(err, context.Canceled):
		return false // no object brings that about
	case isTransient(err):
		return w.failures%isolatePassingAfter == 0
	}
	return w.failures%isolateAfter == 0
}

// isTransient reports whether an error comes from the environment, and most often goes by
// itself. An object may cause it all the same: one for which there is no room, or no time.
func isTransient(err error) bool {
	for _, e := range []error{
		context.DeadlineExceeded,
		syscall.ENOBUFS, syscall.EAGAIN, syscall.EINTR, syscall.EBUSY, syscall.ETIMEDOUT, syscall.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isolate finds the objects that the kernel does not take, puts others in
// their place, and reports whether the kernel is up to date then. First the
// objects that have changed since the kernel took all are suspected, then all
// policies. Each suspicion is first of all at once: if the kernel does not take
// what remains either, it is not the objects.
func (w *kernelWriter) isolate(ctx context.Context, cause error) bool {
	changed := make([]model.Ref, 0, len(w.intake.suspects))
	for r := range w.intake.suspects {
		if _, there := w.intake.objects[r]; there {
			changed = append(changed, r)
		}
	}
	var policies []model.Ref
	for _, p := range w.ix.Policies() {
		if _, noted := w.intake.suspects[p.Ref]; !noted {
			policies = append(policies, p.Ref)
		}
	}
	for _, list := range [][]model.Ref{changed, policies} {
		if len(list) == 0 || ctx.Err() != nil {
			continue
		}
		slices.SortFunc(list, order)
		w.log.Info("looking for the object that the kernel rejects", "suspects", len(list))
		w.intake.hold(list, cause)
		if w.again(ctx) != nil {
			w.intake.release(list)
			w.flush()
			continue
		}
		w.admit(ctx, list)
		for _, r := range list {
			if err := w.intake.held[r]; err != nil {
				w.metrics.failed("isolated")
				w.log.Error("object held back: the kernel rejects it", "object", r.String(), "error", err, "instead", w.intake.instead(r))
			}
		}
		return !w.dirty
	}
	return false
}

// order puts sets after policies: so a set that is too large is let in last, and
// is at fault rather than the policies that refer to it.
func order(x, y model.Ref) int {
	rank := func(r model.Ref) int {
		if r.Kind == model.KindGlobalNetworkSet || r.Kind == model.KindNetworkSet {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(x), rank(y)), x.Compare(y))
}

// admit lets as many as possible of the objects that are held back in again, in
// transactions that get smaller: what is too much at once may do in parts. The
// kernel takes what there is without them, before and after. A single object is
// tried twice before it is blamed for an error that may be over.
func (w *kernelWriter) admit(ctx context.Context, list []model.Ref) {
	w.intake.release(list)
	err := w.again(ctx)
	if err != nil && len(list) == 1 && isTransient(err) && ctx.Err() == nil {
		err = w.again(ctx)
	}
	if err == nil {
		return
	}
	w.intake.hold(list, err)
	if len(list) == 1 || ctx.Err() != nil {
		// What was tried has not come into the kernel, but the compiler has seen it
		// come and go: the next transaction is a Sync, and this is it.
		_ = w.again(ctx)
		return
	}
	w.admit(ctx, list[:len(list)/2])
	w.admit(ctx, list[len(list)/2:])
}

// again syncs the kernel with what the index now holds.
func (w *kernelWriter) again(ctx context.Context) error {
	ch := w.flush()
	w.syncNext()
	return w.write(ctx, ch)
}

// reconsider tries the objects that are held back once more.
func (w *kernelWriter) reconsider(ctx context.Context) {
	if len(w.intake.held) == 0 || w.failures > 0 || w.dirty {
		if len(w.intake.held) > 0 {
			w.reconsiderAt = w.clock.Now().Add(w.opts.Reconsider)
		}
		return
	}
	list := make([]model.Ref, 0, len(w.intake.held))
	for r := range w.intake.held {
		list = append(list, r)
	}
	slices.SortFunc(list, order)
	w.admit(ctx, list)
	if n := len(list) - len(w.intake.held); n > 0 {
		w.log.Info("the kernel accepts objects that were held back", "objects", n)
	}
	if w.dirty {
		w.failures++
		w.retryLater(errors.New("kernel not up to date after objects that were held back have been tried again"))
		return
	}
	w.succeeded(ctx)
}
