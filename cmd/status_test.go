package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

var statusNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func statusScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func linuxNode(name string, change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": "linux"}}}
	if change != nil {
		change(n)
	}
	return n
}

func nodeReport(name string, change func(*v1alpha1.NodeState)) *v1alpha1.NodeReport {
	r := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: name}}
	r.Report = v1alpha1.NodeState{
		AgentVersion: "v1.2.3", Dataplane: "NFTables", RenewTime: metav1.NewTime(statusNow.Add(-12 * time.Second)), LeaseSeconds: 60, InSync: true,
		Counts:    v1alpha1.ReportCounts{Endpoints: 30, Policies: 4},
		LastApply: &metav1.Duration{Duration: 400 * time.Microsecond}, SlowestApply: &metav1.Duration{Duration: 18 * time.Millisecond},
	}
	if change != nil {
		change(&r.Report)
	}
	return r
}

func installed(change func(*v1alpha1.Tierwall)) *v1alpha1.Tierwall {
	tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	tw.Status.Conditions = []metav1.Condition{
		{Type: "Available", Status: "True", Reason: "AllReady"}, {Type: "Progressing", Status: "False"}, {Type: "Degraded", Status: "False"},
	}
	if change != nil {
		change(tw)
	}
	return tw
}

// policyStatus is that of a policy of generation 1.
func policyStatus(accepted, acceptedReason, enforced, enforcedReason, ready string) v1alpha1.PolicyStatus {
	return v1alpha1.PolicyStatus{
		ObservedGeneration: 1, Nodes: &v1alpha1.NodeCounts{Ready: ready},
		Conditions: []metav1.Condition{
			{Type: "Accepted", Status: metav1.ConditionStatus(accepted), Reason: acceptedReason, Message: "about accepted"},
			{Type: "Enforced", Status: metav1.ConditionStatus(enforced), Reason: enforcedReason, Message: "about enforced"},
		},
	}
}

func statusPolicyOf(name string, st v1alpha1.PolicyStatus) *v1alpha1.GlobalNetworkPolicy {
	return &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}, Status: st}
}

