package tiers

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

const (
	// Finalizer keeps a tier while policies are in it.
	Finalizer = v1alpha1.GroupName + "/policies"
	// Deleting is the condition of a tier that is being deleted and contains policies.
	Deleting = "Deleting"
	// PoliciesRemain is the reason of Deleting, and of the event that goes with it.
	PoliciesRemain = "PoliciesRemain"
)

// tierField is the index of policies by tier, and the field that the API server
// selects them by.
const tierField = "spec.tier"

type reconciler struct {
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	events events.EventRecorder
	clock  clock.PassiveClock
}

var _ reconcile.Reconciler = (*reconciler)(nil)

// Reconcile adds the finalizer to a tier, and removes it from one that is being deleted
// and contains no policy.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var tier v1alpha1.Tier
	if err := r.client.Get(ctx, req.NamespacedName, &tier); apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading Tier/%s: %w", req.Name, err)
	}
	switch held := controllerutil.ContainsFinalizer(&tier, Finalizer); {
	case builtin.IsTier(tier.Name):
		return reconcile.Result{}, nil
	case tier.DeletionTimestamp.IsZero() && held, !tier.DeletionTimestamp.IsZero() && !held:
		return reconcile.Result{}, nil
	case tier.DeletionTimestamp.IsZero():
		return reconcile.Result{}, r.finalizer(ctx, &tier, controllerutil.AddFinalizer)
	}
	inside, err := r.inside(ctx, tier.Name)
	switch {
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("listing the policies of Tier/%s: %w", tier.Name, err)
	case len(inside) == 0:
		return reconcile.Result{}, r.finalizer(ctx, &tier, controllerutil.RemoveFinalizer)
	}
	return reconcile.Result{}, r.report(ctx, &tier, message(inside))
}

// finalizer changes the finalizer of a tier, unless the tier has changed meanwhile.
func (r *reconciler) finalizer(ctx context.Context, tier *v1alpha1.Tier, change func(client.Object, string) bool) error {
	changed := tier.DeepCopy()
	change(changed, Finalizer)
	patch := client.MergeFromWithOptions(tier, client.MergeFromWithOptimisticLock{})
	if err := client.IgnoreNotFound(r.client.Patch(ctx, changed, patch)); err != nil {
		return fmt.Errorf("changing the finalizer of Tier/%s: %w", tier.Name, err)
	}
	return nil
}

// inside are the policies in a tier, sorted. Only the API server can show that there
// are none: a policy may be too new for the cache.
func (r *reconciler) inside(ctx context.Context, tier string) ([]model.Ref, error) {
	if refs, err := list(ctx, r.client, tier); err != nil || len(refs) > 0 {
		return refs, err
	}
	return list(ctx, r.live, tier)
}

func list(ctx context.Context, c client.Reader, tier string) ([]model.Ref, error) {
	var globals v1alpha1.GlobalNetworkPolicyList
	var locals v1alpha1.NetworkPolicyList
	of := client.MatchingFields{tierField: tier}
	if err := c.List(ctx, &globals, of); err != nil {
		return nil, fmt.Errorf("GlobalNetworkPolicies: %w", err)
	}
	if err := c.List(ctx, &locals, of); err != nil {
		return nil, fmt.Errorf("NetworkPolicies: %w", err)
	}
	var refs []model.Ref
	for i := range globals.Items {
		ref, _ := convert.RefOf(&globals.Items[i])
		refs = append(refs, ref)
	}
	for i := range locals.Items {
		ref, _ := convert.RefOf(&locals.Items[i])
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, model.Ref.Compare)
	return refs, nil
}

// report records on the tier, and once in an event, what it waits for.
func (r *reconciler) report(ctx context.Context, tier *v1alpha1.Tier, message string) error {
	changed := tier.DeepCopy()
	changed.Status.ObservedGeneration = tier.Generation
	first := meta.FindStatusCondition(tier.Status.Conditions, Deleting) == nil
	if !meta.SetStatusCondition(&changed.Status.Conditions, metav1.Condition{
		Type: Deleting, Status: metav1.ConditionTrue, Reason: PoliciesRemain, Message: message,
		ObservedGeneration: tier.Generation, LastTransitionTime: metav1.NewTime(r.clock.Now()),
	}) {
		return nil
	}
	if err := client.IgnoreNotFound(r.client.Status().Patch(ctx, changed, client.MergeFrom(tier))); err != nil {
		return fmt.Errorf("writing the status of Tier/%s: %w", tier.Name, err)
	}
	if first {
		r.events.Eventf(tier, nil, corev1.EventTypeWarning, PoliciesRemain, "Delete", "%s", message)
	}
	return nil
}
