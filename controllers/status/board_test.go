package status

import (
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// report makes a node's report, written at the start.
func report(node string, change func(*v1alpha1.NodeState)) v1alpha1.NodeReport {
	r := v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: node}}
	r.Report = v1alpha1.NodeState{RenewTime: metav1.NewTime(start), LeaseSeconds: 60, InSync: true}
	if change != nil {
		change(&r.Report)
	}
	return r
}

func holds(policy string, generation int64) func(*v1alpha1.NodeState) {
	return func(s *v1alpha1.NodeState) { s.Policies = map[string]int64{policy: generation} }
}

// feed makes a board take reports; of the nodes named, none is there.
func feed(t *testing.T, b *board, reports []v1alpha1.NodeReport, gone ...string) {
	t.Helper()
	b.touch()
	err := b.refresh(func() ([]v1alpha1.NodeReport, map[string]bool, error) {
		there := map[string]bool{}
		for _, r := range reports {
			there[r.Name] = true
		}
		for _, n := range gone {
			delete(there, n)
		}
		return reports, there, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var p = model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}

func TestTally(t *testing.T) {
	fails := func(generation, held int64) func(*v1alpha1.NodeState) {
		return func(s *v1alpha1.NodeState) {
			s.Failed = []v1alpha1.FailedPolicy{{Policy: "GlobalNetworkPolicy/p", Generation: generation, Message: "no"}}
			if held > 0 {
				s.Policies = map[string]int64{"GlobalNetworkPolicy/p": held}
			}
		}
	}
	b := newBoard(clocktesting.NewFakePassiveClock(start))
	if c := b.tally(p, 2); c.anyReports {
		t.Errorf("reports of nobody: %+v", c)
	}
	feed(t, b, []v1alpha1.NodeReport{
		report("up", holds("GlobalNetworkPolicy/p", 2)),
		report("ahead", holds("GlobalNetworkPolicy/p", 3)),
		report("behind", holds("GlobalNetworkPolicy/p", 1)),
		report("fails", fails(2, 1)),
		report("failed-before", fails(1, 0)),
		report("other", holds("GlobalNetworkPolicy/other", 9)),
		report("gone", holds("GlobalNetworkPolicy/p", 2)),
		report("full", func(s *v1alpha1.NodeState) { s.Truncated = true }),
		report("silent", func(s *v1alpha1.NodeState) {
			s.Policies, s.RenewTime = map[string]int64{"GlobalNetworkPolicy/p": 2}, metav1.NewTime(start.Add(-4*time.Minute))
		}),
		report("silent-and-nothing-to-do", func(s *v1alpha1.NodeState) { s.RenewTime = metav1.NewTime(start.Add(-4 * time.Minute)) }),
	}, "gone")
	got := b.tally(p, 2)
	want := count{
		enforced: 2, failed: []string{"fails"}, waiting: []string{"behind", "failed-before"}, silent: []string{"silent"},
		messages: []string{"no"}, truncatedAndNotNamed: []string{"full"}, anyReports: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestSilence(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(start)
	b := newBoard(clock)
	reports := []v1alpha1.NodeReport{
		report("n", holds("GlobalNetworkPolicy/p", 1)),
		// A clock that runs behind is taken for silence only until the next sign of life.
		report("slow-clock", func(s *v1alpha1.NodeState) {
			s.Policies, s.RenewTime = map[string]int64{"GlobalNetworkPolicy/q": 1}, metav1.NewTime(start.Add(-time.Hour))
		}),
		report("fast-clock", func(s *v1alpha1.NodeState) { s.RenewTime = metav1.NewTime(start.Add(time.Hour)) }),
	}
	silent := func() string {
		var out []string
		for _, v := range b.nodes {
			if v.silent {
				out = append(out, v.name)
			}
		}
		return strings.Join(out, " ")
	}
	step := func(d time.Duration, want string, changed ...model.Ref) {
		t.Helper()
		clock.SetTime(clock.Now().Add(d))
		got := b.listen()
		if silent() != want || len(got) != len(changed) || len(got) > 0 && !reflect.DeepEqual(got, changed) {
			t.Errorf("after %s: silent %q, changed %v; want %q, %v", clock.Since(start), silent(), got, want, changed)
		}
	}
	feed(t, b, reports)
	step(0, "slow-clock")
	reports[1].Report.RenewTime = metav1.NewTime(start.Add(-59 * time.Minute))
	feed(t, b, reports)
	step(0, "")
	step(3*time.Minute, "")
	q := model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "q"}
	step(time.Second, "fast-clock n slow-clock", p, q)
	reports[0].Report.RenewTime = metav1.NewTime(clock.Now())
	feed(t, b, reports)
	step(0, "fast-clock slow-clock")
	step(4*time.Minute, "fast-clock n slow-clock", p)
	// The reports of nodes that are gone are forgotten.
	feed(t, b, reports, "n")
	step(0, "fast-clock slow-clock")
}

func TestChangedPolicies(t *testing.T) {
	state := func(policies map[string]int64, failed ...v1alpha1.FailedPolicy) *v1alpha1.NodeState {
		return &v1alpha1.NodeState{Policies: policies, Failed: failed, RenewTime: metav1.Now()}
	}
	fail := func(name, msg string) v1alpha1.FailedPolicy { return v1alpha1.FailedPolicy{Policy: name, Message: msg} }
	for _, tc := range []struct {
		name          string
		before, after *v1alpha1.NodeState
		want          string
	}{
		{"a sign of life", state(map[string]int64{"GlobalNetworkPolicy/a": 1}), state(map[string]int64{"GlobalNetworkPolicy/a": 1}), ""},
		{"new, changed and gone", state(map[string]int64{"GlobalNetworkPolicy/a": 1, "GlobalNetworkPolicy/b": 1}),
			state(map[string]int64{"GlobalNetworkPolicy/a": 2, "NetworkPolicy.tierwall.io/ns/c": 1}),
			"GlobalNetworkPolicy/a GlobalNetworkPolicy/b NetworkPolicy.tierwall.io/ns/c"},
		{"failures", state(nil, fail("GlobalNetworkPolicy/a", "x"), fail("GlobalNetworkPolicy/b", "x"), fail("GlobalNetworkPolicy/c", "x")),
			state(nil, fail("GlobalNetworkPolicy/b", "y"), fail("GlobalNetworkPolicy/c", "x"), fail("GlobalNetworkPolicy/d", "x")),
			"GlobalNetworkPolicy/a GlobalNetworkPolicy/b GlobalNetworkPolicy/d"},
		{"the first", nil, state(map[string]int64{"GlobalNetworkPolicy/a": 1}), "GlobalNetworkPolicy/a"},
		{"the last", state(map[string]int64{"GlobalNetworkPolicy/a": 1}), nil, "GlobalNetworkPolicy/a"},
		{"native ones that fail", nil, state(nil, fail("NetworkPolicy/ns/native", "x"), fail("ClusterNetworkPolicy/c", "x")), "ClusterNetworkPolicy/c NetworkPolicy/ns/native"},
		{"what is no policy", nil, state(map[string]int64{"no policy": 1}, fail("Pod/ns/p", "x")), ""},
	} {
		var got []string
		for _, r := range changedPolicies(tc.before, tc.after) {
			got = append(got, r.String())
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: got %v, want %s", tc.name, got, tc.want)
		}
	}
}

func TestEnforced(t *testing.T) {
	many := strings.Fields(strings.Repeat("node ", 12))
	for _, tc := range []struct {
		name             string
		count            count
		ok, audit, early bool
		status           metav1.ConditionStatus
		reason, message  string
		ready            string
	}{
		{"everywhere", count{enforced: 12}, true, false, false, "True", ReasonEnforced, "12 of 12 nodes", "12/12"},
		{"one node", count{enforced: 1}, true, false, false, "True", ReasonEnforced, "1 of 1 node.", "1/1"},
		{"nothing to do", count{}, true, false, false, "True", ReasonNoEndpoints, "no endpoint", "0/0"},
		{"new", count{enforced: 3}, true, false, true, "Unknown", ReasonPending, "so far", "3/3"},
		{"some are late", count{enforced: 3, waiting: []string{"a", "b"}}, true, false, false, "Unknown", ReasonPending, "a, b", "3/5"},
		{"some are silent", count{enforced: 3, silent: []string{"a"}}, true, false, false, "Unknown", ReasonAgentsSilent, "silent: a.", "3/4"},
		{"some fail, silence or not", count{enforced: 3, silent: []string{"a"}, failed: many, messages: []string{"oops"}}, true, false, true,
			"False", ReasonNodesFailed, "and 2 more. On node: oops", "3/16"},
		{"audited", count{enforced: 2}, true, true, false, "False", ReasonAudit, "not applied", "2/2"},
		{"not accepted", count{enforced: 2}, false, false, false, "False", ReasonNotAccepted, "widens no access", "2/2"},
		{"reports too long", count{enforced: 2, truncatedAndNotNamed: []string{"a"}}, true, false, false, "Unknown", ReasonTruncated, "1 node name only some", "2/2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.count.anyReports = true
			c, counts := enforced(tc.count, tc.ok, tc.audit, tc.early)
			if c.Type != Enforced || c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("got %+v, want %s %s …%s…", c, tc.status, tc.reason, tc.message)
			}
			if counts.Ready != tc.ready || len(counts.FailedNodes) > 10 || int(counts.Failed) != len(tc.count.failed) {
				t.Errorf("got %+v, want %s", counts, tc.ready)
			}
		})
	}
	c, counts := enforced(count{}, true, false, false)
	if c.Status != "Unknown" || c.Reason != ReasonNoAgents || counts != nil {
		t.Errorf("without agents: got %+v, %+v", c, counts)
	}
}
