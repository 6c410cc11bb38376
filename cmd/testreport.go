package cmd

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/model"
)

// formatJUnit is the XML that build servers read.
const formatJUnit = "junit"

// The results of a case.
const (
	resultPass  = "PASS"
	resultFail  = "FAIL"
	resultError = "ERROR" // the case cannot be run
)

// testReport is what `tierwall test` reports.
type testReport struct {
	Tests  []*testResult `json:"tests"`
	Passed int           `json:"passed"`
	Failed int           `json:"failed"`
	// Errors counts cases that cannot be run, and tests whose objects cannot be used.
	Errors int `json:"errors"`
}

// testResult is one PolicyTest.
type testResult struct {
	File  string       `json:"file"`
	Line  int          `json:"line"`
	Name  string       `json:"name"`
	Error string       `json:"error,omitempty"`
	Cases []caseResult `json:"cases"`
}

// caseResult is one case.
type caseResult struct {
	Name     string `json:"name"`
	Line     int    `json:"line"`
	Result   string `json:"result"`
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	// DecidedBy is one line for people; Decision has all of it.
	DecidedBy   string          `json:"decidedBy,omitempty"`
	Differences []string        `json:"differences,omitempty"`
	Error       string          `json:"error,omitempty"`
	Decision    *model.Decision `json:"decision,omitempty"`
	// Connections that the case stands for, where there are several. Got, DecidedBy,
	// Differences and Decision are then of the first that failed, or of the first.
	Connections int `json:"connections,omitempty"`
	// Failed are the connections that failed, of several; at most maxFailed.
	Failed []connectionResult `json:"failed,omitempty"`
	// failed counts them all.
	failed int
}

// maxFailed is how many failed connections a case lists.
const maxFailed = 100

// connectionResult is one connection of a case.
type connectionResult struct {
	Connection  string   `json:"connection"`
	Got         string   `json:"got"`
	GotAudited  string   `json:"gotAudited,omitempty"`
	DecidedBy   string   `json:"decidedBy"`
	Differences []string `json:"differences,omitempty"`

	decision *model.Decision
}

// add adds the result of one of a case's connections.
func (c *caseResult) add(r connectionResult, of int) {
	failed := len(r.Differences) > 0
	if c.Decision == nil || failed && c.failed == 0 {
		c.Got, c.DecidedBy, c.Decision, c.Differences = r.Got, r.DecidedBy, r.decision, r.Differences
	}
	if of > 1 {
		c.Connections = of
	}
	if !failed {
		return
	}
	c.Result = resultFail
	c.failed++
	if of > 1 && len(c.Failed) < maxFailed {
		c.Failed = append(c.Failed, r)
	}
}

// unreadable adds the files that hold no test that can be read.
func (r *testReport) unreadable(err error) {
	if err == nil {
		return
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		t := &testResult{Error: err.Error(), Cases: []caseResult{}}
		var at *manifests.Error
		if errors.As(err, &at) {
			t.File, t.Line, t.Name = at.File, at.Line, at.File
		}
		r.Tests = append(r.Tests, t)
		r.Errors++
	}
}

func (r *testReport) add(t *testResult) {
	r.Tests = append(r.Tests, t)
	for _, c := range t.Cases {
		switch c.Result {
		case resultPass:
			r.Passed++
		case resultFail:
			r.Failed++
		default:
			r.Errors++
		}
	}
}

// testPrinter prints lines while the tests run.
type testPrinter struct {
	w io.Writer
	colours
}

func (p *testPrinter) test(t *testResult) {
	fmt.Fprintf(p.w, "%s\n", p.bold(fmt.Sprintf("PolicyTest/%s (%s)", t.Name, plain(t.File))))
}

func (p *testPrinter) testCase(t *testResult, c *caseResult) {
	switch c.Result {
	case resultPass:
		if c.Connections > 0 {
			fmt.Fprintf(p.w, "%s %s  expected %s, got it for all %d connections\n", p.green(resultPass), plain(c.Name), c.Expected, c.Connections)
			break
		}
		fmt.Fprintf(p.w, "%s %s  expected %s, got %s: %s\n", p.green(resultPass), plain(c.Name), c.Expected, c.Got, c.DecidedBy)
	case resultFail:
		fmt.Fprintf(p.w, "%s %s  %s (%s:%d)\n", p.red(resultFail), plain(c.Name), c.failure(), plain(t.File), c.Line)
	default:
		fmt.Fprintf(p.w, "%s %s  %s\n", p.red(resultError), plain(c.Name), plain(c.Error))
	}
}

// failure says what was expected, what came, what decided, and which parts of
// decidedBy differ.
func (c *caseResult) failure() string {
	s := fmt.Sprintf("expected %s, got %s: %s", c.Expected, c.Got, c.DecidedBy)
	if len(c.Failed) > 0 {
		s = fmt.Sprintf("%d of %d connections fail, such as %s: %s", c.failed, c.Connections, c.Failed[0].Connection, s)
	}
	var more []string
	for _, d := range c.Differences {
		if !strings.HasPrefix(d, "expected ") {
			more = append(more, d)
		}
	}
	if len(more) > 0 {
		s += "; " + strings.Join(more, "; ")
	}
	return s
}

func (p *testPrinter) summary(r *testReport) {
	parts := []string{fmt.Sprintf("%d passed", r.Passed)}
	if r.Failed > 0 {
		parts = append(parts, p.red(fmt.Sprintf("%d failed", r.Failed)))
	}
	if r.Errors > 0 {
		parts = append(parts, p.red(fmt.Sprintf("%d could not be run", r.Errors)))
	}
	fmt.Fprintf(p.w, "%s in %s: %s\n", count(r.Passed+r.Failed, "case"), count(len(r.Tests), "test"), strings.Join(parts, ", "))
}

// count is "1 case", "2 cases".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// The elements of a JUnit report.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		File     string      `xml:"file,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		ClassName string        `xml:"classname,attr"`
		Name      string        `xml:"name,attr"`
		File      string        `xml:"file,attr"`
		Line      int           `xml:"line,attr"`
		Failure   *junitMessage `xml:"failure,omitempty"`
		Error     *junitMessage `xml:"error,omitempty"`
		Output    string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes the report as JUnit XML: a suite for each PolicyTest.
func writeJUnit(w io.Writer, r *testReport) error {
	all := junitSuites{Tests: r.Passed + r.Failed + r.Errors, Failures: r.Failed, Errors: r.Errors}
	for _, t := range r.Tests {
		s := junitSuite{Name: t.Name, File: t.File}
		if t.Error != "" {
			s.Cases = append(s.Cases, junitCase{ClassName: t.Name, Name: "resources", File: t.File, Line: t.Line,
				Error: &junitMessage{Message: firstLine(t.Error), Text: t.Error}})
			s.Errors++
		}
		for i := range t.Cases {
			c := &t.Cases[i]
			j := junitCase{ClassName: t.Name, Name: c.Name, File: t.File, Line: c.Line, Output: c.DecidedBy}
			switch c.Result {
			case resultFail:
				j.Failure = &junitMessage{Message: c.failure(), Text: strings.Join(c.Differences, "\n")}
				s.Failures++
			case resultError:
				j.Error = &junitMessage{Message: c.Error}
				s.Errors++
			}
			s.Cases = append(s.Cases, j)
		}
		s.Tests = len(s.Cases)
		all.Suites = append(all.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
