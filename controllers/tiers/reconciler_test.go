package tiers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// builder makes clients that select policies by tier.
func builder(t *testing.T, objects ...client.Object) *fake.ClientBuilder {
	t.Helper()
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(s).WithObjects(objects...).WithStatusSubresource(&v1alpha1.Tier{}).
		WithIndex(&v1alpha1.GlobalNetworkPolicy{}, tierField, tiersOf).
		WithIndex(&v1alpha1.NetworkPolicy{}, tierField, tiersOf)
}

// going is a tier that is being deleted and held.
func going(name string) *v1alpha1.Tier {
	return &v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{
		Name: name, Finalizers: []string{Finalizer}, DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)},
	}}
}

var when = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func reconciles(c client.Client, live client.Reader) (*reconciler, *events.FakeRecorder) {
	recorder := events.NewFakeRecorder(10)
	return &reconciler{client: c, live: live, events: recorder, clock: testclock.NewFakePassiveClock(when)}, recorder
}

func look(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}

// TestNewPolicyHoldsItsTier: a policy that the cache has not seen yet counts.
func TestNewPolicyHoldsItsTier(t *testing.T) {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: v1alpha1.GlobalNetworkPolicySpec{Tier: "a"}}
	c := builder(t, going("a")).Build()
	r, recorder := reconciles(c, builder(t, p).Build())
	if _, err := r.Reconcile(t.Context(), look("a")); err != nil {
		t.Fatal(err)
	}
	var got v1alpha1.Tier
	if err := c.Get(t.Context(), client.ObjectKey{Name: "a"}, &got); err != nil {
		t.Fatalf("the tier has gone: %v", err)
	}
	cond := meta.FindStatusCondition(got.Status.Conditions, Deleting)
	if cond == nil || !strings.Contains(cond.Message, "GlobalNetworkPolicy/new") || !cond.LastTransitionTime.Time.Equal(when) {
		t.Errorf("condition %+v", cond)
	}
	if len(recorder.Events) != 1 {
		t.Errorf("%d events, want 1", len(recorder.Events))
	}
	// The same again is nothing new.
	before := got.ResourceVersion
	if _, err := r.Reconcile(t.Context(), look("a")); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "a"}, &got); err != nil || got.ResourceVersion != before || len(recorder.Events) != 1 {
		t.Errorf("written again: version %s after %s, %d events, %v", got.ResourceVersion, before, len(recorder.Events), err)
	}
}

// TestWhatCannotBeListedHolds: a tier goes only if it is known that nothing is in it.
func TestWhatCannotBeListedHolds(t *testing.T) {
	away := errors.New("away")
	live := builder(t).WithInterceptorFuncs(interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return away },
	}).Build()
	c := builder(t, going("a")).Build()
	r, _ := reconciles(c, live)
	if _, err := r.Reconcile(t.Context(), look("a")); !errors.Is(err, away) || !strings.Contains(err.Error(), "Tier/a") {
		t.Errorf("got %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "a"}, &v1alpha1.Tier{}); err != nil {
		t.Errorf("the tier: %v", err)
	}
}

// TestWithoutPolicies: an empty tier goes, one that is not there is nobody's concern,
// and one that another finalizer holds is left to whoever that belongs to.
func TestWithoutPolicies(t *testing.T) {
	elsewhere := &v1alpha1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: v1alpha1.NetworkPolicySpec{Tier: "b"}}
	foreign := going("foreign")
	foreign.Finalizers = []string{"example.org/other"}
	c := builder(t, going("a"), foreign, elsewhere).Build()
	r, _ := reconciles(c, c)
	for _, name := range []string{"a", "foreign", "nowhere"} {
		if _, err := r.Reconcile(t.Context(), look(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "a"}, &v1alpha1.Tier{}); !apierrors.IsNotFound(err) {
		t.Errorf("the empty tier: %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "foreign"}, foreign); err != nil || len(foreign.Finalizers) != 1 {
		t.Errorf("the foreign tier: %v, %v", foreign.Finalizers, err)
	}
}
