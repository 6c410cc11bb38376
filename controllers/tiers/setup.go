package tiers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

// +kubebuilder:rbac:groups=tierwall.io,resources=tiers,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=tierwall.io,resources=tiers/status,verbs=patch
// +kubebuilder:rbac:groups=tierwall.io,resources=globalnetworkpolicies;networkpolicies,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// defaultSettle is how long changes of policies are gathered. It bounds what the
// deletion of a tier costs the API server: one write of its status per tier in that time.
const defaultSettle = time.Second

// Options of the controller. The zero value is what the manager uses.
type Options struct {
	// Clock; nil: the real one.
	Clock clock.PassiveClock
	// Settle is how long changes of policies are gathered; 0 means defaultSettle.
	Settle time.Duration
}

// Add has a manager hold tiers while policies are in them, while it is the leader.
// The manager's scheme must know Tierwall's kinds.
func Add(mgr ctrl.Manager, o Options) error {
	r := &reconciler{client: mgr.GetClient(), live: mgr.GetAPIReader(), events: mgr.GetEventRecorder("tierwall-tiers"), clock: o.Clock}
	if r.clock == nil {
		r.clock = clock.RealClock{}
	}
	for _, policy := range []client.Object{&v1alpha1.GlobalNetworkPolicy{}, &v1alpha1.NetworkPolicy{}} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), policy, tierField, tiersOf); err != nil {
			return fmt.Errorf("tiers: index of policies: %w", err)
		}
	}
	policies := enqueue{cmp.Or(o.Settle, defaultSettle)}
	err := ctrl.NewControllerManagedBy(mgr).Named("tiers").
		For(&v1alpha1.Tier{}).
		Watches(&v1alpha1.GlobalNetworkPolicy{}, policies).
		Watches(&v1alpha1.NetworkPolicy{}, policies).
		Complete(r)
	if err != nil {
		return fmt.Errorf("tiers: %w", err)
	}
	return nil
}

// tiersOf is the tier of a policy, as the index wants it.
func tiersOf(o client.Object) []string {
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		return []string{cmp.Or(o.Spec.Tier, v1alpha1.DefaultTier)}
	case *v1alpha1.NetworkPolicy:
		return []string{cmp.Or(o.Spec.Tier, v1alpha1.DefaultTier)}
	}
	return nil
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// enqueue asks for a look at the tiers of a policy that comes, goes or moves.
type enqueue struct{ settle time.Duration }

var _ handler.EventHandler = enqueue{}

// Create looks at the tier of the policy.
func (e enqueue) Create(_ context.Context, ev event.CreateEvent, q queue) { e.look(q, ev.Object) }

// Generic does nothing: there are no such events.
func (enqueue) Generic(context.Context, event.GenericEvent, queue) {}

// Update looks at both tiers of a policy that has moved.
func (e enqueue) Update(_ context.Context, ev event.UpdateEvent, q queue) {
	if !slices.Equal(tiersOf(ev.ObjectOld), tiersOf(ev.ObjectNew)) {
		e.look(q, ev.ObjectOld)
		e.look(q, ev.ObjectNew)
	}
}

// Delete looks at the tier that the policy was in.
func (e enqueue) Delete(_ context.Context, ev event.DeleteEvent, q queue) { e.look(q, ev.Object) }

func (e enqueue) look(q queue, policy client.Object) {
	for _, tier := range tiersOf(policy) {
		if !builtin.IsTier(tier) {
			q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: tier}}, e.settle)
		}
	}
}
