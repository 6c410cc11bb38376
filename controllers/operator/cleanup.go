package operator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// DefaultCleanupTimeout is how long the removal waits for nodes to be cleaned.
const DefaultCleanupTimeout = 5 * time.Minute

// remove takes the agents away, in steps each of which may be repeated:
//
//  1. The DaemonSet's pods are replaced by ones that clean their node.
//  2. When all nodes are clean, or the time is over, it is written down that a
//     person has removed Tierwall, so that no default object is created again.
//  3. What the operator has installed is deleted.
//  4. The finalizer goes, and the Tierwall object with it.
func (r *reconciler) remove(ctx context.Context, tw *v1alpha1.Tierwall) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(tw, Finalizer) {
		return reconcile.Result{}, nil
	}
	settings := r.settings(ctx)
	settings.Cleanup = true
	m, err := r.mark(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if m == nil || m.Data[markUID] != string(tw.UID) {
		left, done, err := r.clean(ctx, tw, settings)
		if err != nil || !done {
			return left, err
		}
	}
	for _, o := range removable(tw, settings) {
		if err := r.applier.remove(ctx, o); err != nil {
			return reconcile.Result{}, err
		}
	}
	if err := r.client.DeleteAllOf(ctx, &v1alpha1.NodeReport{}); err != nil {
		return reconcile.Result{}, fmt.Errorf("deleting the agents' NodeReports: %w", err)
	}
	if err := r.client.DeleteAllOf(ctx, &v1alpha1.PodAddressReport{}); err != nil && !meta.IsNoMatchError(err) { // definitions of before
		return reconcile.Result{}, fmt.Errorf("deleting the agents' PodAddressReports: %w", err)
	}
	before := tw.DeepCopy()
	controllerutil.RemoveFinalizer(tw, Finalizer)
	err = r.client.Patch(ctx, tw, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(FieldOwner))
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("removing the finalizer of Tierwall/%s: %w", tw.Name, err)
	}
	return reconcile.Result{}, nil
}

// clean drives steps 1 and 2. It is done if the objects may be deleted.
func (r *reconciler) clean(ctx context.Context, tw *v1alpha1.Tierwall, s Settings) (res reconcile.Result, done bool, err error) {
	deadline := tw.DeletionTimestamp.Add(r.cleanupTimeout)
	left := deadline.Sub(r.clock.Now())
	var applyErr error
	for _, o := range []client.Object{serviceAccount(s), daemonSet(tw, s)} {
		if _, err := r.applier.apply(ctx, o); err != nil {
			applyErr = err
		}
	}
	ds, pods, err := r.agents(ctx)
	if err != nil {
		return res, false, err
	}
	clean, dirty := cleaned(ds, pods)
	if !(applyErr == nil && len(dirty) == 0) && left > 0 {
		later, err := r.report(ctx, tw, cleanupConditions(tw, clean, dirty, applyErr, deadline, r.clock.Now()), len(pods))
		if err != nil {
			return res, false, err
		}
		// Looked at again at the deadline at the latest; before that by whatever happens to the pods.
		return reconcile.Result{RequeueAfter: sooner(left, later)}, false, applyErr
	}
	if len(dirty) > 0 {
		note := clipTo(fmt.Sprintf("removed, though the kernel of these nodes still holds Tierwall's table: %s. "+
			"On each, run: nft delete table inet tierwall", upToTen(dirty)), 1000)
		log.FromContext(ctx).Info("nodes are not cleaned", "nodes", strings.Join(dirty, ","))
		r.events.Eventf(tw, nil, corev1.EventTypeWarning, reasonNotCleaned, "CleanUp", "%s", note)
	}
	return res, true, r.setMark(ctx, tw, dirty)
}

// cleaned tells the nodes whose agent has removed its table from those where
// it has not, both sorted. Until the DaemonSet's controller has seen the change,
// no node is clean. Nodes that nothing is known of but their number come last,
// as one entry.
func cleaned(ds *appsv1.DaemonSet, pods []corev1.Pod) (clean, dirty []string) {
	if ds == nil || !observed(ds) || ds.Spec.Template.Labels[modeLabel] != modeCleanup {
		return nil, []string{"all nodes"}
	}
	done, open := map[string]bool{}, map[string]bool{}
	for i := range pods {
		p := &pods[i]
		if p.Labels[modeLabel] == modeCleanup && p.DeletionTimestamp == nil && ready(p) {
			done[nodeOf(p)] = true
		} else {
			open[nodeOf(p)] = true
		}
	}
	// A pod of before may still be on its way out on a node that is clean; it could
	// write the table again.
	for n := range open {
		delete(done, n)
	}
	clean, dirty = slices.Sorted(maps.Keys(done)), slices.Sorted(maps.Keys(open))
	if unknown := int(ds.Status.DesiredNumberScheduled) - len(clean) - len(dirty); unknown > 0 {
		dirty = append(dirty, fmt.Sprintf("%d nodes that have no agent at the moment", unknown))
	}
	return clean, dirty
}

// cleanupConditions say how far the removal is.
func cleanupConditions(tw *v1alpha1.Tierwall, clean, dirty []string, applyErr error, deadline, now time.Time) []metav1.Condition {
	s := situation{generation: tw.Generation, now: now}
	waiting := clip(fmt.Sprintf("%d nodes are clean; waiting until %s for: %s",
		len(clean), deadline.UTC().Format(time.RFC3339), cmp.Or(upToTen(dirty), "the API server")))
	d := condition(s, ConditionDegraded, false, reasonCleaningUp, "the agents are being removed")
	if applyErr != nil {
		d = condition(s, ConditionDegraded, true, reasonNotApplied, clip(applyErr.Error()))
	}
	return []metav1.Condition{
		condition(s, ConditionAvailable, false, reasonCleaningUp, "the agents are being removed"),
		condition(s, ConditionProgressing, true, reasonCleaningUp, waiting),
		d,
	}
}
