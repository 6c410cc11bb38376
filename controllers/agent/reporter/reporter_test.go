package reporter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// rig is a Reporter with an API server that counts.
type rig struct {
	*Reporter
	t      *testing.T
	clock  *clocktesting.FakeClock
	client client.Client
	// wrote gets the kind of each write that is over.
	wrote chan string

	mu   sync.Mutex
	fail error
}

func newRig(t *testing.T, nodes ...string) *rig {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	b := fake.NewClientBuilder().WithScheme(scheme)
	for _, n := range nodes {
		b.WithObjects(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n, UID: types.UID("uid-" + n)}})
	}
	r := &rig{t: t, clock: clocktesting.NewFakeClock(start), wrote: make(chan string, 1000)}
	r.client = interceptor.NewClient(b.Build(), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return r.call("create", func() error { return c.Create(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return r.call("patch", func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return r.call("update", func() error { return c.Update(ctx, o, opts...) })
		},
	})
	var err error
	r.Reporter, err = New(Options{
		Client: r.client, Node: "n", Version: "v1", Dataplane: v1alpha1.DataplaneNFTables, Clock: r.clock, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) call(op string, f func() error) error {
	r.mu.Lock()
	err := r.fail
	r.mu.Unlock()
	if err == nil {
		err = f()
	}
	if err != nil {
		op += " failed"
	}
	r.wrote <- op
	return err
}

func (r *rig) failWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- r.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			r.t.Error(err)
		}
	})
}

// tell tells a status of a small cluster, changed as wanted.
func (r *rig) tell(change func(*agent.Status)) {
	s := &agent.Status{Time: r.clock.Now(), Synced: true, InSync: true, Nodes: 3, LastSuccess: r.clock.Now()}
	if change != nil {
		change(s)
	}
	r.Report(s)
}

// next moves the clock on until there is a write, and returns it and how long
// that took.
func (r *rig) next(step time.Duration) (string, time.Duration) {
	r.t.Helper()
	from := r.clock.Now()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case op := <-r.wrote:
			return op, r.clock.Since(from)
		case <-time.After(2 * time.Millisecond):
			if r.clock.HasWaiters() {
				r.clock.Step(step)
			}
		}
	}
	r.t.Fatal("no write")
	return "", 0
}

func (r *rig) report() *v1alpha1.NodeReport {
	r.t.Helper()
	o := &v1alpha1.NodeReport{}
	if err := r.client.Get(context.Background(), types.NamespacedName{Name: "n"}, o); err != nil {
		r.t.Fatal(err)
	}
	return o
}

func enforce(version uint64, generation int64, names ...string) func(*agent.Status) {
	return func(s *agent.Status) {
		s.Version, s.Enforced = version, map[model.Ref]int64{}
		for _, n := range names {
			s.Enforced[model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: n}] = generation
		}
	}
}

func TestNeedsClientAndNode(t *testing.T) {
	if _, err := New(Options{Node: "n"}); err == nil {
		t.Error("no error without a client")
	}
}

func TestFirstReportBelongsToTheNode(t *testing.T) {
	r := newRig(t, "n")
	r.run()
	r.tell(func(s *agent.Status) {
		enforce(1, 3, "p")(s)
		s.Enforced[model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: "native"}] = 1
		s.Endpoints, s.Policies, s.Took = 7, 2, 12345678*time.Nanosecond
	})
	if op, took := r.next(10 * time.Millisecond); op != "create" || took > 100*time.Millisecond {
		t.Fatalf("%s after %s, want create at once", op, took)
	}
	o := r.report()
	if len(o.OwnerReferences) != 1 || o.OwnerReferences[0].UID != "uid-n" || o.OwnerReferences[0].Kind != "Node" {
		t.Errorf("owners %+v", o.OwnerReferences)
	}
	got := o.Report
	if got.AgentVersion != "v1" || got.Dataplane != "NFTables" || !got.InSync || got.LeaseSeconds != 60 || got.Counts.Endpoints != 7 ||
		len(got.Policies) != 1 || got.Policies["GlobalNetworkPolicy/p"] != 3 || got.LastApply.Duration.String() != "12.35ms" {
		t.Errorf("got %+v", got)
	}
}

