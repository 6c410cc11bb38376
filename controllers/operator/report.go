package operator

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// calm is how long a status stays, in a cluster of so many nodes, before mere numbers
// in its messages are rewritten. Every agent watches the Tierwall object: each write is
// sent to all of them.
func calm(nodes int) time.Duration { return time.Duration(nodes/100) * time.Second }

// report writes the conditions to the object's status if they have changed. Changes in
// messages alone may have to wait; it returns for how long.
func (r *reconciler) report(ctx context.Context, tw *v1alpha1.Tierwall, conditions []metav1.Condition, nodes int) (later time.Duration, err error) {
	before := tw.Status.Conditions
	after := tw.Status.DeepCopy().Conditions
	changed, urgent := false, tw.Status.ObservedGeneration != tw.Generation
	for _, c := range conditions {
		old := meta.FindStatusCondition(before, c.Type)
		urgent = urgent || old == nil || old.Status != c.Status || old.Reason != c.Reason
		changed = meta.SetStatusCondition(&after, c) || changed
	}
	now := r.clock.Now()
	if !urgent {
		if !changed {
			return 0, nil
		}
		if left := calm(nodes) - now.Sub(r.reported); left > 0 {
			return left, nil
		}
	}
	// Only what is the operator's is sent: others may report on the object too.
	own := make([]any, 0, len(conditions))
	for _, c := range conditions {
		own = append(own, fieldsOf(meta.FindStatusCondition(after, c.Type)))
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"status": map[string]any{"observedGeneration": tw.Generation, "conditions": own},
	}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Tierwall"))
	u.SetName(tw.Name)
	err = r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldOwner), client.ForceOwnership)
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("writing the status of Tierwall/%s: %w", tw.Name, err)
	}
	r.reported = now
	if c := meta.FindStatusCondition(after, ConditionDegraded); c != nil && c.Status == metav1.ConditionTrue && !meta.IsStatusConditionTrue(before, ConditionDegraded) {
		r.events.Eventf(tw, nil, corev1.EventTypeWarning, c.Reason, "Reconcile", "%s", clipTo(c.Message, 1000))
	}
	return 0, nil
}

func fieldsOf(c *metav1.Condition) map[string]any {
	return map[string]any{
		"type": c.Type, "status": string(c.Status), "reason": c.Reason, "message": c.Message,
		"observedGeneration": c.ObservedGeneration, "lastTransitionTime": c.LastTransitionTime.UTC().Format(time.RFC3339),
	}
}

// sooner is the shorter of two durations, where 0 means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
