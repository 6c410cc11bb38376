package status

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// runtimeObject is what events are about.
type runtimeObject = runtime.Object

// Reasons of events. All are warnings that somebody has to do something about.
const (
	eventNotAccepted = "NotAccepted"
	eventNodesFailed = "NodesFailed"
)

// announce makes an event of what a person must act on: a policy that is not
// accepted, once a generation; and one that nodes fail to enforce, not more
// often than every eventPause, however often they come and go.
func (c *controller) announce(ref model.Ref, o runtimeObject, was, is *v1alpha1.PolicyStatus, now time.Time) {
	acc := meta.FindStatusCondition(is.Conditions, Accepted)
	if acc.Status == metav1.ConditionFalse && !same(was, acc) {
		c.events.Eventf(o, nil, corev1.EventTypeWarning, eventNotAccepted, "Accept", "%s", acc.Message)
	}
	enf := meta.FindStatusCondition(is.Conditions, Enforced)
	if enf.Reason == ReasonNodesFailed && !same(was, enf) && c.mayAnnounce(ref, now) {
		c.events.Eventf(o, nil, corev1.EventTypeWarning, eventNodesFailed, "Enforce", "%s", enf.Message)
	}
}

// same reports whether a status said this before, of the same generation.
func same(was *v1alpha1.PolicyStatus, cond *metav1.Condition) bool {
	before := meta.FindStatusCondition(was.Conditions, cond.Type)
	return before != nil && before.Status == cond.Status && before.Reason == cond.Reason && before.ObservedGeneration == cond.ObservedGeneration
}

func (c *controller) mayAnnounce(ref model.Ref, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.memory[ref]
	if m == nil || !m.event.IsZero() && now.Sub(m.event) < eventPause {
		return false
	}
	m.event = now
	return true
}

// announceNative makes an event of a policy that has no status of ours and that
// nodes fail to enforce.
func (c *controller) announceNative(ctx context.Context, ref model.Ref) error {
	t := c.board.tally(ref, 0)
	now := c.clock.Now()
	c.remember(ref, 0, &v1alpha1.PolicyStatus{}, now)
	if len(t.failed) == 0 || !c.mayAnnounce(ref, now) {
		return nil
	}
	list, name := client.ObjectList(&networkingv1.NetworkPolicyList{}), client.MatchingFields{"metadata.name": ref.Name}
	if ref.Kind == model.KindClusterNetworkPolicy {
		u := &unstructured.UnstructuredList{}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: clusterv1alpha2.GroupName, Version: "v1alpha2", Kind: "ClusterNetworkPolicyList"})
		list = u
	}
	// One request for an event is less than a cache of all of them.
	err := c.reader.List(ctx, list, client.InNamespace(ref.Namespace), name)
	if meta.IsNoMatchError(err) {
		return nil // the kind itself is gone
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	return meta.EachListItem(list, func(o runtimeObject) error {
		c.events.Eventf(o, nil, corev1.EventTypeWarning, eventNodesFailed, "Enforce", "%s",
			shorten(fmt.Sprintf("Failed on %s: %s. On %s: %s", nodes(len(t.failed)), names(t.failed), t.failed[0], t.messages[0])))
		return nil
	})
}
