package latency

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// Pods are the two ends of what is measured, in one namespace, on two nodes. The
// receiver has the label role=receiver, the sender role=sender.
type Pods struct{ Namespace, Sender, Receiver string }

// Trigger is a change that closes the way from the sender to the receiver, and
// the one that opens it again.
type Trigger struct {
	Name string
	// Prepare makes what must be there before, with the way open; Clean removes it
	// again, with the way open. nil: nothing.
	Prepare, Clean func(context.Context) error
	Deny, Allow    func(context.Context) error
}

const role = "role"

// open is the label that relabel's policy asks for.
const open = "latency-open"

// Triggers are all kinds of changes that are measured.
func Triggers(c client.Client, p Pods) []Trigger {
	return []Trigger{native(c, p), global(c, p), relabel(c, p)}
}

// meta of an object of this package's.
func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// native is a NetworkPolicy that lets nobody in, made and deleted.
func native(c client.Client, p Pods) Trigger {
	return toggled("NetworkPolicy", c, func() client.Object {
		return &networkingv1.NetworkPolicy{ObjectMeta: meta(p.Namespace, "latency"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{role: "receiver"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		}}
	})
}

// global is a GlobalNetworkPolicy that denies the sender, made and deleted.
func global(c client.Client, p Pods) Trigger {
	return toggled("GlobalNetworkPolicy", c, func() client.Object {
		return &v1alpha1.GlobalNetworkPolicy{ObjectMeta: meta("", "latency"), Spec: v1alpha1.GlobalNetworkPolicySpec{
			Selector: fmt.Sprintf("%s == 'receiver' && tierwall.io/namespace == '%s'", role, p.Namespace),
			Types:    []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress},
			Ingress: []v1alpha1.Rule{
				{Action: v1alpha1.Deny, Source: v1alpha1.EntityRule{Selector: fmt.Sprintf("%s == 'sender'", role)}},
				{Action: v1alpha1.Allow},
			},
		}}
	})
}

func toggled(name string, c client.Client, fresh func() client.Object) Trigger {
	remove := func(ctx context.Context) error { return c.Delete(ctx, fresh()) }
	return Trigger{
		Name: name, Allow: remove,
		Deny:  func(ctx context.Context) error { return c.Create(ctx, fresh()) },
		Clean: func(ctx context.Context) error { return client.IgnoreNotFound(remove(ctx)) },
	}
}

// relabel is a label of the sender, which a policy that is always there asks for.
func relabel(c client.Client, p Pods) Trigger {
	policy := func() *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: meta(p.Namespace, "latency-label"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{role: "receiver"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{open: "yes"}},
			}}}},
		}}
	}
	label := func(value string) func(context.Context) error {
		return func(ctx context.Context) error {
			patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, open, value)
			pod := &corev1.Pod{ObjectMeta: meta(p.Namespace, p.Sender)}
			return c.Patch(ctx, pod, client.RawPatch(types.MergePatchType, []byte(patch)))
		}
	}
	return Trigger{
		Name: "a pod's label", Deny: label("no"), Allow: label("yes"),
		Prepare: func(ctx context.Context) error {
			if err := label("yes")(ctx); err != nil {
				return err
			}
			return c.Create(ctx, policy())
		},
		Clean: func(ctx context.Context) error { return client.IgnoreNotFound(c.Delete(ctx, policy())) },
	}
}
