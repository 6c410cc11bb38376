package operator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

type noCounter struct{}

func (noCounter) add(string) {}

// rig is a reconciler on a cluster that is a table of objects.
func rig(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) (*reconciler, client.Client) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.Tierwall{}, &appsv1.DaemonSet{}).WithInterceptorFuncs(funcs).Build()
	return &reconciler{
		client: c, reader: c, applier: applier{c, newRepairLimiter(clocktesting.NewFakePassiveClock(noon))},
		events: events.NewFakeRecorder(100), clock: clocktesting.NewFakePassiveClock(noon),
		repairs: noCounter{}, namespace: DefaultNamespace, image: "registry.example/tierwall:v1", cleanupTimeout: time.Minute,
	}, c
}

func theMark() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: DefaultNamespace, Name: MarkName}, Data: map[string]string{markUID: "u"}}
}

func TestBootstrap(t *testing.T) {
	there := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
	for _, tt := range []struct {
		name      string
		noDefault bool
		objects   []client.Object
		want      bool
	}{
		{"nothing", false, nil, true},
		{"told not to", true, nil, false},
		{"a person has deleted it", false, []client.Object{theMark()}, false},
		{"there already, unknown to the cache", false, []client.Object{there}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, c := rig(t, interceptor.Funcs{}, tt.objects...)
			r.noDefault = tt.noDefault
			if err := r.bootstrap(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := c.Get(t.Context(), client.ObjectKey{Name: v1alpha1.TierwallName}, &v1alpha1.Tierwall{})
			if got := err == nil; got != tt.want {
				t.Errorf("there is one: %t", got)
			}
		})
	}
}

// Reconciling a second time writes nothing.
func TestReconcileIsIdempotent(t *testing.T) {
	writes := 0
	count := interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			writes++
			return c.Apply(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			writes++
			return c.Patch(ctx, o, p, opts...)
		},
	}
	r, c := rig(t, count, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName, Generation: 1}})
	for round := range 3 {
		if _, err := r.Reconcile(t.Context(), theOne); err != nil {
			t.Fatal(err)
		}
		if round == 0 && writes < len(Desired(&v1alpha1.Tierwall{}, Settings{})) {
			t.Errorf("only %d writes", writes)
		} else if round > 0 && writes != 0 {
			t.Errorf("%d writes in round %d", writes, round)
		}
		writes = 0
	}
	tw := &v1alpha1.Tierwall{}
	if err := c.Get(t.Context(), theOne.NamespacedName, tw); err != nil || tw.Status.ObservedGeneration != 1 || len(tw.Status.Conditions) != 7 || tw.Status.Budgets != v1alpha1.GuardEnforce || tw.Status.Guards != v1alpha1.GuardEnforce {
		t.Errorf("%+v, %v", tw.Status, err)
	}
}

// An object that cannot be applied keeps no other from it, and is named.
func TestApplyFails(t *testing.T) {
	no := errors.New("quota")
	fail := interceptor.Funcs{Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
		if u, ok := o.(interface{ GetKind() string }); ok && (u.GetKind() == "Service" || u.GetKind() == "Tier") {
			return no
		}
		return c.Apply(ctx, o, opts...)
	}}
	r, c := rig(t, fail, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
	_, err := r.Reconcile(t.Context(), theOne)
	if !errors.Is(err, no) || !strings.Contains(err.Error(), "Service/tierwall-system/tierwall-agent cannot be applied") || !strings.Contains(err.Error(), "Tier/default cannot") {
		t.Errorf("error %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: DefaultNamespace, Name: AgentName}, &appsv1.DaemonSet{}); err != nil {
		t.Error(err)
	}
}

func TestNoImage(t *testing.T) {
	r, _ := rig(t, interceptor.Funcs{}, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
	r.image, r.pod = "", "missing"
	if _, err := r.Reconcile(t.Context(), theOne); err == nil || !strings.Contains(err.Error(), "set spec.agent.image") {
		t.Errorf("error %v", err)
	}
}

// The API server may fail at any write of the removal: it is gone about again,
// and ends, and nothing is left.
func TestRemovalIsResumed(t *testing.T) {
	for failAt := range 12 {
		now := metav1.NewTime(noon.Add(-2 * time.Minute)) // past the time-out: nobody has to be waited for
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName, UID: "u", Finalizers: []string{Finalizer}, DeletionTimestamp: &now}}
		writes := 0
		refuse := func() error {
			if writes++; writes == failAt+1 {
				return apierrors.NewServiceUnavailable("restarting")
			}
			return nil
		}
		r, c := rig(t, interceptor.Funcs{
			Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				if err := refuse(); err != nil {
					return err
				}
				return c.Apply(ctx, o, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
				if err := refuse(); err != nil {
					return err
				}
				return c.Delete(ctx, o, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				if err := refuse(); err != nil {
					return err
				}
				return c.Patch(ctx, o, p, opts...)
			},
		}, tw)
		for range 3 {
			_, _ = r.Reconcile(t.Context(), theOne)
		}
		if err := c.Get(t.Context(), theOne.NamespacedName, tw); !apierrors.IsNotFound(err) {
			t.Errorf("write %d failed: the object is still there: %v", failAt, err)
		}
		for _, o := range removable(tw, Settings{}) {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) {
				t.Errorf("write %d failed: %s is still there: %v", failAt, kindOf(o), err)
			}
		}
		m := theMark()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil || m.Data[markUID] != "u" || m.Data[markNodes] != "all nodes" {
			t.Errorf("write %d failed: mark %v, %v", failAt, m.Data, err)
		}
	}
}

