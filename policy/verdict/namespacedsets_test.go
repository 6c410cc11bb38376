package verdict_test

import (
	"net/netip"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// TestNamespacedSetsAreNoGlobalPeers: a namespace's NetworkSet, whatever its labels
// and addresses, neither opens nor closes what a rule of a global policy decides,
// unless the rule says of which namespaces it means things.
func TestNamespacedSetsAreNoGlobalPeers(t *testing.T) {
	set := func(namespace, name string) runtime.Object {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"role": "partner"}}
		spec := v1alpha1.NetworkSetSpec{Nets: []string{"0.0.0.0/0"}}
		if namespace == "" {
			return &v1alpha1.GlobalNetworkSet{ObjectMeta: meta, Spec: spec}
		}
		return &v1alpha1.NetworkSet{ObjectMeta: meta, Spec: spec}
	}
	const matched, not = true, false
	for _, tt := range []struct {
		name       string
		peer       v1alpha1.EntityRule
		namespaced bool // the policy, in namespace shop
		set        runtime.Object
		selected   bool // whether the rule matches 203.0.113.1
		everywhere bool
	}{
		{"selector", v1alpha1.EntityRule{Selector: "role == 'partner'"}, false, set("shop", "s"), not, matched},
		{"selector, global set", v1alpha1.EntityRule{Selector: "role == 'partner'"}, false, set("", "s"), matched, matched},
		{"notSelector", v1alpha1.EntityRule{NotSelector: "role == 'partner'"}, false, set("shop", "s"), matched, not},
		{"notSelector, global set", v1alpha1.EntityRule{NotSelector: "role == 'partner'"}, false, set("", "s"), not, not},
		{"every selector", v1alpha1.EntityRule{Selector: "all()"}, false, set("shop", "s"), not, matched},
		{"namespaceSelector", v1alpha1.EntityRule{Selector: "role == 'partner'", NamespaceSelector: "all()"}, false, set("shop", "s"), matched, matched},
		{"namespaceSelector alone", v1alpha1.EntityRule{NamespaceSelector: "kubernetes.io/metadata.name == 'shop'"}, false, set("shop", "s"), matched, matched},
		{"namespaceSelector of another", v1alpha1.EntityRule{Selector: "role == 'partner'", NamespaceSelector: "kubernetes.io/metadata.name == 'pay'"}, false, set("shop", "s"), not, not},
		{"the label in the selector", v1alpha1.EntityRule{Selector: "role == 'partner' && projectcalico.org/namespace == 'shop'"}, false, set("shop", "s"), matched, matched},
		{"policy of the namespace", v1alpha1.EntityRule{Selector: "role == 'partner'"}, true, set("shop", "s"), matched, matched},
		{"policy of another", v1alpha1.EntityRule{Selector: "role == 'partner'"}, true, set("pay", "s"), not, not},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := []v1alpha1.Rule{{Action: v1alpha1.Allow, Source: tt.peer}}
			var p runtime.Object = &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1alpha1.GlobalNetworkPolicySpec{Ingress: rules}}
			if tt.namespaced {
				p = &v1alpha1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: v1alpha1.NetworkPolicySpec{Ingress: rules}}
			}
			ix := index.New(index.Options{})
			web := netip.MustParseAddr("10.0.0.1")
			ix.Upsert(&model.Endpoint{Ref: model.Ref{Kind: model.KindPod, Namespace: "shop", Name: "web"}, Node: "n", Addrs: []netip.Addr{web}})
			for _, o := range []runtime.Object{p, tt.set} {
				m, problems, _ := convert.Object(o)
				if len(problems) > 0 {
					t.Fatal(problems)
				}
				ix.Upsert(m)
			}
			flow := model.Flow{Src: netip.MustParseAddr("203.0.113.1"), Dst: web, Protocol: model.TCP, SrcPort: 40000, DstPort: 80}
			// There and back: the sets follow the setting.
			for _, everywhere := range []bool{false, true, false} {
				s := model.DefaultSettings()
				s.NamespacedSetsEverywhere = everywhere
				ix.Upsert(s)
				ix.Flush()
				want := tt.selected
				if everywhere {
					want = tt.everywhere
				}
				if got := verdict.Decide(ix, flow).Action == model.Allow; got != want {
					t.Errorf("everywhere %v: allowed %v, want %v", everywhere, got, want)
				}
			}
		})
	}
}
