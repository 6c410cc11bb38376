package suites

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// State is what became of a test.
type State string

// States. A test that was skipped is not reported at all, or as Skipped.
const (
	Passed  State = "passed"
	Failed  State = "failed"
	Skipped State = "skipped"
)

// A Case is one test of a report.
type Case struct {
	Name  string        `json:"name"`
	State State         `json:"state"`
	Time  time.Duration `json:"time"`
	// Message is what the suite said about a failure; it may be empty.
	Message string `json:"message,omitempty"`
}

// A Report is what a run of a suite said.
type Report struct {
	// Cases has each test once, in the order of the report.
	Cases []Case `json:"cases"`
	// Outside are failures of no test: of what a suite does before and after them.
	Outside []string `json:"outside,omitempty"`
	// Time is how long the whole suite took.
	Time time.Duration `json:"time"`
}

// A Verdict is a report held against the list of the suite.
type Verdict struct {
	Suite   string        `json:"suite"`
	Version string        `json:"version"`
	Time    time.Duration `json:"time"`
	// Total counts the tests that had to run, Passed those of them that passed.
	Total  int `json:"total"`
	Passed int `json:"passed"`
	// Failed has the tests that ran and failed, Missing those that had to run and
	// did not, Unknown those that ran and that the list does not have. Outside is
	// that of the report.
	Failed  []Case   `json:"failed,omitempty"`
	Missing []string `json:"missing,omitempty"`
	Unknown []string `json:"unknown,omitempty"`
	Outside []string `json:"outside,omitempty"`
	// Skipped has the tests that this kernel cannot run.
	Skipped []string `json:"skipped,omitempty"`
	// Passes has the names of those that passed.
	Passes []string `json:"passes,omitempty"`
}

// OK tells whether every test that had to run has run and passed, and nothing
// else went wrong.
func (v Verdict) OK() bool {
	return v.Passed == v.Total && v.Total > 0 && len(v.Failed)+len(v.Missing)+len(v.Unknown)+len(v.Outside) == 0
}

// judge holds a report against the tests that had to run. A test that passed
// although it had to be left out, or is not on the list, is unknown: the list is
// wrong, and so are its counts.
func judge(r Report, run, skipped []Test) Verdict {
	v := Verdict{Total: len(run), Time: r.Time, Outside: slices.Clone(r.Outside)}
	ran := make(map[string]Case, len(r.Cases))
	for _, c := range r.Cases {
		if c.State == Skipped {
			continue
		}
		// Of one that is there twice, a failure counts.
		if earlier, twice := ran[c.Name]; twice && earlier.State == Failed {
			continue
		}
		ran[c.Name] = c
	}
	// A test of which all subtests are left out is there alone, and did nothing.
	for _, t := range skipped {
		for name := t.Name; strings.Contains(name, "/"); {
			name = name[:strings.LastIndex(name, "/")]
			switch ran[name].State {
			case Passed:
				delete(ran, name)
			case Failed:
				v.Outside = append(v.Outside, name+": "+firstLine(ran[name].Message))
				delete(ran, name)
			}
		}
	}
	known := make(map[string]bool, len(run))
	for _, t := range run {
		known[t.Name] = true
		switch c, ok := ran[t.Name]; {
		case !ok:
			v.Missing = append(v.Missing, t.Name)
		case c.State == Passed:
			v.Passed++
			v.Passes = append(v.Passes, t.Name)
		default:
			v.Failed = append(v.Failed, c)
		}
	}
	for name := range ran {
		if !known[name] {
			v.Unknown = append(v.Unknown, name)
		}
	}
	slices.Sort(v.Unknown)
	for _, t := range skipped {
		v.Skipped = append(v.Skipped, t.Name)
	}
	return v
}

// Print writes the verdict for people: the counts first, then each skipped,
// failed, missing and unknown test by its name. baseline is what the same tests
// came to without enforcement.
func (v Verdict) Print(w io.Writer, baseline Verdict) error {
	var b strings.Builder
	say := func(format string, arguments ...any) { fmt.Fprintf(&b, format+"\n", arguments...) }
	word := "PASS"
	if !v.OK() {
		word = "FAIL"
	}
	say("%s %s %s: %d of %d in %s; with no enforcement at all %d of %d; %d skipped",
		word, v.Suite, v.Version, v.Passed, v.Total, v.Time.Round(time.Second), baseline.Passed, baseline.Total, len(v.Skipped))
	for _, name := range v.Skipped {
		say("  skipped, this kernel has no SCTP sockets: %s", name)
	}
	for _, c := range v.Failed {
		say("  failed: %s", c.Name)
		if c.Message != "" {
			say("%s", indent(c.Message, "    "))
		}
	}
	for _, name := range v.Missing {
		say("  missing from the report: %s", name)
	}
	for _, name := range v.Unknown {
		say("  not on the list of this suite: %s", name)
	}
	for _, text := range v.Outside {
		say("  outside of the tests: %s", text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// PrintBaseline writes what passed with no enforcement at all, and where that is
// not what the list says.
func (v Verdict) PrintBaseline(w io.Writer, known Verdict) error {
	var b strings.Builder
	fmt.Fprintf(&b, "baseline %s %s: with no enforcement at all %d of %d pass, in %s\n", v.Suite, v.Version, v.Passed, v.Total, v.Time.Round(time.Second))
	for _, name := range v.Passes {
		note := ""
		if !slices.Contains(known.Passes, name) {
			note = " (the list does not say so)"
		}
		fmt.Fprintf(&b, "  passes: %s%s\n", name, note)
	}
	for _, name := range known.Passes {
		if !slices.Contains(v.Passes, name) {
			fmt.Fprintf(&b, "  does not, though the list says so: %s\n", name)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
