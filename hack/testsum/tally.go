package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// tally counts tests by result.
type tally struct{ passed, failed, skipped int }

func (t tally) plus(o tally) tally {
	return tally{t.passed + o.passed, t.failed + o.failed, t.skipped + o.skipped}
}

// String is the closing line, after a line on skipped tests if there are any.
func (t tally) String() string {
	s := fmt.Sprintf("%d passed, %d failed\n", t.passed, t.failed)
	if t.skipped > 0 {
		s = fmt.Sprintf("%d skipped\n", t.skipped) + s
	}
	return s
}

// event is one line of `go test -json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	FailedBuild string
}

// pkg is what is known of a package under test.
type pkg struct {
	results map[string]string // test → pass, fail or skip
	parents map[string]bool   // tests that have subtests
	output  map[string]*bytes.Buffer
	running []string // tests that began, in order
}

// collect reads the events of one `go test -json`, prints the output of
// packages and of failed tests to out, and counts.
func collect(events io.Reader, out io.Writer) (tally, error) {
	var sum tally
	pkgs := map[string]*pkg{}
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if jsonErr := json.Unmarshal(line, &e); jsonErr != nil {
				// go itself speaks plainly where it cannot begin.
				fmt.Fprint(out, string(line))
			} else {
				sum = sum.plus(handle(pkgs, e, out))
			}
		}
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, fmt.Errorf("reading go test's output: %w", err)
		}
	}
}

// handle takes in one event and returns the counts of a package that it ends.
func handle(pkgs map[string]*pkg, e event, out io.Writer) tally {
	if e.Package == "" {
		// The compiler's output, which has an ImportPath only.
		fmt.Fprint(out, e.Output)
		return tally{}
	}
	p := pkgs[e.Package]
	if p == nil {
		p = &pkg{results: map[string]string{}, parents: map[string]bool{}, output: map[string]*bytes.Buffer{}}
		pkgs[e.Package] = p
	}
	switch e.Action {
	case "run":
		p.running = append(p.running, e.Test)
		p.output[e.Test] = &bytes.Buffer{}
		for i := range e.Test {
			if e.Test[i] == '/' {
				p.parents[e.Test[:i]] = true
			}
		}
	case "output":
		switch b := p.output[e.Test]; {
		case e.Test == "" && e.Output != "PASS\n" && e.Output != "FAIL\n":
			fmt.Fprint(out, e.Output)
		case b != nil:
			b.WriteString(e.Output)
		}
	case "pass", "fail", "skip":
		if e.Test != "" {
			p.results[e.Test] = e.Action
			if e.Action == "fail" {
				fmt.Fprint(out, p.output[e.Test])
			}
			delete(p.output, e.Test)
			return tally{}
		}
		delete(pkgs, e.Package)
		return p.count(e.Action == "fail", out)
	}
	return tally{}
}

// count adds up a package that has ended. Tests that began and never ended
// (the package panicked or ran out of time) have failed.
func (p *pkg) count(failed bool, out io.Writer) tally {
	var t tally
	failedBelow := map[string]bool{}
	for _, test := range p.running {
		if _, ended := p.results[test]; !ended {
			p.results[test] = "fail"
			if b := p.output[test]; b != nil {
				fmt.Fprint(out, b)
			}
		}
		if p.results[test] == "fail" {
			for i := range test {
				if test[i] == '/' {
					failedBelow[test[:i]] = true
				}
			}
		}
	}
	for test, result := range p.results {
		switch {
		case result == "fail" && !failedBelow[test]:
			t.failed++
		case p.parents[test]:
			// Counted by its subtests.
		case result == "pass":
			t.passed++
		case result == "skip":
			t.skipped++
		}
	}
	if failed && t.failed == 0 {
		t.failed = 1
	}
	return t
}

// targets reads the fuzz targets from the events of `go test -json -list`.
func targets(events io.Reader) (map[string][]string, error) {
	found := map[string][]string{}
	in := json.NewDecoder(events)
	for {
		var e event
		err := in.Decode(&e)
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading go test's output: %w", err)
		}
		if name := strings.TrimSpace(e.Output); e.Action == "output" && strings.HasPrefix(name, "Fuzz") {
			found[e.Package] = append(found[e.Package], name)
		}
	}
}