// somebodyElse changes the DaemonSet behind the operator's back.
func somebodyElse(t *testing.T, c client.Client) {
	t.Helper()
	ds := &appsv1.DaemonSet{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: DefaultNamespace, Name: AgentName}, ds); err != nil {
		t.Fatal(err)
	}
	ds.Spec.Template.Spec.Containers[0].Image = "else"
	if err := c.Update(t.Context(), ds, client.FieldOwner("else")); err != nil {
		t.Fatal(err)
	}
}

// An object that is changed again and again is put right at a rate that the API
// server can bear, and a person is told.
func TestRepairLimiter(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(noon)
	r, c := rig(t, interceptor.Funcs{}, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
	r.applier.repairs = newRepairLimiter(now)
	recorder := events.NewFakeRecorder(100)
	r.events = recorder
	reconcile := func() error {
		_, err := r.Reconcile(t.Context(), theOne)
		return err
	}
	if err := reconcile(); err != nil {
		t.Fatal(err)
	}
	for range repairBurst {
		somebodyElse(t, c)
		if err := reconcile(); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(recorder.Events); got != repairBurst {
		t.Errorf("%d events of repairs", got)
	}
	somebodyElse(t, c)
	var q *repairLimitedError
	if err := reconcile(); !errors.As(err, &q) || q.object != "DaemonSet/tierwall-system/tierwall-agent" {
		t.Errorf("error %v", err)
	}
	for len(recorder.Events) > 1 {
		<-recorder.Events
	}
	if got := <-recorder.Events; !strings.HasPrefix(got, "Warning NotApplied DaemonSet/tierwall-system/tierwall-agent is changed by another client") {
		t.Errorf("event %q", got)
	}
	now.SetTime(noon.Add(repairPause))
	if err := reconcile(); err != nil {
		t.Errorf("it is not put right later: %v", err)
	}
}

// What a mutating webhook of the cluster's insists on is no repair.
func TestWebhookInsists(t *testing.T) {
	deaf := false
	r, c := rig(t, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if u, ok := o.(client.Object); ok && deaf {
				ds := &appsv1.DaemonSet{}
				err := c.Get(ctx, client.ObjectKeyFromObject(u), ds)
				u.SetResourceVersion(ds.ResourceVersion)
				return err
			}
			return c.Apply(ctx, o, opts...)
		},
	}, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
	recorder := events.NewFakeRecorder(100)
	r.events = recorder
	if _, err := r.Reconcile(t.Context(), theOne); err != nil {
		t.Fatal(err)
	}
	ds := &appsv1.DaemonSet{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: DefaultNamespace, Name: AgentName}, ds); err != nil {
		t.Fatal(err)
	}
	ds.Spec.Template.Spec.Containers[0].Image = "mirror"
	if err := c.Update(t.Context(), ds, client.FieldOwner(FieldOwner)); err != nil {
		t.Fatal(err)
	}
	deaf = true
	if _, err := r.Reconcile(t.Context(), theOne); err != nil {
		t.Fatal(err)
	}
	if len(recorder.Events) != 0 {
		t.Errorf("event %q", <-recorder.Events)
	}
}

// In a large cluster the numbers of a rollout are told now and then; what matters
// is told at once.
func TestReportIsCalm(t *testing.T) {
	writes := 0
	now := clocktesting.NewFakePassiveClock(noon)
	r, c := rig(t, interceptor.Funcs{
		SubResourceApply: func(ctx context.Context, c client.Client, _ string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			writes++
			return c.Status().Apply(ctx, o, opts...)
		},
	}, &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})
	r.clock = now
	const nodes = 1000
	tell := func(available int32) time.Duration {
		t.Helper()
		tw := &v1alpha1.Tierwall{}
		if err := c.Get(t.Context(), theOne.NamespacedName, tw); err != nil {
			t.Fatal(err)
		}
		conditions, _ := assess(situation{ds: rollout(nodes, nodes, available), now: now.Now()})
		later, err := r.report(t.Context(), tw, conditions, nodes)
		if err != nil {
			t.Fatal(err)
		}
		return later
	}
	for _, tt := range []struct {
		after     time.Duration
		available int32
		writes    int
		later     time.Duration
	}{
		{0, 100, 1, 0},
		{0, 100, 1, 0},                // nothing new
		{0, 101, 1, 10 * time.Second}, // a number
		{4 * time.Second, 110, 1, 6 * time.Second},
		{10 * time.Second, 120, 2, 0},
		{11 * time.Second, 950, 3, 0}, // available now
		{12 * time.Second, nodes, 4, 0},
	} {
		now.SetTime(noon.Add(tt.after))
		if later := tell(tt.available); later != tt.later || writes != tt.writes {
			t.Errorf("%d available after %s: %d writes, want %d; again after %s, want %s", tt.available, tt.after, writes, tt.writes, later, tt.later)
		}
	}
}