// What people wait for comes soon; what comes within the window, together.
func TestWindow(t *testing.T) {
	r := newRig(t, "n")
	r.run()
	r.tell(enforce(1, 1, "p"))
	r.next(10 * time.Millisecond)
	for i := uint64(2); i < 50; i++ {
		r.tell(enforce(i, int64(i), "p"))
		r.clock.Step(50 * time.Millisecond)
	}
	op, _ := r.next(10 * time.Millisecond)
	if at := r.clock.Since(start); op != "patch" || at < 5*time.Second || at > 6*time.Second {
		t.Errorf("%s at %s, want one patch 5 s after the first report", op, at)
	}
	if got := r.report().Report.Policies["GlobalNetworkPolicy/p"]; got != 49 {
		t.Errorf("generation %d, want the last", got)
	}
	r.clock.Step(30 * time.Second) // nothing was written lately
	r.tell(enforce(60, 60, "p"))
	if op, took := r.next(10 * time.Millisecond); op != "patch" || took > 100*time.Millisecond {
		t.Errorf("%s after %s, want a patch at once", op, took)
	}
}

// What nobody waits for goes along with the sign of life.
func TestRefresh(t *testing.T) {
	r := newRig(t, "n")
	r.run()
	r.tell(func(s *agent.Status) { s.Took = 40 * time.Millisecond })
	r.next(10 * time.Millisecond)
	for i := range 10 {
		r.tell(func(s *agent.Status) { s.Endpoints, s.Took = i, 20*time.Millisecond })
		r.clock.Step(time.Second)
	}
	op, _ := r.next(100 * time.Millisecond)
	if at := r.clock.Since(start); op != "patch" || at < time.Minute || at > 62*time.Second {
		t.Errorf("%s at %s, want a patch after a minute", op, at)
	}
	got := r.report().Report
	if got.Counts.Endpoints != 9 || got.LastApply.Duration != 20*time.Millisecond || got.SlowestApply.Duration != 40*time.Millisecond ||
		got.RenewTime.Time.Before(start.Add(time.Minute)) {
		t.Errorf("got %+v", got)
	}
	// Two half hours later the slow one is forgotten.
	for range 61 {
		r.tell(func(s *agent.Status) { s.Took = 10 * time.Millisecond })
		r.next(20 * time.Second)
	}
	if got := r.report().Report.SlowestApply.Duration; got != 10*time.Millisecond {
		t.Errorf("slowest %s of the last hour, want 10ms", got)
	}
}

// What guards have met goes along with the sign of life; that a guard has another
// mode comes soon.
func TestGuardsInReports(t *testing.T) {
	r := newRig(t, "n")
	met := func(modes model.Guards, n uint64) func(*agent.Status) {
		return func(s *agent.Status) {
			s.Guards, s.GuardPackets = &modes, map[model.GuardName]model.GuardPackets{model.GuardSourceName: {Dropped: n}}
		}
	}
	want := func(mode v1alpha1.GuardMode, dropped int64) {
		t.Helper()
		if got := r.report().Report.Guards["source"]; got != (v1alpha1.ReportedGuard{Mode: mode, Dropped: dropped}) {
			t.Errorf("got %+v, want %s, %d dropped", got, mode, dropped)
		}
	}
	r.run()
	r.tell(met(model.Guards{}, 1))
	r.next(10 * time.Millisecond)
	want(v1alpha1.GuardEnforce, 1)
	for i := range uint64(50) {
		r.tell(met(model.Guards{}, 2+i))
		r.clock.Step(time.Second)
	}
	op, _ := r.next(100 * time.Millisecond)
	if at := r.clock.Since(start); op != "patch" || at < time.Minute || at > 62*time.Second {
		t.Errorf("%s at %s, want a patch after a minute", op, at)
	}
	want(v1alpha1.GuardEnforce, 51)
	r.clock.Step(10 * time.Second)
	r.tell(met(model.Guards{Source: model.GuardCount}, 51))
	if op, took := r.next(10 * time.Millisecond); op != "patch" || took > 100*time.Millisecond {
		t.Errorf("%s after %s, want a patch at once", op, took)
	}
	want(v1alpha1.GuardCount, 51)
	r.tell(func(s *agent.Status) { s.Guards = &model.Guards{Source: model.GuardCount} })
	r.next(time.Second)
	want(v1alpha1.GuardCount, 51) // not known: as the report before
}

