package agent

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"syscall"

	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/model"
)

// suspect is an object that has changed since the kernel last took all.
type suspect struct {
	// before is what the kernel took; nil: there was no such object.
	before model.Object
}

// blamable says whether objects of a kind are suspected of what the kernel does
// not take. Pods and the like are too many to remember and too plain to be at fault.
func blamable(k model.Kind) bool {
	switch k {
	case model.KindPod, model.KindPodGhost, model.KindNode, model.KindNamespace, model.KindServiceAccount, model.KindService, model.KindEndpointSlice:
		return false
	}
	return true
}

// suspect notes a new version of an object, which is no longer held back.
func (a *Agent) suspect(r model.Ref, o model.Object) {
	if _, noted := a.suspects[r]; !noted {
		a.suspects[r] = suspect{before: a.objects[r]}
	}
	if o == nil {
		delete(a.objects, r)
	} else {
		a.objects[r] = o
	}
	if _, was := a.held[r]; was {
		delete(a.held, r)
		a.log.Info("object that the kernel did not take has changed", "object", r.String())
	}
}

// After isolateAfter failures in a row, and after each so many more, the agent
// looks for an object to blame; after isolatePassingAfter if they are of a kind
// that most often ends by itself.
const (
	isolateAfter        = 3
	isolatePassingAfter = 6
)

// suspicious reports whether it is time to look for an object to blame.
func (a *Agent) suspicious(err error) bool {
	switch {
	case errors.Is(err, os.ErrPermission), errors.Is(err, context.Canceled):
		return false // no object brings that about
	case passing(err):
		return a.failures%isolatePassingAfter == 0
	}
	return a.failures%isolateAfter == 0
}

// passing reports whether an error most often comes and goes by itself. An object
// may bring it about all the same: one that there is no room for, or no time.
func passing(err error) bool {
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
// their place, and says whether the kernel is up to date then. First the
// objects that have changed since the kernel took all are suspected, then all
// policies. Each suspicion is first of all at once: if the kernel does not take
// what remains either, it is not the objects.
func (a *Agent) isolate(ctx context.Context, cause error) bool {
	changed := make([]model.Ref, 0, len(a.suspects))
	for r := range a.suspects {
		if _, there := a.objects[r]; there {
			changed = append(changed, r)
		}
	}
	var policies []model.Ref
	for _, p := range a.ix.Policies() {
		if _, noted := a.suspects[p.Ref]; !noted {
			policies = append(policies, p.Ref)
		}
	}
	for _, list := range [][]model.Ref{changed, policies} {
		if len(list) == 0 || ctx.Err() != nil {
			continue
		}
		slices.SortFunc(list, order)
		a.log.Info("looking for the object that the kernel does not take", "suspects", len(list))
		a.hold(list, cause)
		if a.again(ctx) != nil {
			a.release(list)
			a.flush()
			continue
		}
		a.admit(ctx, list)
		for _, r := range list {
			if err := a.held[r]; err != nil {
				a.metrics.failed("isolated")
				a.log.Error("object held back: the kernel does not take it", "object", r.String(), "error", err, "instead", a.instead(r))
			}
		}
		return !a.dirty
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
func (a *Agent) admit(ctx context.Context, list []model.Ref) {
	a.release(list)
	err := a.again(ctx)
	if err != nil && len(list) == 1 && passing(err) && ctx.Err() == nil {
		err = a.again(ctx)
	}
	if err == nil {
		return
	}
	a.hold(list, err)
	if len(list) == 1 || ctx.Err() != nil {
		// What was tried has not come into the kernel, but the compiler has seen it
		// come and go: the next transaction is a Sync, and this is it.
		_ = a.again(ctx)
		return
	}
	a.admit(ctx, list[:len(list)/2])
	a.admit(ctx, list[len(list)/2:])
}

// again syncs the kernel with what the index now holds.
func (a *Agent) again(ctx context.Context) error {
	ch := a.flush()
	a.full, a.dirty = true, true
	return a.write(ctx, ch)
}

// hold puts stand-ins in the place of objects.
func (a *Agent) hold(list []model.Ref, cause error) {
	for _, r := range list {
		a.held[r] = cause
		a.put(r, a.standIn(r))
	}
}

// release puts the objects themselves back.
func (a *Agent) release(list []model.Ref) {
	for _, r := range list {
		delete(a.held, r)
		a.put(r, a.formOf(r))
	}
}

// standIn is what is enforced in the place of an object that the kernel does
// not take: a policy that denies everything it governs, and of other kinds the
// version before, if there is one.
func (a *Agent) standIn(r model.Ref) model.Object {
	if p, ok := a.objects[r].(*model.Policy); ok {
		return budget.DenyAll(p)
	}
	if s, noted := a.suspects[r]; noted {
		return s.before
	}
	return a.objects[r]
}

func (a *Agent) instead(r model.Ref) string {
	if e := a.pastBudget(r); e != nil && a.held[r] == nil {
		return e.insteadOf(a.objects[r])
	}
	switch o := a.standIn(r); o.(type) {
	case nil:
		return "nothing"
	case *model.Policy:
		return "deny all that it governs"
	}
	return "its previous version"
}

// reconsider tries the objects that are held back once more.
func (a *Agent) reconsider(ctx context.Context) {
	if len(a.held) == 0 || a.failures > 0 || a.dirty {
		if len(a.held) > 0 {
			a.reconsiderAt = a.clock.Now().Add(a.opts.Reconsider)
		}
		return
	}
	list := make([]model.Ref, 0, len(a.held))
	for r := range a.held {
		list = append(list, r)
	}
	slices.SortFunc(list, order)
	a.admit(ctx, list)
	if n := len(list) - len(a.held); n > 0 {
		a.log.Info("the kernel takes objects that were held back", "objects", n)
	}
	if a.dirty {
		a.failures++
		err := errors.New("kernel not up to date after objects that were held back have been tried again")
		a.health.failed(err)
		a.lagging = err
		a.applyAt = a.clock.Now().Add(a.backoff())
		return
	}
	a.succeeded(ctx)
}