// gathered returns what is found in a cluster of these objects.
func gathered(t *testing.T, objects ...client.Object) *statusReport {
	t.Helper()
	c := fake.NewClientBuilder().WithScheme(statusScheme(t)).WithObjects(objects...).Build()
	r, err := gatherStatus(context.Background(), c, statusNow)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStatusOfAGoodCluster(t *testing.T) {
	r := gathered(t, installed(nil), linuxNode("a", nil), linuxNode("b", nil), nodeReport("a", nil), nodeReport("b", nil),
		linuxNode("windows", func(n *corev1.Node) { n.Labels["kubernetes.io/os"] = "windows" }),
		nodeReport("gone", func(s *v1alpha1.NodeState) { s.InSync = false }),
		statusPolicyOf("on", policyStatus("True", "Accepted", "True", "Enforced", "2/2")),
		statusPolicyOf("idle", policyStatus("True", "Accepted", "True", "NoEndpoints", "0/0")),
		&v1alpha1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "trial", Generation: 1},
			Status:     policyStatus("True", "AcceptedWithWarnings", "False", "Audit", "2/2"),
		},
	)
	var out bytes.Buffer
	if err := printStatus(streams{out: &out, errOut: &out}, r); err != nil {
		t.Fatal(err)
	}
	want := `2 of 2 agents ok (v1.2.3); 2 of 3 policies enforced, 1 audited
NODE  STATE  VERSION  DATAPLANE  ENDPOINTS  POLICIES  LAST APPLY  SLOWEST APPLY  REPORTED
a     ok     v1.2.3   NFTables   30         4         400µs       18ms           12s ago
b     ok     v1.2.3   NFTables   30         4         400µs       18ms           12s ago
nothing is wrong
`
	if out.String() != want || !r.Healthy {
		t.Errorf("healthy %v, got\n%s\nwant\n%s", r.Healthy, out.String(), want)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"healthy":true,"installation":{"available":"True","progressing":"False","degraded":"False"}`) ||
		!strings.Contains(string(b), `"notEnforced":[]`) || !strings.Contains(string(b), `"problems":[]`) {
		t.Errorf("%s, %v", b, err)
	}
}

// Guards that only count are no fault: status says what they would drop, and what to do.
func TestStatusOfGuards(t *testing.T) {
	guards := func(mode v1alpha1.GuardMode, counted, dropped int64) func(*v1alpha1.NodeState) {
		return func(s *v1alpha1.NodeState) {
			s.Guards = map[string]v1alpha1.ReportedGuard{"source": {Mode: mode, Counted: counted, Dropped: dropped}, "wildcard": {Mode: v1alpha1.GuardOff}}
		}
	}
	r := gathered(t,
		installed(func(tw *v1alpha1.Tierwall) {
			tw.Status.Guards = v1alpha1.GuardCount
			tw.Status.Conditions = append(tw.Status.Conditions, metav1.Condition{
				Type: "GuardsEnforced", Status: "False", Reason: "CountingSinceUpgrade", Message: "guards count only since the upgrade: set spec.sourceGuard to Enforce",
			})
		}),
		linuxNode("a", nil), nodeReport("a", guards(v1alpha1.GuardCount, 120, 0)),
		linuxNode("b", nil), nodeReport("b", guards(v1alpha1.GuardCount, 3000, 0)),
		linuxNode("c", nil), nodeReport("c", guards(v1alpha1.GuardEnforce, 0, 7)),
		linuxNode("d", nil), nodeReport("d", guards(v1alpha1.GuardCount, 1, 0)),
		linuxNode("e", nil), nodeReport("e", nil), // an older agent
	)
	var out bytes.Buffer
	if err := printStatus(streams{out: &out, errOut: &out}, r); err != nil {
		t.Fatal(err)
	}
	want := `
guards count only since the upgrade: set spec.sourceGuard to Enforce (docs/guards.md)
GUARD     MODE                DROPPED  WOULD DROP  ON
source    Count 3, Enforce 1  7        3121        b (3000), a (120), c (7), 1 more
wildcard  Off                 0        0           -
nothing is wrong
`
	if !strings.HasSuffix(out.String(), want) || !r.Healthy {
		t.Errorf("healthy %v, got\n%s\nwant\n%s", r.Healthy, out.String(), want)
	}
	b, err := json.Marshal(r.Guards)
	if err != nil || !strings.Contains(string(b), `{"guard":"source","setting":"spec.sourceGuard","modes":{"Count":3,"Enforce":1},"dropped":7,"counted":3121,"nodes":[{"node":"b","packets":3000},`) {
		t.Errorf("%s, %v", b, err)
	}
}

// Budgets that only count are no fault: status says what is past them, and what to do.
func TestStatusOfBudgets(t *testing.T) {
	r := gathered(t,
		installed(func(tw *v1alpha1.Tierwall) {
			tw.Status.Conditions = append(tw.Status.Conditions, metav1.Condition{
				Type: "BudgetsEnforced", Status: "False", Reason: "CountingSinceUpgrade", Message: "budgets count only since the upgrade",
			})
		}),
		linuxNode("a", nil), nodeReport("a", func(s *v1alpha1.NodeState) {
			s.Counts.PastBudget = 5
			for i, form := range []v1alpha1.PastBudgetForm{v1alpha1.PastBudgetPrevious, v1alpha1.PastBudgetDenyAll, v1alpha1.PastBudgetDenyAll} {
				s.Failed = append(s.Failed, v1alpha1.FailedPolicy{Policy: fmt.Sprint("NetworkPolicy/shop/p", i), PastBudget: form})
			}
			s.Failed = append(s.Failed, v1alpha1.FailedPolicy{Policy: "NetworkPolicy/shop/other", Message: "the kernel does not take it"})
		}),
		linuxNode("b", nil), nodeReport("b", nil),
		// An agent of an earlier version says it in the message alone.
		linuxNode("c", nil), nodeReport("c", func(s *v1alpha1.NodeState) {
			s.Counts.PastBudget = 1
			s.Failed = []v1alpha1.FailedPolicy{{Policy: "NetworkPolicy/shop/p0", Message: "instead of it holds: its previous version, and deny what that does not govern; past the budget: 13"}}
		}),
		linuxNode("d", nil), nodeReport("d", func(s *v1alpha1.NodeState) { s.Counts.PastBudget = 2 }),
	)
	var out bytes.Buffer
	if err := printStatus(streams{out: &out, errOut: &out}, r); err != nil {
		t.Fatal(err)
	}
	want := `
budgets count only since the upgrade (docs/budgets.md)
NODE  PAST BUDGET  INSTEAD
a     5            2 DenyAll, 1 Previous
c     1            1 Narrowed
d     2            -
`
	if !strings.Contains(out.String(), want) || r.Healthy {
		t.Errorf("healthy %v, got\n%s\nwant\n%s", r.Healthy, out.String(), want)
	}
}

// Where neither the runtime nor an interface shows whether pods run, status names the node.
func TestStatusOfUnseenPods(t *testing.T) {
	r := gathered(t, installed(nil),
		linuxNode("a", nil), nodeReport("a", func(s *v1alpha1.NodeState) { s.Counts.UnseenPods = 12 }),
		linuxNode("b", nil), nodeReport("b", nil),
	)
	var out bytes.Buffer
	if err := printStatus(streams{out: &out, errOut: &out}, r); err != nil {
		t.Fatal(err)
	}
	want := `
Neither the container runtime (NRI) nor an interface shows whether these pods run: one that is deleted by force is denied for its grace period and 30 seconds, an hour at most (docs/failures.md)
NODE  PODS
a     12
nothing is wrong
`
	if !strings.HasSuffix(out.String(), want) || !r.Healthy {
		t.Errorf("healthy %v, got\n%s\nwant\n%s", r.Healthy, out.String(), want)
	}
}

func TestStatusIsSilentOfGuardsThatHaveMetNothing(t *testing.T) {
	r := gathered(t, installed(nil), linuxNode("a", nil), nodeReport("a", func(s *v1alpha1.NodeState) {
		s.Guards = map[string]v1alpha1.ReportedGuard{"source": {Mode: v1alpha1.GuardEnforce}}
	}))
	var out bytes.Buffer
	if err := printStatus(streams{out: &out, errOut: &out}, r); err != nil || strings.Contains(out.String(), "GUARD") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestStatusNamesWhatIsWrong(t *testing.T) {
	r := gathered(t,
		installed(func(tw *v1alpha1.Tierwall) {
			tw.Status.Conditions[2] = metav1.Condition{Type: "Degraded", Status: "True", Reason: "AgentsFail", Message: "on b"}
		}),
		linuxNode("errors", nil), nodeReport("errors", func(s *v1alpha1.NodeState) {
			s.Errors = []v1alpha1.ReportedError{{Kind: "Source", Message: "no\x1b[31manswer"}}
			s.Failed = []v1alpha1.FailedPolicy{{Policy: "NetworkPolicy/shop/native", Message: "too large"}, {Policy: "GlobalNetworkPolicy/q", Message: "no"}}
		}),
		linuxNode("lags", nil), nodeReport("lags", func(s *v1alpha1.NodeState) { s.InSync, s.SlowestApply, s.AgentVersion = false, nil, "v1.2.2" }),
		linuxNode("none", nil),
		linuxNode("silent", nil), nodeReport("silent", func(s *v1alpha1.NodeState) { s.RenewTime = metav1.NewTime(statusNow.Add(-4 * time.Minute)) }),
		statusPolicyOf("bad", policyStatus("False", "Invalid", "False", "NotAccepted", "3/3")),
		statusPolicyOf("fails", policyStatus("True", "Accepted", "False", "NodesFailed", "2/3")),
		statusPolicyOf("new", v1alpha1.PolicyStatus{}),
	)
	var out, errOut bytes.Buffer
	if err := printStatus(streams{out: &out, errOut: &errOut}, r); err != nil {
		t.Fatal(err)
	}
	expect := `0 of 4 agents ok (v1.2.2, v1.2.3); 0 of 3 policies enforced
NODE    STATE        VERSION  DATAPLANE  ENDPOINTS  POLICIES  LAST APPLY  SLOWEST APPLY  REPORTED
errors  errors       v1.2.3   NFTables   30         4         400µs       18ms           12s ago
lags    not in sync  v1.2.2   NFTables   30         4         400µs       -              12s ago
none    no report
silent  silent       v1.2.3   NFTables   30         4         400µs       18ms           4m ago

wrong:
  Tierwall/default: Degraded is True: AgentsFail: on b
  Node/errors: Source: no [31manswer
  Node/errors: NetworkPolicy/shop/native is not enforced: too large
  Node/lags: the kernel does not have all current rules
  Node/silent: no report of the agent since 2026-01-02T03:00:05Z; the kernel keeps its current rules
  Node/none: no agent has reported: policies may not be enforced there
  GlobalNetworkPolicy/bad: Invalid: about accepted
  GlobalNetworkPolicy/fails: NodesFailed: about enforced
  GlobalNetworkPolicy/new: NotObserved: the manager has not looked at this version of the policy yet
`
	if out.String() != expect || r.Healthy {
		t.Errorf("healthy %v, got\n%s\nwant\n%s", r.Healthy, out.String(), expect)
	}
}

func TestStatusWithoutInstallation(t *testing.T) {
	r := gathered(t, linuxNode("a", nil))
	if r.Healthy || len(r.Problems) != 1 || r.Problems[0].Object != "Tierwall/default" || len(r.Agents) != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestStatusReadErrors(t *testing.T) {
	gr := schema.GroupResource{Group: "tierwall.io", Resource: "things"}
	for _, tc := range []struct {
		name  string
		kind  client.ObjectList
		err   error
		want  string
		notes int
	}{
		{"no CRDs", &v1alpha1.NodeReportList{}, apierrors.NewNotFound(gr, ""), "CustomResourceDefinitions are not installed", 0},
		{"no permission", &v1alpha1.GlobalNetworkPolicyList{}, apierrors.NewForbidden(gr, "", errors.New("no")), "permission missing", 0},
		{"anything else", &v1alpha1.NetworkPolicyList{}, errors.New("no answer"), "NetworkPolicies of tierwall.io: no answer", 0},
		{"no nodes", &corev1.NodeList{}, apierrors.NewForbidden(gr, "", errors.New("no")), "", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(statusScheme(t)).WithObjects(installed(nil), nodeReport("a", nil)).Build(), interceptor.Funcs{
				List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, opts ...client.ListOption) error {
					if reflect.TypeOf(l) == reflect.TypeOf(tc.kind) {
						return tc.err
					}
					return c.List(ctx, l, opts...)
				},
			})
			r, err := gatherStatus(context.Background(), c, statusNow)
			switch {
			case tc.want != "":
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %s", err, tc.want)
				}
			case err != nil || len(r.Notes) != tc.notes || len(r.Agents) != 1 || !r.Healthy:
				t.Errorf("got %+v, %v", r, err)
			}
		})
	}
}

func TestWantsAgent(t *testing.T) {
	taint := func(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: key, Value: value, Effect: effect}} }
	}
	tolerate := func(list ...corev1.Toleration) *v1alpha1.Tierwall {
		tw := installed(nil)
		tw.Spec.Agent.Tolerations = list
		return tw
	}
	selecting := installed(nil)
	selecting.Spec.Agent.NodeSelector = map[string]string{"pool": "edge"}
	gpu := corev1.Toleration{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	for _, tc := range []struct {
		name string
		node *corev1.Node
		tw   *v1alpha1.Tierwall
		want bool
	}{
		{"all taints by default", linuxNode("n", taint("gpu", "yes", "NoSchedule")), installed(nil), true},
		{"selector matches not", linuxNode("n", nil), selecting, false},
		{"selector matches", linuxNode("n", func(n *corev1.Node) { n.Labels["pool"] = "edge" }), selecting, true},
		{"tolerated", linuxNode("n", taint("gpu", "yes", "NoSchedule")), tolerate(gpu), true},
		{"another value", linuxNode("n", taint("gpu", "no", "NoSchedule")), tolerate(gpu), false},
		{"another effect", linuxNode("n", taint("gpu", "yes", "NoExecute")), tolerate(gpu), false},
		{"no effect that matters", linuxNode("n", taint("gpu", "no", "PreferNoSchedule")), tolerate(gpu), true},
		{"any value", linuxNode("n", taint("gpu", "no", "NoExecute")), tolerate(corev1.Toleration{Key: "gpu", Operator: "Exists"}), true},
		{"of the node's state", linuxNode("n", taint("node.kubernetes.io/not-ready", "", "NoExecute")), tolerate(gpu), true},
	} {
		if got := wantsAgent(tc.node, tc.tw); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}

// Ghosts are no fault: status names them.
func TestStatusOfGhosts(t *testing.T) {
	r := gathered(t, installed(nil), linuxNode("a", nil), nodeReport("a", func(s *v1alpha1.NodeState) {
		s.Counts.Ghosts = 2
		s.Ghosts = []v1alpha1.ReportedGhost{{Address: "198.18.0.7", Pod: "PodGhost/shop/web@u1"}, {Address: "fd00::7", Pod: "PodGhost/shop/web@u1"}}
	}))
	want := "Node/a: 2 addresses belong to pods whose objects are gone and that may still run, among them PodGhost/shop/web@u1 (198.18.0.7), PodGhost/shop/web@u1 (fd00::7); their traffic is denied"
	if !r.Healthy || len(r.Notes) != 1 || r.Notes[0] != want {
		t.Errorf("healthy %v, notes %q", r.Healthy, r.Notes)
	}
}
