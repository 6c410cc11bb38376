package suites

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The file is from a run without enforcement; most of its specs are left out.
func TestParseGinkgoRecorded(t *testing.T) {
	f, err := os.Open("testdata/netpol.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := parseGinkgo(f)
	if err != nil {
		t.Fatal(err)
	}
	const between = "NetworkPolicy between server and client "
	want := []Case{
		{Name: "[sig-storage] In-tree Volumes [Driver: nfs] [Testpattern: Dynamic PV (default fs)] subPath should fail if subpath directory is outside the volume [Slow] [LinuxOnly]", State: Skipped},
		{Name: "[sig-network] Netpol " + between + "should support a 'default-deny-ingress' policy [Feature:NetworkPolicy]", State: Failed, Time: 101642649680, Message: "Had 6 wrong results in reachability matrix"},
		{Name: "[sig-network] Netpol [LinuxOnly] " + between + "using UDP should support a 'default-deny-ingress' policy [Feature:NetworkPolicy]", State: Failed, Time: 103016293052, Message: "Had 6 wrong results in reachability matrix"},
		{Name: "[sig-network] Netpol " + between + "should enforce policy based on any PodSelectors [Feature:NetworkPolicy]", State: Passed, Time: 19446889220},
		{Name: "[sig-network] Netpol API should support creating NetworkPolicy API with endport field", State: Passed, Time: 2103745622},
		{Name: "[sig-network] Netpol [Feature:SCTPConnectivity] [LinuxOnly] " + between + "using SCTP should support a 'default-deny-ingress' policy [Feature:NetworkPolicy]", State: Skipped},
	}
	if len(r.Cases) != len(want) {
		t.Fatalf("%d cases, want %d: %+v", len(r.Cases), len(want), r.Cases)
	}
	for i, c := range r.Cases {
		if c != want[i] {
			t.Errorf("case %d is %+v, want %+v", i, c, want[i])
		}
	}
	if len(r.Outside) > 0 || r.Time.Round(time.Second) != 596*time.Second {
		t.Errorf("outside %v, time %v", r.Outside, r.Time)
	}
	// The names are those of the list.
	tests, err := Netpol.Tests()
	if err != nil {
		t.Fatal(err)
	}
	v := judge(r, tests, nil)
	if len(v.Unknown) > 0 || v.Passed != 2 || len(v.Failed) != 2 || len(v.Missing) != len(tests)-4 {
		t.Errorf("verdict: unknown %v, %d passed, %d failed, %d missing", v.Unknown, v.Passed, len(v.Failed), len(v.Missing))
	}
}

func TestParseGinkgo(t *testing.T) {
	spec := func(kind, text, state string) string {
		return `{"LeafNodeType":"` + kind + `","LeafNodeText":"` + text + `","State":"` + state + `","Failure":{"Message":"why\nmore"}}`
	}
	report := func(reasons string, specs ...string) string {
		return `[{"SuiteDescription":"s","SpecialSuiteFailureReasons":[` + reasons + `],"SpecReports":[` + strings.Join(specs, ",") + `]}]`
	}
	for _, c := range []struct {
		name, text string
		state      State
		outside    string
	}{
		{name: "a panic is a failure", text: report("", spec("It", "a", "panicked")), state: Failed},
		{name: "so is an interrupt", text: report("", spec("It", "a", "interrupted")), state: Failed},
		{name: "and a time-out", text: report("", spec("It", "a", "timedout")), state: Failed},
		{name: "pending is skipped", text: report("", spec("It", "a", "pending")), state: Skipped},
		{name: "a failure before all specs", text: report("", spec("BeforeSuite", "", "failed")), outside: "BeforeSuite: why"},
		{name: "a failure of the suite", text: report(`"interrupted by timeout"`), outside: "s: interrupted by timeout"},
	} {
		r, err := parseGinkgo(strings.NewReader(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.state != "" && (len(r.Cases) != 1 || r.Cases[0].State != c.state) {
			t.Errorf("%s: %+v", c.name, r.Cases)
		}
		if (c.outside == "") != (len(r.Outside) == 0) || (c.outside != "" && r.Outside[0] != c.outside) {
			t.Errorf("%s: outside %q, want %q", c.name, r.Outside, c.outside)
		}
	}
	for _, text := range []string{"", "[]", "{", `[{"SpecReports":[`} {
		if _, err := parseGinkgo(strings.NewReader(text)); err == nil {
			t.Errorf("%q is a report", text)
		}
	}
}