// A status that is again what was said last needs no report.
func TestFlap(t *testing.T) {
	r := newRig(t, "n")
	r.run()
	r.tell(nil)
	r.next(10 * time.Millisecond)
	r.tell(func(s *agent.Status) { s.InSync, s.Err = false, errors.New("oops") })
	r.clock.Step(time.Second)
	r.tell(nil)
	if op, took := r.next(100 * time.Millisecond); op != "patch" || took < 50*time.Second {
		t.Errorf("%s after %s, want nothing before the sign of life", op, took)
	}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	r := newRig(t, "n")
	r.run()
	r.tell(enforce(1, 1, "p"))
	r.next(10 * time.Millisecond)
	r.failWith(errors.New("no answer"))
	r.clock.Step(time.Minute)
	if op, _ := r.next(100 * time.Millisecond); op != "patch failed" {
		t.Fatal(op)
	}
	var pauses []time.Duration
	for range 5 {
		op, took := r.next(100 * time.Millisecond)
		if op != "patch failed" {
			t.Fatal(op)
		}
		pauses = append(pauses, took.Round(time.Second))
	}
	if fmt.Sprint(pauses) != "[5s 10s 20s 20s 20s]" { // half of the window, doubled; jitter is 0
		t.Errorf("pauses %v", pauses)
	}
	r.tell(enforce(2, 2, "p"))
	r.failWith(nil)
	if op, _ := r.next(100 * time.Millisecond); op != "patch" {
		t.Fatal(op)
	}
	if got := r.report().Report.Policies["GlobalNetworkPolicy/p"]; got != 2 {
		t.Errorf("generation %d", got)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r)
	if n, err := testutil.GatherAndCount(reg, "tierwall_agent_report_writes_total"); err != nil || n != 2 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// A report that is deleted comes again; one that somebody has changed is put right.
func TestForeignHands(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, "n")
	r.run()
	r.tell(enforce(1, 1, "p"))
	r.next(10 * time.Millisecond)
	if err := r.client.Delete(ctx, r.report()); err != nil {
		t.Fatal(err)
	}
	var ops []string
	for range 2 {
		op, _ := r.next(time.Second)
		ops = append(ops, op)
	}
	o := r.report()
	o.Report.Policies["GlobalNetworkPolicy/forged"] = 7
	if err := r.client.Update(ctx, o); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		op, _ := r.next(time.Second)
		ops = append(ops, op)
	}
	if got := strings.Join(ops, ", "); got != "patch failed, create, update, patch, update" {
		t.Errorf("got %s", got)
	}
	if got := r.report().Report.Policies; len(got) != 1 {
		t.Errorf("policies %v", got)
	}
}

// A new agent that does not know the kernel yet leaves the policies of the one
// before, for the kernel has kept them.
func TestBeforeTheSourceIsInSync(t *testing.T) {
	r := newRig(t, "n")
	old := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	old.Report.Policies = map[string]int64{"GlobalNetworkPolicy/p": 4, "GlobalNetworkPolicy/q": 1}
	old.Report.InSync = true
	if err := r.client.Create(context.Background(), old); err != nil {
		t.Fatal(err)
	}
	<-r.wrote
	r.run()
	r.tell(func(s *agent.Status) {
		s.Synced, s.InSync, s.Source, s.LastSuccess = false, false, []error{errors.New("forbidden")}, time.Time{}
	})
	r.next(10 * time.Millisecond)
	got := r.report().Report
	if got.InSync || len(got.Policies) != 2 || len(got.Errors) != 1 || got.Errors[0] != (v1alpha1.ReportedError{Kind: "Source", Message: "forbidden"}) {
		t.Errorf("got %+v", got)
	}
	r.tell(enforce(1, 5, "p"))
	r.next(100 * time.Millisecond)
	if got := r.report().Report; !got.InSync || len(got.Policies) != 1 || got.Policies["GlobalNetworkPolicy/p"] != 5 || len(got.Errors) != 0 {
		t.Errorf("got %+v", got)
	}
}

// Without its Node there is no report, and no end of trying.
func TestNodeThatIsNotThere(t *testing.T) {
	r := newRig(t)
	r.run()
	r.tell(nil)
	r.clock.Step(time.Second)
	for !r.clock.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	if err := r.client.Create(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "late"}}); err != nil {
		t.Fatal(err)
	}
	<-r.wrote
	if op, _ := r.next(100 * time.Millisecond); op != "create" {
		t.Fatal(op)
	}
	if got := r.report().OwnerReferences[0].UID; got != "late" {
		t.Errorf("owner %s", got)
	}
}
