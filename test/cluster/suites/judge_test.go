package suites

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var three = []Test{{Name: "one"}, {Name: "two"}, {Name: "three"}}

func TestJudge(t *testing.T) {
	passed := func(names ...string) (out []Case) {
		for _, n := range names {
			out = append(out, Case{Name: n, State: Passed})
		}
		return out
	}
	for _, c := range []struct {
		name   string
		report Report
		ok     bool
		passed int
		check  func(Verdict) bool
	}{
		{name: "all pass", report: Report{Cases: passed("one", "two", "three")}, ok: true, passed: 3},
		{name: "skipped ones do not count", report: Report{Cases: append(passed("one", "two", "three"), Case{Name: "other", State: Skipped})}, ok: true, passed: 3},
		{
			name: "one fails", report: Report{Cases: append(passed("one", "two"), Case{Name: "three", State: Failed})}, passed: 2,
			check: func(v Verdict) bool { return len(v.Failed) == 1 && v.Failed[0].Name == "three" },
		},
		{
			name: "one is missing", report: Report{Cases: passed("one", "three")}, passed: 2,
			check: func(v Verdict) bool { return slices.Equal(v.Missing, []string{"two"}) },
		},
		{
			name: "the suite itself skipped one", report: Report{Cases: append(passed("one", "three"), Case{Name: "two", State: Skipped})}, passed: 2,
			check: func(v Verdict) bool { return slices.Equal(v.Missing, []string{"two"}) },
		},
		{
			name: "one that nobody knows passes", report: Report{Cases: passed("one", "two", "three", "four")}, passed: 3,
			check: func(v Verdict) bool { return slices.Equal(v.Unknown, []string{"four"}) },
		},
		{
			name: "one that fails once and passes once", report: Report{Cases: append([]Case{{Name: "one", State: Failed}}, passed("one", "two", "three")...)}, passed: 2,
			check: func(v Verdict) bool { return len(v.Failed) == 1 },
		},
		{name: "something else went wrong", report: Report{Cases: passed("one", "two", "three"), Outside: []string{"no cluster"}}, passed: 3},
		{name: "nothing ran", report: Report{}, check: func(v Verdict) bool { return len(v.Missing) == 3 }},
	} {
		v := judge(c.report, three, nil)
		if v.OK() != c.ok || v.Passed != c.passed || v.Total != 3 || (c.check != nil && !c.check(v)) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestPrintBaseline(t *testing.T) {
	v := Verdict{Suite: "suite", Version: "v1", Total: 3, Passed: 2, Passes: []string{"one", "two"}, Time: time.Minute}
	var b strings.Builder
	if err := v.PrintBaseline(&b, Verdict{Passes: []string{"two", "three"}}); err != nil {
		t.Fatal(err)
	}
	want := `baseline suite v1: with no enforcement at all 2 of 3 pass, in 1m0s
  passes: one (the list does not say so)
  passes: two
  does not, though the list says so: three
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// What stands above tests that are left out runs all the same; only its failure counts.
func TestJudgeAboveSkippedTests(t *testing.T) {
	run, skipped := []Test{{Name: "T/a/one"}}, []Test{{Name: "T/b/two", SCTP: true}, {Name: "T/b/three", SCTP: true}}
	for _, c := range []struct {
		state State
		ok    bool
	}{{Passed, true}, {Failed, false}} {
		v := judge(Report{Cases: []Case{{Name: "T/a/one", State: Passed}, {Name: "T/b", State: c.state, Message: "no pods"}}}, run, skipped)
		if v.OK() != c.ok || len(v.Unknown) > 0 || (len(v.Outside) == 0) != c.ok {
			t.Errorf("%s: %+v", c.state, v)
		}
	}
}

// A suite of which nothing had to run proves nothing.
func TestJudgeOfNothing(t *testing.T) {
	if judge(Report{}, nil, nil).OK() {
		t.Error("a run of no tests is a success")
	}
}

func TestPrint(t *testing.T) {
	v := judge(Report{
		Cases: []Case{{Name: "one", State: Passed}, {Name: "two", State: Failed, Message: "first\nsecond"}},
		Time:  90 * time.Second,
	}, three, []Test{{Name: "four", SCTP: true}})
	v.Suite, v.Version = "suite", "v1"
	var b strings.Builder
	if err := v.Print(&b, Verdict{Passed: 0, Total: 3}); err != nil {
		t.Fatal(err)
	}
	want := `FAIL suite v1: 1 of 3 in 1m30s; with no enforcement at all 0 of 3; 1 skipped
  skipped, this kernel has no SCTP sockets: four
  failed: two
    first
    second
  missing from the report: three
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
