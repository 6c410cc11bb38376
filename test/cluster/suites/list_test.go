package suites

import (
	"slices"
	"strings"
	"testing"
)

// The counts are those of the pinned versions: a list that lost a line would
// make a suite look whole that is not.
func TestListsHaveTheSuites(t *testing.T) {
	for _, c := range []struct {
		suite             Suite
		total, sctp, open int
	}{
		{Netpol, 50, 3, 5},
		{ClusterPolicy, 92, 36, 34},
	} {
		tests, err := c.suite.Tests()
		if err != nil {
			t.Fatal(err)
		}
		var sctp, open int
		for _, test := range tests {
			if test.SCTP {
				sctp++
			}
			if test.Open {
				open++
			}
		}
		if len(tests) != c.total || sctp != c.sctp || open != c.open {
			t.Errorf("%s: %d tests, %d with SCTP, %d that pass without enforcement; want %d, %d, %d",
				c.suite.Name, len(tests), sctp, open, c.total, c.sctp, c.open)
		}
		if !slices.IsSortedFunc(tests, func(a, b Test) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: the list is not sorted by name", c.suite.Name)
		}
	}
}

// A short run of tests that pass anyway would be green on a cluster without policies.
func TestShortRunsProveSomething(t *testing.T) {
	for _, s := range All() {
		tests, err := s.Tests()
		if err != nil {
			t.Fatal(err)
		}
		// Enough of them run on every kernel.
		run, skipped := Selection{Short: true, NoSCTP: true}.split(tests)
		if len(run) < 5 {
			t.Errorf("%s: the short run has %d tests", s.Name, len(run))
		}
		for _, test := range append(run, skipped...) {
			if test.Open {
				t.Errorf("%s: %q is in the short run and passes without enforcement", s.Name, test.Name)
			}
		}
	}
}

func TestParseListRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"no tab here", "line 1"},
		{"-\t", "line 1"},
		{"# fine\nx\tname", `"x" is no letter`},
		{"-\tname\ns\tname", "duplicate"},
	} {
		if _, err := parseList(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.text, err, c.want)
		}
	}
}

func TestSelectionSplits(t *testing.T) {
	tests := []Test{{Name: "plain"}, {Name: "sctp", SCTP: true}, {Name: "short", Short: true}, {Name: "both", SCTP: true, Short: true}}
	for _, c := range []struct {
		selection    Selection
		run, skipped []string
	}{
		{Selection{}, []string{"plain", "sctp", "short", "both"}, nil},
		{Selection{NoSCTP: true}, []string{"plain", "short"}, []string{"sctp", "both"}},
		{Selection{Short: true}, []string{"short", "both"}, nil},
		{Selection{Short: true, NoSCTP: true}, []string{"short"}, []string{"both"}},
	} {
		run, skipped := c.selection.split(tests)
		if got := testNames(run); !slices.Equal(got, c.run) {
			t.Errorf("%+v runs %v, want %v", c.selection, got, c.run)
		}
		if got := testNames(skipped); !slices.Equal(got, c.skipped) {
			t.Errorf("%+v skips %v, want %v", c.selection, got, c.skipped)
		}
	}
}

func testNames(tests []Test) []string {
	var out []string
	for _, test := range tests {
		out = append(out, test.Name)
	}
	return out
}
