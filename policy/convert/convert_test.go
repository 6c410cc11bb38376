package convert

import (
	"math"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func mustYAML(t *testing.T, o runtime.Object) string {
	t.Helper()
	b, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUnknownKinds(t *testing.T) {
	for name, o := range map[string]runtime.Object{
		"nil":                nil,
		"another kind":       &corev1.ConfigMap{},
		"a list":             &corev1.PodList{},
		"nil pod":            (*corev1.Pod)(nil),
		"nil namespace":      (*corev1.Namespace)(nil),
		"nil account":        (*corev1.ServiceAccount)(nil),
		"nil node":           (*corev1.Node)(nil),
		"nil service":        (*corev1.Service)(nil),
		"nil slice":          (*discoveryv1.EndpointSlice)(nil),
		"nil native policy":  (*networkingv1.NetworkPolicy)(nil),
		"nil cluster policy": (*clusterv1alpha2.ClusterNetworkPolicy)(nil),
		"nil tier":           (*v1alpha1.Tier)(nil),
		"nil global policy":  (*v1alpha1.GlobalNetworkPolicy)(nil),
		"nil policy":         (*v1alpha1.NetworkPolicy)(nil),
		"nil global set":     (*v1alpha1.GlobalNetworkSet)(nil),
		"nil set":            (*v1alpha1.NetworkSet)(nil),
		"nil host endpoint":  (*v1alpha1.HostEndpoint)(nil),
		"nil tierwall":       (*v1alpha1.Tierwall)(nil),
	} {
		if ref, ok := RefOf(o); ok {
			t.Errorf("%s: RefOf = %v", name, ref)
		}
		if obj, problems, known := Object(o); obj != nil || problems != nil || known {
			t.Errorf("%s: Object = %v, %v, %v", name, obj, problems, known)
		}
	}
}

func TestRefOf(t *testing.T) {
	for kind, make := range newObject {
		o := make()
		m := o.(metav1.Object)
		m.SetName("x")
		m.SetNamespace("shop")
		want := model.Ref{Kind: kind, Name: "x"}
		for _, k := range namespacedKinds {
			if k == kind {
				want.Namespace = "shop"
			}
		}
		if got, ok := RefOf(o); !ok || got != want {
			t.Errorf("RefOf(%T) = %v, %v, want %v", o, got, ok, want)
		}
	}
}

// No decoder yields these, but the types can hold them.
func TestOrderThatIsNoNumber(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		o := &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: v1alpha1.TierSpec{Order: &v}}
		obj, problems, _ := Object(o)
		if got := obj.(*model.Tier).Order; got != model.NoOrder {
			t.Errorf("order %v became %v", v, got)
		}
		if len(problems) != 1 || problems[0].Field != "spec.order" || problems[0].Warning {
			t.Errorf("order %v: problems %v", v, problems)
		}
	}
}

func TestQuoteShortens(t *testing.T) {
	for in, want := range map[string]string{
		"":                            `""`,
		strings.Repeat("a", 60):       `"` + strings.Repeat("a", 60) + `"`,
		strings.Repeat("a", 61):       `"` + strings.Repeat("a", 60) + `"… (61 bytes)`,
		strings.Repeat("a", 59) + "é": `"` + strings.Repeat("a", 59) + `"… (61 bytes)`,
		"a\nb":                        `"a\nb"`,
		strings.Repeat("\x80", 100):   `""… (100 bytes)`,
		strings.Repeat("x", 1<<20):    `"` + strings.Repeat("x", 60) + `"… (1048576 bytes)`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%.80q) = %s, want %s", in, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		what  string
		check func(string) bool
		good  []string
		bad   []string
	}{
		{
			"DNS label", isDNSLabel,
			[]string{"a", "0", "a-b", "kube-system", long(63)},
			[]string{"", "-a", "a-", "A", "a.b", "a_b", "é", long(64)},
		},
		{
			"DNS subdomain", isDNSSubdomain,
			[]string{"a", "a.b", "a-b.c-d", "0.0", long(64), long(253)},
			[]string{"", ".", "a.", ".a", "a..b", "-a", "a-", "a-.b", "a.-b", "A", "a/b", long(254)},
		},
		{
			"label key", isLabelKey,
			[]string{"a", "A_b.c-d", "tierwall.io/name", "0", "a/" + long(63), long(63)},
			[]string{"", "/", "a/", "/a", "a/b/c", "A/b", "-a", "a:", ":kind", "ns:a", "a b", long(64), "a/" + long(64), long(254) + "/a"},
		},
		{
			"label value", isLabelValue,
			[]string{"", "a", "A_b.c-d", "0", long(63)},
			[]string{"-", "a-", "_", "a b", "a/b", "é", long(64)},
		},
		{
			"container port name", isContainerPortName,
			[]string{"http", "a", "8a", "a-b", "http-metrics-15"},
			[]string{"", "80", "-a", "a-", "a--b", "HTTP", "a.b", "sixteen-letters-"},
		},
		{
			"rule port name", isRulePortName,
			[]string{"http", "HTTP", "a.b_c-d", long(128)},
			[]string{"", "80", "80-90", "a b", "a:b", long(129)},
		},
	} {
		for _, s := range c.good {
			if !c.check(s) {
				t.Errorf("%s: %q is refused", c.what, s)
			}
		}
		for _, s := range c.bad {
			if c.check(s) {
				t.Errorf("%s: %q is accepted", c.what, s)
			}
		}
	}
}
