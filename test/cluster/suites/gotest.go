package suites

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// marker stands before the lines in which a test program with
// -test.v=test2json says what it does, so that they are no test's own output.
const marker = "\x16"

var (
	goTestStart  = regexp.MustCompile(`^=== (?:RUN|NAME|CONT|PAUSE)\s+(\S+)$`)
	goTestResult = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)$`)
)

// parseGoTest reads the output of a test program with -test.v=test2json. A case
// is a test without subtests; one with subtests that failed though none of them
// did is a failure outside. A test that began and did not end failed.
func parseGoTest(in io.Reader) (Report, error) {
	p := goTestParser{said: map[string][]string{}, begun: map[string]bool{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			p.line(strings.TrimSuffix(line, "\n"))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return Report{}, fmt.Errorf("output of a test program: %w", err)
		}
	}
	return p.report(), nil
}

type goTestParser struct {
	order   []string // tests as they began
	begun   map[string]bool
	results []Case // as they ended
	said    map[string][]string
	current string
	outside []string
}

func (p *goTestParser) line(line string) {
	if rest, ok := strings.CutPrefix(line, marker); ok {
		if m := goTestStart.FindStringSubmatch(rest); m != nil {
			p.current = m[1]
			if !p.begun[p.current] {
				p.begun[p.current] = true
				p.order = append(p.order, p.current)
			}
			return
		}
		if m := goTestResult.FindStringSubmatch(rest); m != nil {
			state := map[string]State{"PASS": Passed, "FAIL": Failed, "SKIP": Skipped}[m[1]]
			took, _ := time.ParseDuration(m[3] + "s") // the expression allows digits only; nothing depends on it
			p.results = append(p.results, Case{Name: m[2], State: state, Time: took})
			return
		}
		line = rest
	}
	// A panic is not of one test alone.
	if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
		p.outside = append(p.outside, line)
	}
	if p.current != "" {
		p.said[p.current] = append(p.said[p.current], line)
	}
}

func (p *goTestParser) report() Report {
	var r Report
	ended := map[string]Case{}
	for _, c := range p.results {
		ended[c.Name] = c
	}
	for _, name := range p.order {
		c, ok := ended[name]
		if !ok {
			c = Case{Name: name, State: Failed, Message: "it did not end"}
		}
		if c.State == Failed {
			c.Message = lastLines(strings.TrimSpace(c.Message+"\n"+strings.Join(p.said[name], "\n")), messageLines)
		}
		ended[name] = c
		if !strings.Contains(name, "/") {
			r.Time += c.Time
		}
	}
	for _, name := range p.order {
		c := ended[name]
		below := slices.DeleteFunc(slices.Clone(p.order), func(other string) bool { return !strings.HasPrefix(other, name+"/") })
		if len(below) == 0 {
			r.Cases = append(r.Cases, c)
			continue
		}
		explained := slices.ContainsFunc(below, func(other string) bool { return ended[other].State == Failed })
		if c.State == Failed && !explained {
			r.Outside = append(r.Outside, name+": "+firstLine(c.Message))
		}
	}
	r.Outside = append(r.Outside, p.outside...)
	return r
}
