package suites

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The file is from a run on a kernel without SCTP sockets in which nothing was
// left out.
func TestParseGoTestRecorded(t *testing.T) {
	f, err := os.Open("testdata/clusterpolicy.log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := parseGoTest(f)
	if err != nil {
		t.Fatal(err)
	}
	const nodes = "TestConformance/CNPAdminTierEgressNodePeers/"
	want := []Case{
		{Name: "TestConformance/CNPAdminTierEgressNamedPort/Should_support_an_'allow-egress'_policy_for_named_port", State: Passed, Time: 6410 * time.Millisecond},
		{Name: nodes + "Should_support_an_'allow-egress'_rule_policy_for_egress-node-peer", State: Passed, Time: 210 * time.Millisecond},
		{Name: nodes + "Should_support_a_'pass-egress'_rule_policy_for_egress-node-peer", State: Passed, Time: 190 * time.Millisecond},
		{Name: nodes + "Should_support_a_'deny-egress'_rule_policy_for_egress-node-peer", State: Failed, Time: 22480 * time.Millisecond},
	}
	if len(r.Cases) != len(want) {
		t.Fatalf("%d cases, want %d: %+v", len(r.Cases), len(want), r.Cases)
	}
	for i, c := range r.Cases {
		message := c.Message
		c.Message = ""
		if c != want[i] {
			t.Errorf("case %d is %+v, want %+v", i, c, want[i])
		}
		if failed := c.State == Failed; failed != strings.Contains(message, "protocol not supported") {
			t.Errorf("case %d: message %q", i, message)
		}
	}
	if len(r.Outside) > 0 {
		t.Errorf("outside: %v", r.Outside)
	}
}

func TestParseGoTest(t *testing.T) {
	m := marker
	for _, c := range []struct {
		name    string
		lines   []string
		cases   []Case
		outside []string
	}{
		{
			name:  "a test that failed by itself, though its subtest passed",
			lines: []string{m + "=== RUN   T", "    a.go:1: no pods", m + "=== RUN   T/a", m + "--- PASS: T/a (0.00s)", m + "--- FAIL: T (1.00s)"},
			cases: []Case{{Name: "T/a", State: Passed}}, outside: []string{"T: a.go:1: no pods"},
		},
		{
			name:  "a test that did not end",
			lines: []string{m + "=== RUN   T", m + "=== RUN   T/a"},
			cases: []Case{{Name: "T/a", State: Failed, Message: "it did not end"}},
		},
		{
			name:  "a panic",
			lines: []string{m + "=== RUN   T", "panic: oh", m + "--- FAIL: T (0.00s)"},
			cases: []Case{{Name: "T", State: Failed, Message: "panic: oh"}}, outside: []string{"panic: oh"},
		},
		{
			name:  "what a test prints is no result",
			lines: []string{m + "=== RUN   T", "--- PASS: other (0.00s)", m + "--- PASS: T (0.50s)"},
			cases: []Case{{Name: "T", State: Passed, Time: 500 * time.Millisecond}},
		},
		{
			name:  "skipped",
			lines: []string{m + "=== RUN   T", m + "--- SKIP: T (0.00s)"},
			cases: []Case{{Name: "T", State: Skipped}},
		},
		{name: "nothing"},
	} {
		r, err := parseGoTest(strings.NewReader(strings.Join(c.lines, "\n")))
		if err != nil || !slices.Equal(r.Cases, c.cases) || !slices.Equal(r.Outside, c.outside) {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
}
