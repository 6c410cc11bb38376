package crd

import (
	"context"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// maxObjectBytes is about what etcd takes in one request.
const maxObjectBytes = 1_500_000

// TestLargestObjectsStayInBudget validates objects as large as etcd stores
// them: the API server refuses an object whose rules cost more than its budget.
func TestLargestObjectsStayInBudget(t *testing.T) {
	defs := loadDefinitions(t)
	shortNets := func(n int) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = "::1/1"
		}
		return out
	}
	ports := func(n int) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = int64(i + 1)
		}
		return out
	}
	rules := func(n int, rule func() map[string]any) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = rule()
		}
		return out
	}
	// As many rules as fit, each with a list at its limit.
	for _, tc := range []struct {
		name string
		kind string
		spec map[string]any
	}{
		{"rules of nets", "GlobalNetworkPolicy", map[string]any{
			"ingress": rules(600, func() map[string]any {
				return map[string]any{"action": "Allow", "source": map[string]any{"nets": shortNets(256)}}
			}),
		}},
		{"rules of notNets", "GlobalNetworkPolicy", map[string]any{
			"egress": rules(600, func() map[string]any {
				return map[string]any{"action": "Deny", "destination": map[string]any{"notNets": shortNets(256)}}
			}),
		}},
		{"rules of ports", "NetworkPolicy", map[string]any{
			"ingress": rules(1024, func() map[string]any {
				return map[string]any{"action": "Allow", "protocol": "TCP", "source": map[string]any{"ports": ports(50)}, "destination": map[string]any{"ports": ports(50), "notPorts": ports(50)}}
			}),
			"egress": rules(1024, func() map[string]any {
				return map[string]any{"action": "Allow", "protocol": "TCP", "destination": map[string]any{"ports": ports(50), "notPorts": ports(50)}}
			}),
		}},
		{"a network set", "GlobalNetworkSet", map[string]any{"nets": shortNets(50000)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "tierwall.io/v1alpha1", "kind": tc.kind,
				"metadata": map[string]any{"name": "large", "namespace": "shop"},
				"spec":     tc.spec,
			}}
			data, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if len(data) < maxObjectBytes/4 {
				t.Errorf("the object has %d bytes: too small to show anything", len(data))
			}
			d := defs[tc.kind]
			errs, left := d.rules.Validate(context.Background(), nil, d.structural, o.Object, nil, celconfig.RuntimeCELCostBudget)
			for _, err := range errs {
				t.Error(fmt.Sprint(err)[:min(300, len(err.Error()))])
			}
			t.Logf("%d bytes cost %d of %d", len(data), celconfig.RuntimeCELCostBudget-left, celconfig.RuntimeCELCostBudget)
		})
	}
}
