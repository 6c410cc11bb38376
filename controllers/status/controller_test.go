package status

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/flowcontrol"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// recorded are events.
type recorded []string

var _ recorder = (*recorded)(nil)

func (r *recorded) Eventf(o, _ runtimeObject, typ, reason, action, note string, args ...any) {
	m, _ := meta.Accessor(o)
	*r = append(*r, m.GetName()+" "+typ+" "+reason+" "+action+" "+fmt.Sprintf(note, args...))
}

// rig is a controller with an API server that counts.
type rig struct {
	*controller
	t      *testing.T
	clock  *clocktesting.FakePassiveClock
	events recorded
	writes int
	fail   error
}

func newRig(t *testing.T, objects ...client.Object) *rig {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{t: t, clock: clocktesting.NewFakePassiveClock(start)}
	inner := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&networkingv1.NetworkPolicy{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).
		WithStatusSubresource(&v1alpha1.GlobalNetworkPolicy{}, &v1alpha1.NetworkPolicy{}).Build()
	c := interceptor.NewClient(inner, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if r.fail != nil {
				return r.fail
			}
			r.writes++
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
	r.controller = &controller{
		client: c, reader: c, clock: r.clock, events: &r.events, limit: flowcontrol.NewFakeAlwaysRateLimiter(),
		board: newBoard(r.clock), steady: 30 * time.Second, memory: map[model.Ref]*memory{},
	}
	return r
}

// step moves the clock on and reconciles a policy; it returns when to come again.
func (r *rig) step(after time.Duration, ref model.Ref) time.Duration {
	r.t.Helper()
	r.clock.SetTime(r.clock.Now().Add(after))
	res, err := r.Reconcile(context.Background(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.RequeueAfter
}

// says is the reason of Enforced, and the count.
func (r *rig) says(ref model.Ref) string {
	r.t.Helper()
	_, st, err := r.policy(context.Background(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	enf := meta.FindStatusCondition(st.Conditions, Enforced)
	if enf == nil {
		return "nothing"
	}
	ready := "-"
	if st.Nodes != nil {
		ready = st.Nodes.Ready
	}
	return enf.Reason + " " + ready
}

// node makes a node and its report; the report is replaced if it is there.
func (r *rig) node(name string, change func(*v1alpha1.NodeState)) {
	r.t.Helper()
	ctx := context.Background()
	rep := report(name, change)
	rep.Report.RenewTime = metav1.NewTime(r.clock.Now())
	err := r.client.Create(ctx, &rep)
	if err == nil {
		err = r.client.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	} else {
		old := &v1alpha1.NodeReport{}
		if err = r.client.Get(ctx, client.ObjectKey{Name: name}, old); err == nil {
			old.Report = rep.Report
			err = r.client.Update(ctx, old)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.board.touch()
}

func TestWritesAreFewAndOnlyOnChange(t *testing.T) {
	r := newRig(t, gnp("p", nil))
	r.node("a", nil)
	settle := settleTime(1)
	if again := r.step(time.Minute, p); again != settle || r.writes != 1 || r.says(p) != "Pending 0/0" {
		t.Errorf("new: again after %s, %d writes, %s", again, r.writes, r.says(p))
	}
	r.node("a", holds("GlobalNetworkPolicy/p", 1))
	r.node("b", holds("GlobalNetworkPolicy/p", 1))
	if again := r.step(settle/2, p); again <= 0 || r.writes != 1 {
		t.Errorf("within the time to settle: again after %s, %d writes", again, r.writes)
	}
	if again := r.step(settle, p); again != 0 || r.writes != 2 || r.says(p) != "Enforced 2/2" {
		t.Errorf("settled: again after %s, %d writes, %s", again, r.writes, r.says(p))
	}
	for range 10 {
		r.step(time.Minute, p)
	}
	if r.writes != 2 {
		t.Errorf("%d writes without a change", r.writes)
	}
	// Pods come and go for ten minutes, and with them the nodes that the policy is for.
	from := r.clock.Now()
	for i := 0; r.clock.Since(from) < 10*time.Minute; i++ {
		r.node("a", holds("GlobalNetworkPolicy/p", 1))
		if i%2 == 0 {
			r.node("b", nil)
		} else {
			r.node("b", holds("GlobalNetworkPolicy/p", 1))
		}
		r.step(time.Second, p)
	}
	if r.writes > 2+21 {
		t.Errorf("%d writes while a node flaps for ten minutes, want two a minute", r.writes-2)
	}
	r.node("b", holds("GlobalNetworkPolicy/p", 1))
	r.step(30*time.Second, p)
	if r.says(p) != "Enforced 2/2" {
		t.Errorf("in the end: %s", r.says(p))
	}
	// A failure does not wait for that.
	writes := r.writes
	r.node("b", func(s *v1alpha1.NodeState) {
		s.Failed = []v1alpha1.FailedPolicy{{Policy: "GlobalNetworkPolicy/p", Generation: 1, Message: "no"}}
	})
	r.step(settle, p)
	if r.writes != writes+1 || r.says(p) != "NodesFailed 1/2" {
		t.Errorf("a failure: %d writes, %s", r.writes-writes, r.says(p))
	}
}

// An agent that has just reported keeps quiet for a while: the policy is not
// enforced because the first of three nodes has said so.
func TestAgentsThatHaveJustReportedAreWaitedFor(t *testing.T) {
	r := newRig(t, gnp("p", nil))
	for _, n := range []string{"a", "b", "c"} {
		r.node(n, nil)
	}
	const window = 5 * time.Second
	settle := settleTime(3)
	r.step(time.Second, p)
	r.node("a", holds("GlobalNetworkPolicy/p", 1))
	if again := r.step(settle, p); again <= 0 || r.says(p) != "Pending 1/1" && r.says(p) != "Pending 0/0" {
		t.Errorf("after the time to settle: again after %s, %s", again, r.says(p))
	}
	r.clock.SetTime(start.Add(window))
	r.node("b", holds("GlobalNetworkPolicy/p", 1))
	r.step(0, p)
	if r.says(p) != "Pending 2/2" {
		t.Errorf("two of three have spoken: %s", r.says(p))
	}
	r.node("c", holds("GlobalNetworkPolicy/p", 1))
	r.step(settle, p)
	if r.says(p) != "Enforced 3/3" {
		t.Errorf("all have spoken: %s", r.says(p))
	}

	// One that has nothing to say of it is not waited for longer than that.
	q := model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "q"}
	if err := r.client.Create(context.Background(), gnp("q", nil)); err != nil {
		t.Fatal(err)
	}
	r.step(0, q)
	for r.says(q) == "Pending 0/0" && r.clock.Since(start) < time.Minute {
		r.step(100*time.Millisecond, q)
	}
	if after := r.clock.Since(start.Add(window + settle)); r.says(q) != "NoEndpoints 0/0" || after > window+settle+100*time.Millisecond {
		t.Errorf("nobody speaks: %s after %s", r.says(q), after)
	}
}

func TestRestartOfTheManagerWritesNothing(t *testing.T) {
	policy := gnp("p", nil)
	r := newRig(t, policy)
	r.node("a", holds("GlobalNetworkPolicy/p", 1))
	r.step(0, p)
	r.step(settleTime(1), p)
	writes := r.writes
	r.memory, r.board = map[model.Ref]*memory{}, newBoard(r.clock)
	if again := r.step(time.Second, p); again != 0 || r.writes != writes || r.says(p) != "Enforced 1/1" {
		t.Errorf("again after %s, %d writes, %s", again, r.writes-writes, r.says(p))
	}
}

func TestEventsAreOfWhatSomebodyMustActOn(t *testing.T) {
	bad := gnp("bad", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "app ==" })
	r := newRig(t, gnp("p", nil), bad)
	fails := func(s *v1alpha1.NodeState) {
		s.Failed = []v1alpha1.FailedPolicy{{Policy: "GlobalNetworkPolicy/p", Generation: 1, Message: "100% too large"}}
	}
	settle := settleTime(1)
	for range 5 { // it comes and goes every half minute
		r.node("a", fails)
		r.step(15*time.Second, p)
		r.node("a", holds("GlobalNetworkPolicy/p", 1))
		r.step(15*time.Second, p)
	}
	if len(r.events) != 1 || r.events[0] != "p Warning NodesFailed Enforce Failed on 1 of 1 node: a. On a: 100% too large" {
		t.Errorf("events %q", r.events)
	}
	r.clock.SetTime(r.clock.Now().Add(eventPause))
	r.node("a", fails)
	r.step(0, p)
	r.step(settle, p)
	if len(r.events) != 2 {
		t.Errorf("events %q", r.events)
	}
	badRef := model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "bad"}
	for range 3 {
		r.step(time.Minute, badRef)
	}
	if len(r.events) != 3 || r.events[2][:len("bad Warning NotAccepted Accept spec.selector: ")] != "bad Warning NotAccepted Accept spec.selector: " {
		t.Errorf("events %q", r.events)
	}
}

// Native policies have no status; what somebody must act on is an event all the same.
func TestNativePoliciesThatFailMakeEvents(t *testing.T) {
	native := func(name string) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	}
	r := newRig(t, native("bad"), native("good"))
	ref := model.Ref{Kind: model.KindNetworkPolicy, Namespace: "shop", Name: "bad"}
	for range 3 {
		r.node("a", func(s *v1alpha1.NodeState) {
			s.Failed = []v1alpha1.FailedPolicy{{Policy: ref.String(), Generation: 1, Message: "too large"}}
		})
		r.step(time.Minute, ref)
		r.node("a", nil)
		r.step(time.Minute, ref)
	}
	if len(r.events) != 1 || r.events[0] != "bad Warning NodesFailed Enforce Failed on 1 node: a. On a: too large" || r.writes != 0 {
		t.Errorf("events %q, %d writes", r.events, r.writes)
	}
}

func TestPolicyThatIsGone(t *testing.T) {
	r := newRig(t, gnp("p", nil))
	r.step(0, p)
	if err := r.client.Delete(context.Background(), gnp("p", nil)); err != nil {
		t.Fatal(err)
	}
	if again := r.step(0, p); again != 0 || len(r.memory) != 0 {
		t.Errorf("again after %s, %d remembered", again, len(r.memory))
	}
}

func TestFailedWriteIsTriedAgain(t *testing.T) {
	r := newRig(t, gnp("p", nil))
	r.fail = errors.New("no answer")
	if _, err := r.Reconcile(context.Background(), p); !errors.Is(err, r.fail) {
		t.Errorf("got %v", err)
	}
	r.fail = nil
	r.step(0, p)
	if r.says(p) != "NoAgents -" {
		t.Error(r.says(p))
	}
}
