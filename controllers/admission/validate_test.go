package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	webhook "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

func newScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// newValidator knows tier security from the cache, tier new from the API server
// only, and tier leaving, which is being deleted.
func newValidator(t testing.TB) *validator {
	t.Helper()
	s := newScheme(t)
	tier := func(name string) *v1alpha1.Tier { return &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	leaving := tier("leaving")
	leaving.Finalizers, leaving.DeletionTimestamp = []string{"tierwall.io/policies"}, &metav1.Time{Time: time.Unix(1, 0)}
	return &validator{
		scheme: s,
		tiers:  fake.NewClientBuilder().WithScheme(s).WithObjects(tier("security"), leaving).Build(),
		live:   fake.NewClientBuilder().WithScheme(s).WithObjects(tier("security"), leaving, tier("new")).Build(),
	}
}

// request asks about an object; old is nil for a new one.
func request(t testing.TB, o, old client.Object) webhook.Request {
	t.Helper()
	encode := func(o client.Object) runtime.RawExtension {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: data}
	}
	kinds, _, err := newScheme(t).ObjectKinds(o)
	if err != nil {
		t.Fatal(err)
	}
	r := webhook.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		Operation: admissionv1.Create, Object: encode(o),
		Kind: metav1.GroupVersionKind{Group: kinds[0].Group, Version: kinds[0].Version, Kind: kinds[0].Kind},
	}}
	if old != nil {
		r.Operation, r.OldObject = admissionv1.Update, encode(old)
	}
	return r
}

func policyOf(change func(*v1alpha1.GlobalNetworkPolicySpec)) *v1alpha1.GlobalNetworkPolicy {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	p.Spec.Tier = "security"
	change(&p.Spec)
	return p
}

func TestHandle(t *testing.T) {
	good := policyOf(func(*v1alpha1.GlobalNetworkPolicySpec) {})
	bad := policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "app = 'web'" })
	in := func(tier string) *v1alpha1.GlobalNetworkPolicy {
		return policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = tier })
	}
	labelled := bad.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	dying := bad.DeepCopy()
	dying.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	never := policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) {
		v := v1alpha1.Rule{Action: v1alpha1.Allow}
		v.Source.Nets, v.Source.NotNets = []string{"192.0.2.0/24"}, []string{"192.0.2.0/23"}
		s.Ingress = []v1alpha1.Rule{v}
	})
	for _, tc := range []struct {
		name     string
		o, old   client.Object
		refused  []string // the fields
		warnings []string // what each begins with
	}{
		{name: "good", o: good},
		{name: "no tier named", o: in("")},
		{name: "built-in tier", o: in("kube-baseline")},
		{name: "bad selector", o: bad, refused: []string{"spec.selector"}},
		{name: "made bad", o: bad, old: good, refused: []string{"spec.selector"}},
		{name: "made good", o: good, old: bad},
		{name: "bad as before, labelled", o: labelled, old: bad, warnings: []string{"spec.selector: "}},
		{name: "bad, being deleted", o: dying, old: bad},
		{name: "several fields", o: policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) {
			s.NamespaceSelector = "("
			s.Egress = []v1alpha1.Rule{{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Selector: "has(", Nets: []string{"192.0.2.0/33"}}}}
		}), refused: []string{"spec.namespaceSelector", "spec.egress[0].destination.selector", "spec.egress[0].destination.nets[0]"}},
		{name: "missing tier", o: in("secrity"), refused: []string{"spec.tier"}},
		{name: "moved to a missing tier", o: in("secrity"), old: good, refused: []string{"spec.tier"}},
		{name: "tier has gone", o: policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier, s.Selector = "gone", "has(a)" }), old: in("gone"), warnings: []string{"spec.tier: tier \"gone\" does not exist"}},
		{name: "tier too new for the cache", o: in("new")},
		{name: "tier on its way out", o: in("leaving"), refused: []string{"spec.tier"}},
		{name: "stays in a tier on its way out", o: policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier, s.Selector = "leaving", "has(a)" }), old: in("leaving"), warnings: []string{"spec.tier: tier \"leaving\" is being deleted"}},
		{name: "never matches", o: never, warnings: []string{"spec.ingress[0]: never matches: "}},
		{name: "set", o: &v1alpha1.NetworkSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s"}, Spec: v1alpha1.NetworkSetSpec{Nets: []string{"192.0.2.1/24x"}}}, refused: []string{"spec.nets[0]"}, warnings: []string{"spec.nets: invalid blocks are left out"}},
		{name: "tier", o: &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "t"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newValidator(t).Handle(t.Context(), request(t, tc.o, tc.old))
			if r.Allowed != (len(tc.refused) == 0) {
				t.Fatalf("allowed %v: %v", r.Allowed, r.Result)
			}
			var fields []string
			if !r.Allowed {
				if r.Result.Code != http.StatusUnprocessableEntity || r.Result.Reason != metav1.StatusReasonInvalid {
					t.Errorf("code %d, reason %s", r.Result.Code, r.Result.Reason)
				}
				for _, c := range r.Result.Details.Causes {
					fields = append(fields, c.Field)
					if !strings.Contains(r.Result.Message, c.Field+": "+c.Message) {
						t.Errorf("message %q lacks %s: %s", r.Result.Message, c.Field, c.Message)
					}
				}
			}
			if !slices.Equal(slices.Sorted(slices.Values(fields)), slices.Sorted(slices.Values(tc.refused))) {
				t.Errorf("refused for %v, want %v: %v", fields, tc.refused, r.Result)
			}
			if len(r.Warnings) != len(tc.warnings) {
				t.Fatalf("warnings %q, want %q", r.Warnings, tc.warnings)
			}
			for i, w := range tc.warnings {
				if !strings.HasPrefix(r.Warnings[i], w) {
					t.Errorf("warning %q, want %q…", r.Warnings[i], w)
				}
			}
		})
	}
}

