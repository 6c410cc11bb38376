package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// Settle is how long what nodes report is collected before a status is written,
// in a cluster of so many nodes: the time over which agents spread their
// reports, and 1.5 s for the rest of the way.
func Settle(nodes int) time.Duration { return reporter.Spread(nodes) + 1500*time.Millisecond }

// All writes together: 50 a second, 100 at once.
const (
	writesPerSecond = 50
	writesAtOnce    = 100
)

// eventPause is the least time between two events of one reason about one
// generation of a policy.
const eventPause = 10 * time.Minute

// recorder makes events; of k8s.io/client-go/tools/events.
type recorder interface {
	Eventf(regarding, related runtimeObject, eventtype, reason, action, note string, args ...any)
}

// controller writes the status of policies.
type controller struct {
	client client.Client // reads from caches
	reader client.Reader // past the caches
	clock  clock.PassiveClock
	events recorder
	limit  flowcontrol.RateLimiter
	board  *board
	steady time.Duration // see Options

	mu     sync.Mutex
	memory map[model.Ref]*memory
}

// memory is what is remembered of a policy; losing it costs a write or an event.
type memory struct {
	generation int64
	since      time.Time // of the generation; zero: it was there before this process
	written    time.Time
	event      time.Time
}

var _ reconcile.TypedReconciler[model.Ref] = (*controller)(nil)

// Reconcile brings the status of one policy up to date.
func (c *controller) Reconcile(ctx context.Context, ref model.Ref) (ctrl.Result, error) {
	if err := c.board.refresh(func() ([]v1alpha1.NodeReport, map[string]bool, error) { return c.reports(ctx) }); err != nil {
		return ctrl.Result{}, err
	}
	if native(ref) {
		return ctrl.Result{}, c.announceNative(ctx, ref)
	}
	o, st, err := c.policy(ctx, ref)
	if apierrors.IsNotFound(err) {
		c.forget(ref)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("%s: %w", ref, err)
	}
	converted, problems, _ := convert.Object(o)
	acc, err := c.accepted(ctx, converted, problems)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("%s: %w", ref, err)
	}
	now := c.clock.Now()
	settle := Settle(c.board.size())
	generation := o.GetGeneration()
	m := c.remember(ref, generation, st, now)
	early := c.board.due(ref, generation, m.since).Sub(now)
	tally := c.board.tally(ref, generation)
	enf, counts := enforced(tally, acc.Status == metav1.ConditionTrue, audit(o), early > 0)

	was := st.DeepCopy()
	st.ObservedGeneration, st.Nodes = generation, counts
	st.Types, st.Order = columns(converted)
	for _, cond := range []metav1.Condition{acc, enf} {
		cond.ObservedGeneration, cond.LastTransitionTime = generation, metav1.NewTime(now.Truncate(time.Second))
		meta.SetStatusCondition(&st.Conditions, cond)
	}
	again := ctrl.Result{RequeueAfter: max(early, 0)}
	if equality.Semantic.DeepEqual(was, st) {
		return again, nil
	}
	if wait := m.written.Add(c.pause(was, st, settle)).Sub(now); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	err = c.write(ctx, o, was)
	if apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // its deletion is on the way
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("%s: status: %w", ref, err)
	}
	c.wrote(ref, now)
	c.announce(ref, o, was, st, now)
	return again, nil
}

// pause is the least time between the last write and this one: none where a
// person waits for the answer (to a new generation, or whether it is accepted),
// and a long one where only the number of nodes has changed, as it does all the
// time where pods come and go.
func (c *controller) pause(was, is *v1alpha1.PolicyStatus, settle time.Duration) time.Duration {
	if was.ObservedGeneration != is.ObservedGeneration || reason(was, Accepted) != reason(is, Accepted) {
		return 0
	}
	if before, now := reason(was, Enforced), reason(is, Enforced); calm(now) && (before == now || idle(before) && idle(now)) {
		return max(c.steady, settle)
	}
	return settle
}

func reason(st *v1alpha1.PolicyStatus, condition string) string {
	if c := meta.FindStatusCondition(st.Conditions, condition); c != nil {
		return c.Reason
	}
	return ""
}

// calm reports whether nobody waits for a policy of which this is said.
func calm(reason string) bool {
	return idle(reason) || reason == ReasonAudit || reason == ReasonNotAccepted
}

// idle: it is enforced, or there is nothing to enforce.
func idle(reason string) bool { return reason == ReasonEnforced || reason == ReasonNoEndpoints }

// policy returns a copy of a policy, and its status within.
func (c *controller) policy(ctx context.Context, ref model.Ref) (client.Object, *v1alpha1.PolicyStatus, error) {
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if ref.Kind == model.KindGlobalNetworkPolicy {
		p := &v1alpha1.GlobalNetworkPolicy{}
		err := c.client.Get(ctx, key, p)
		return p, &p.Status, err
	}
	p := &v1alpha1.NetworkPolicy{}
	err := c.client.Get(ctx, key, p)
	return p, &p.Status, err
}

func audit(o client.Object) bool {
	switch p := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		return p.Spec.Enforcement == v1alpha1.Audit
	case *v1alpha1.NetworkPolicy:
		return p.Spec.Enforcement == v1alpha1.Audit
	}
	return false
}

// accepted asks for the tier only where it decides.
func (c *controller) accepted(ctx context.Context, o model.Object, problems []model.Problem) (metav1.Condition, error) {
	var failed error
	cond := accepted(o, problems, func(name string) bool {
		err := c.client.Get(ctx, types.NamespacedName{Name: name}, &v1alpha1.Tier{})
		if client.IgnoreNotFound(err) != nil {
			failed = fmt.Errorf("getting Tier/%s: %w", name, err)
		}
		return err == nil
	})
	return cond, failed
}

// reports returns all reports and the names of all nodes. The reports are the
// cache's own: nobody changes them.
func (c *controller) reports(ctx context.Context) ([]v1alpha1.NodeReport, map[string]bool, error) {
	var list v1alpha1.NodeReportList
	if err := c.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("node reports: %w", err)
	}
	var nodes metav1.PartialObjectMetadataList
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := c.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("nodes: %w", err)
	}
	there := make(map[string]bool, len(nodes.Items))
	for i := range nodes.Items {
		there[nodes.Items[i].Name] = true
	}
	return list.Items, there, nil
}

// write patches the status of a policy. Below the bound of all writes it waits.
func (c *controller) write(ctx context.Context, o client.Object, was *v1alpha1.PolicyStatus) error {
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	base := o.DeepCopyObject().(client.Object)
	switch p := base.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		p.Status = *was
	case *v1alpha1.NetworkPolicy:
		p.Status = *was
	}
	return c.client.Status().Patch(ctx, o, client.MergeFrom(base))
}

// remember returns a copy of what is remembered of a policy. A generation that
// the status does not speak of yet begins now.
func (c *controller) remember(ref model.Ref, generation int64, st *v1alpha1.PolicyStatus, now time.Time) memory {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memory[ref]
	if m == nil {
		m = &memory{}
		c.memory[ref] = m
	}
	if m.generation != generation {
		*m = memory{generation: generation, written: m.written}
		enf := meta.FindStatusCondition(st.Conditions, Enforced)
		if st.ObservedGeneration != generation || enf == nil || enf.Reason == ReasonPending {
			m.since = now
		}
	}
	return *m
}

func (c *controller) wrote(ref model.Ref, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.memory[ref]; m != nil {
		m.written = now
	}
}

func (c *controller) forget(ref model.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.memory, ref)
}
