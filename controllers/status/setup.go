package status

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// +kubebuilder:rbac:groups=tierwall.io,resources=globalnetworkpolicies;networkpolicies;tiers;nodereports,verbs=list;watch
// +kubebuilder:rbac:groups=tierwall.io,resources=globalnetworkpolicies/status;networkpolicies/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=list
// +kubebuilder:rbac:groups=policy.networking.k8s.io,resources=clusternetworkpolicies,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Options of the controller. The zero value is what the manager uses.
type Options struct {
	// Clock; nil: the real one.
	Clock clock.Clock
	// Listen is how often agents that have fallen silent are looked for; default 10 s.
	Listen time.Duration
	// Steady is the least time between two writes of a policy's status if nothing
	// but the number of nodes changes; default 30 s.
	Steady time.Duration
}

type queue = workqueue.TypedRateLimitingInterface[model.Ref]

// Add has a manager keep the status of policies while it is the leader.
func Add(mgr ctrl.Manager, o Options) error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Listen == 0 {
		o.Listen = 10 * time.Second
	}
	if o.Steady == 0 {
		o.Steady = 30 * time.Second
	}
	c := &controller{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), clock: o.Clock, events: mgr.GetEventRecorder("tierwall-status"),
		limit: flowcontrol.NewTokenBucketRateLimiter(writesPerSecond, writesAtOnce),
		board: newBoard(o.Clock), steady: o.Steady, memory: map[model.Ref]*memory{},
	}
	node := &metav1.PartialObjectMetadata{}
	node.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	err := builder.TypedControllerManagedBy[model.Ref](mgr).Named("status").
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &v1alpha1.GlobalNetworkPolicy{}, policyHandler[*v1alpha1.GlobalNetworkPolicy](c))).
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &v1alpha1.NetworkPolicy{}, policyHandler[*v1alpha1.NetworkPolicy](c))).
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &v1alpha1.NodeReport{}, c.reportHandler())).
		WatchesRawSource(source.TypedKind(mgr.GetCache(), node, c.nodeHandler())).
		WatchesRawSource(source.TypedKind(mgr.GetCache(), &v1alpha1.Tier{}, c.tierHandler())).
		WatchesRawSource(source.TypedFunc[model.Ref](func(ctx context.Context, q queue) error {
			go c.listen(ctx, o.Clock, o.Listen, q)
			return nil
		})).
		Complete(c)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

// later puts policies into the queue, for when the reports have come together.
func (c *controller) later(q queue, refs ...model.Ref) {
	settle := settleTime(c.board.size())
	for _, r := range refs {
		q.AddAfter(r, settle)
	}
}

// policyHandler answers new generations at once. Other changes are mostly the
// controller's own.
func policyHandler[T client.Object](c *controller) handler.TypedEventHandler[T, model.Ref] {
	now := func(o T, q queue) {
		if r, ok := convert.RefOf(o); ok {
			q.Add(r)
		}
	}
	return handler.TypedFuncs[T, model.Ref]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[T], q queue) { now(e.Object, q) },
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[T], q queue) { now(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[T], q queue) {
			if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				now(e.ObjectNew, q)
			} else if r, ok := convert.RefOf(e.ObjectNew); ok {
				c.later(q, r)
			}
		},
	}
}

// reportHandler finds the policies that a report speaks of anew.
func (c *controller) reportHandler() handler.TypedEventHandler[*v1alpha1.NodeReport, model.Ref] {
	changed := func(q queue, before, after *v1alpha1.NodeState) {
		c.board.touch()
		c.later(q, changedPolicies(before, after)...)
	}
	return handler.TypedFuncs[*v1alpha1.NodeReport, model.Ref]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[*v1alpha1.NodeReport], q queue) {
			changed(q, nil, &e.Object.Report)
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[*v1alpha1.NodeReport], q queue) {
			changed(q, &e.ObjectOld.Report, &e.ObjectNew.Report)
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*v1alpha1.NodeReport], q queue) {
			changed(q, &e.Object.Report, nil)
		},
	}
}

// nodeHandler cares for nodes that come and go, not for their heartbeats.
func (c *controller) nodeHandler() handler.TypedEventHandler[*metav1.PartialObjectMetadata, model.Ref] {
	changed := func(ctx context.Context, q queue, name string) {
		c.board.touch()
		r := &v1alpha1.NodeReport{}
		if err := c.client.Get(ctx, client.ObjectKey{Name: name}, r, client.UnsafeDisableDeepCopy); err == nil {
			c.later(q, changedPolicies(nil, &r.Report)...)
		} // else nothing has been said of it, or the report's own event says it
	}
	return handler.TypedFuncs[*metav1.PartialObjectMetadata, model.Ref]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*metav1.PartialObjectMetadata], q queue) {
			changed(ctx, q, e.Object.Name)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*metav1.PartialObjectMetadata], q queue) {
			changed(ctx, q, e.Object.Name)
		},
	}
}

// tierHandler finds the policies of tiers that come and go.
func (c *controller) tierHandler() handler.TypedEventHandler[*v1alpha1.Tier, model.Ref] {
	changed := func(ctx context.Context, q queue, tier string) {
		var global v1alpha1.GlobalNetworkPolicyList
		var local v1alpha1.NetworkPolicyList
		// An error would be of a cache that is not there: then the policies' own
		// events are still to come.
		_ = c.client.List(ctx, &global, client.UnsafeDisableDeepCopy)
		_ = c.client.List(ctx, &local, client.UnsafeDisableDeepCopy)
		for i := range global.Items {
			if p := &global.Items[i]; p.Spec.Tier == tier {
				q.Add(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: p.Name})
			}
		}
		for i := range local.Items {
			if p := &local.Items[i]; p.Spec.Tier == tier {
				q.Add(model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: p.Namespace, Name: p.Name})
			}
		}
	}
	return handler.TypedFuncs[*v1alpha1.Tier, model.Ref]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*v1alpha1.Tier], q queue) {
			changed(ctx, q, e.Object.Name)
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[*v1alpha1.Tier], q queue) {
			changed(ctx, q, e.Object.Name)
		},
	}
}

// listen looks for agents that have fallen silent until the context ends.
func (c *controller) listen(ctx context.Context, clk clock.Clock, every time.Duration, q queue) {
	for {
		timer := clk.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		if err := c.board.refresh(func() ([]v1alpha1.NodeReport, map[string]bool, error) { return c.reports(ctx) }); err != nil {
			continue // the reconciler says it
		}
		c.later(q, c.board.listen()...)
	}
}
