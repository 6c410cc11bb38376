package reporter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/policy/model"
)

// The largest report that there can be stays far below what an API server takes
// (1.5 MB), and says that it is not all.
func TestBounds(t *testing.T) {
	long := strings.Repeat("n", 253)
	for _, tc := range []struct {
		name     string
		policies int
		ref      func(i int) model.Ref
		want     int
	}{
		{"many", 5000, func(i int) model.Ref {
			return model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: fmt.Sprintf("p%04d", i)}
		}, v1alpha1.MaxReportedPolicies},
		{"long", 1000, func(i int) model.Ref {
			return model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: long[:63], Name: fmt.Sprintf("%04d%s", i, long[:249])}
		}, v1alpha1.MaxReportedBytes / (len(model.KindTierwallNetworkPolicy) + 2 + 63 + 253)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &agent.Status{Synced: true, Enforced: map[model.Ref]int64{}}
			for i := range tc.policies {
				s.Enforced[tc.ref(i)] = 1 << 60
				s.Failed = append(s.Failed, agent.Failure{Ref: tc.ref(i), Generation: 1 << 60, Err: errors.New(strings.Repeat("\x01", 5000)), Instead: "nothing"})
				s.Source = append(s.Source, errors.New(strings.Repeat("ö", 5000)))
			}
			n := content(&Options{Version: strings.Repeat("v", 500)}, s, &durations{}, &v1alpha1.NodeState{}, time.Now())
			if len(n.Policies) != tc.want || !n.Truncated || len(n.Failed) != v1alpha1.MaxReportedFailures || len(n.Errors) != v1alpha1.MaxReportedErrors || len(n.AgentVersion) != 128 {
				t.Errorf("%d policies, truncated %v, %d failed, %d errors", len(n.Policies), n.Truncated, len(n.Failed), len(n.Errors))
			}
			again := content(&Options{Version: strings.Repeat("v", 500)}, s, &durations{}, &v1alpha1.NodeState{}, n.RenewTime.Time)
			if !sameContent(&n, &again) {
				t.Error("the same status makes two reports")
			}
			if m := n.Failed[0].Message; len(m) > v1alpha1.MaxReportedMessage || !strings.HasPrefix(m, "instead of it holds: nothing; ") {
				t.Errorf("message %q", m)
			}
			if m := n.Errors[0].Message; len(m) > v1alpha1.MaxReportedMessage || !utf8.ValidString(m) {
				t.Errorf("message %q", m)
			}
			b, err := json.Marshal(n)
			if err != nil || len(b) > 400_000 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			t.Logf("%d bytes", len(b))
		})
	}
}

func TestFailuresWithAStatusComeFirst(t *testing.T) {
	var list []agent.Failure
	for i := range 60 {
		list = append(list, agent.Failure{Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: fmt.Sprintf("n%02d", i)}})
	}
	list = append(list, agent.Failure{Ref: model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: "a", Name: "ours"}})
	got, all := failures(list)
	if all || len(got) != 50 || got[0].Policy != "NetworkPolicy.tierwall.io/a/ours" || got[1].Policy != "NetworkPolicy/a/n00" {
		t.Errorf("all %v, %d: %+v", all, len(got), got[:2])
	}
}

func TestFailuresPastABudget(t *testing.T) {
	f := agent.Failure{
		Ref: model.Ref{Kind: model.KindNetworkPolicy, Namespace: "a", Name: "p"}, Generation: 3, Err: errors.New("past the budget: 13"),
		Instead: "its previous version", PastBudget: v1alpha1.PastBudgetPrevious,
	}
	want := v1alpha1.FailedPolicy{
		Policy: "NetworkPolicy/a/p", Generation: 3, Message: "instead of it holds: its previous version; past the budget: 13", PastBudget: v1alpha1.PastBudgetPrevious,
	}
	if got, _ := failures([]agent.Failure{f}); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	other := f
	if other.PastBudget = v1alpha1.PastBudgetDenyAll; sameFailure(f, other) || !sameFailure(f, f) {
		t.Error("what holds instead makes no difference")
	}
}

func TestObjectsHeldBackAreErrors(t *testing.T) {
	s := &agent.Status{Synced: true, Err: errors.New("oops"), Held: []agent.Failure{{
		Ref: model.Ref{Kind: model.KindGlobalNetworkSet, Name: "huge"}, Err: errors.New("too large"), Instead: "its previous version",
	}}}
	got := fmt.Sprint(errorList(s))
	if want := "[{Kernel oops} {Object GlobalNetworkSet/huge: instead of it holds: its previous version; too large}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnseenPodsAreCounted(t *testing.T) {
	for _, o := range []Options{{}, {Unseen: func() int { return 3 }}} {
		n := content(&o, &agent.Status{}, &durations{}, &v1alpha1.NodeState{}, time.Unix(1, 0))
		if want := map[bool]int32{true: 0, false: 3}[o.Unseen == nil]; n.Counts.UnseenPods != want {
			t.Errorf("%d, want %d", n.Counts.UnseenPods, want)
		}
	}
}

func TestTextIsValid(t *testing.T) {
	if got := cut("a\xffb", 10); got != "a?b" {
		t.Errorf("got %q", got)
	}
	if got := cut("öööö", 7); got != "öö…" {
		t.Errorf("got %q", got)
	}
}

// However large a cluster is, its agents together keep to the numbers that the
// documentation states.
func TestPaceOfACluster(t *testing.T) {
	for _, n := range []int{0, 1, 3, 100, 250, 1000, 5000, 50000} {
		perSecond := func(d time.Duration) float64 { return float64(n) / d.Seconds() }
		if got := perSecond(Window(n)); got > 50 {
			t.Errorf("%d nodes: %.0f reports a second under steady change", n, got)
		}
		if got := perSecond(Refresh(n)); got > 20 {
			t.Errorf("%d nodes: %.0f reports a second without change", n, got)
		}
		if got := perSecond(Spread(n)); got > 100.5 {
			t.Errorf("%d nodes: %.0f reports a second after one event", n, got)
		}
	}
}