// TestUnreadable: what is no object of the kind is refused, not stored half read.
func TestUnreadable(t *testing.T) {
	r := request(t, policyOf(func(*v1alpha1.GlobalNetworkPolicySpec) {}), nil)
	r.Object.Raw = []byte(`{"spec":{"order":"first"}}`)
	if got := newValidator(t).Handle(t.Context(), r); got.Allowed || got.Result.Code != http.StatusBadRequest {
		t.Errorf("%v", got)
	}
	r.Kind.Kind = "Unknown"
	if got := newValidator(t).Handle(t.Context(), r); got.Allowed {
		t.Errorf("an unknown kind is allowed: %v", got)
	}
}

// TestTiersCannotBeRead: where nobody knows whether a tier exists, the policy is
// not refused.
func TestTiersCannotBeRead(t *testing.T) {
	v := newValidator(t)
	broken := fake.NewClientBuilder().WithScheme(v.scheme).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return errors.New("away")
		},
	}).Build()
	v.tiers, v.live = broken, broken
	p := policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "any" })
	if r := v.Handle(t.Context(), request(t, p, nil)); !r.Allowed || len(r.Warnings) != 0 {
		t.Errorf("%v", r)
	}
}

// TestAnswersAreBounded: a bad object of any size is refused with a short answer.
func TestAnswersAreBounded(t *testing.T) {
	p := policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) {
		for range 1024 {
			s.Ingress = append(s.Ingress, v1alpha1.Rule{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{Selector: "\u202e\n" + strings.Repeat("x", 8000)}})
		}
	})
	r := newValidator(t).Handle(t.Context(), request(t, p, nil))
	if r.Allowed {
		t.Fatal("allowed")
	}
	if n := len(r.Result.Message); n > 4000 {
		t.Errorf("the message has %d bytes", n)
	}
	if !strings.HasSuffix(r.Result.Message, "and 1014 more") {
		t.Errorf("%s", r.Result.Message[max(0, len(r.Result.Message)-100):])
	}
	if strings.ContainsAny(r.Result.Message, "\n\u202e") {
		t.Error("the message is more than a line of text")
	}
	if n := len(r.Result.Details.Causes); n != maxListed {
		t.Errorf("%d causes", n)
	}
}

// BenchmarkHandle asks about a policy about as large as an API server takes.
func BenchmarkHandle(b *testing.B) {
	p := policyOf(func(s *v1alpha1.GlobalNetworkPolicySpec) {
		for i := range 400 {
			r := v1alpha1.Rule{Action: v1alpha1.Allow}
			for j := range 256 {
				r.Source.Nets = append(r.Source.Nets, fmt.Sprintf("10.%d.%d.0/24", i%256, j))
			}
			s.Ingress = append(s.Ingress, r)
		}
	})
	v, req := newValidator(b), request(b, p, nil)
	for b.Loop() {
		if r := v.Handle(b.Context(), req); !r.Allowed {
			b.Fatal(r)
		}
	}
}
