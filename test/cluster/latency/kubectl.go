package latency

import (
	"context"
	"fmt"
)

// Apply applies a manifest, as kubectl does.
type Apply func(ctx context.Context, manifest string) error

// KubectlTriggers are policies whose rules change by `kubectl apply`: the program
// starts, asks the API server what it serves and what there is, and sends the
// change.
func KubectlTriggers(apply Apply, remove func(ctx context.Context, names ...string) error, p Pods) []Trigger {
	native := func(from string) string {
		return fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: latency-apply, namespace: %s}
spec:
  podSelector: {matchLabels: {%s: receiver}}
  ingress:
  - from: [{podSelector: {matchLabels: {%s: %s}}}]
`, p.Namespace, role, role, from)
	}
	global := func(action string) string {
		return fmt.Sprintf(`apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: latency-apply}
spec:
  selector: %s == 'receiver' && tierwall.io/namespace == '%s'
  ingress:
  - {action: %s, source: {selector: %s == 'sender'}}
  - {action: Allow}
`, role, p.Namespace, action, role)
	}
	to := func(manifest string) func(context.Context) error {
		return func(ctx context.Context) error { return apply(ctx, manifest) }
	}
	return []Trigger{
		{
			Name: "kubectl apply of a NetworkPolicy", Prepare: to(native("sender")), Deny: to(native("nobody")), Allow: to(native("sender")),
			Clean: func(ctx context.Context) error {
				return remove(ctx, "--namespace", p.Namespace, "networkpolicies.networking.k8s.io", "latency-apply")
			},
		},
		{
			Name: "kubectl apply of a GlobalNetworkPolicy", Prepare: to(global("Allow")), Deny: to(global("Deny")), Allow: to(global("Allow")),
			Clean: func(ctx context.Context) error {
				return remove(ctx, "globalnetworkpolicies.tierwall.io", "latency-apply")
			},
		},
	}
}
