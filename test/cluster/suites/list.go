package suites

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// A Test is one that a suite is known to have.
type Test struct {
	// Name is the test's full name, as the suite reports it.
	Name string
	// SCTP says that it sends SCTP, from and to sockets: it cannot run on a kernel
	// that has none.
	SCTP bool
	// Open says that it passes on a cluster where nothing enforces policies: alone
	// it proves nothing.
	Open bool
	// Short says that it is part of the short run.
	Short bool
}

//go:embed netpol.list
var netpolList string

//go:embed clusterpolicy.list
var clusterPolicyList string

// parseList reads a list of tests: a line each, with letters (s SCTP, o open, c
// short run) or "-", a tab, and the name. Lines that begin with # and empty
// ones are skipped.
func parseList(text string) ([]Test, error) {
	var out []Test
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		letters, name, ok := strings.Cut(line, "\t")
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d: want letters, a tab and a name", i+1)
		}
		t := Test{Name: name}
		for _, letter := range letters {
			switch letter {
			case 's':
				t.SCTP = true
			case 'o':
				t.Open = true
			case 'c':
				t.Short = true
			case '-':
			default:
				return nil, fmt.Errorf("line %d: %q is no letter of a list: want s, o, c or -", i+1, string(letter))
			}
		}
		if slices.ContainsFunc(out, func(other Test) bool { return other.Name == name }) {
			return nil, fmt.Errorf("line %d: duplicate value %q", i+1, name)
		}
		out = append(out, t)
	}
	return out, nil
}

// Selection says which of a suite's tests to run.
type Selection struct {
	// Short takes the short run's tests only.
	Short bool
	// NoSCTP leaves out those that need SCTP sockets.
	NoSCTP bool
}

// split divides the tests into those to run and those that are left out only
// because the kernel cannot run them. Tests that a short run does not ask for
// are in neither.
func (s Selection) split(tests []Test) (run, skipped []Test) {
	for _, t := range tests {
		switch {
		case s.Short && !t.Short:
		case s.NoSCTP && t.SCTP:
			skipped = append(skipped, t)
		default:
			run = append(run, t)
		}
	}
	return run, skipped
}
