package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tierwall/tierwall/hack/mutants/toggle"
)

// An outcome is what became of a mutant.
type outcome string

const (
	caught     outcome = "caught"
	survived   outcome = "SURVIVES"
	equivalent outcome = "equivalent"
)

// A result is a mutant's outcome, and which tests decided it.
type result struct {
	outcome outcome
	by      string
}

// A suite is the tests of one package that a mutant meets.
type suite struct {
	name string
	pkg  string // the directory; the mutant's own if it is empty
	of   string // meets mutants of packages below this directory only
	args []string
	env  []string
}

// short is a package's tests without those that take long, or send packets.
var short = []string{"-test.short", "-test.skip", "^TestPackets"}

// suites are in the order in which a mutant meets them.
var suites = []suite{
	{name: "package", args: short},
	{name: "nftables", pkg: "dataplane/nftables", of: "dataplane/", args: short},
	{name: "iptables", pkg: "dataplane/iptables", of: "dataplane/", args: short},
	{name: "agent", pkg: "controllers/agent", of: "controllers/agent/", args: short},
	{name: "scenarios", pkg: "test/scenarios"},
	{name: "worlds", pkg: "test/oracle", args: []string{"-test.run", "^TestWorlds$"}, env: []string{"TIERWALL_WORLDS=300"}},
}

// A test that never ends catches its mutant: it gets patience times as long as it takes
// without one, and leastLimit at least, as other work may slow it down. So does a test
// that takes all memory: memory bounds its address space, in KiB.
const (
	patience   = 10
	leastLimit = 20 * time.Second
	memory     = 12 << 20
)

// A trier runs the suites.
type trier struct {
	*builder
	suites []suite
	lock   sync.Mutex
	usual  map[string]time.Duration // how long a package's suite takes without a mutant
}

func newTrier(b *builder) *trier {
	return &trier{builder: b, suites: suites, usual: map[string]time.Duration{}}
}

// on returns the suite for mutants of a package, or false if they do not meet it.
func (s suite) on(dir string) (suite, bool) {
	if s.pkg == "" {
		s.pkg = dir
		return s, true
	}
	return s, s.pkg != dir && strings.HasPrefix(dir, s.of)
}

// try runs the suites on a mutant until one of them fails.
func (t *trier) try(ctx context.Context, m mutant) (result, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, s := range t.suites {
		s, ok := s.on(m.pkg.dir)
		if !ok {
			continue
		}
		tests, err := t.tests(ctx, s.pkg)
		if err != nil {
			return result{}, err
		}
		if !tests.packages[m.pkg.path] {
			continue
		}
		limit, err := t.limit(ctx, s, tests)
		if err != nil {
			return result{}, err
		}
		if m.alone {
			if tests, err = t.testsAlone(ctx, s.pkg, m, dir); err != nil {
				return result{}, err
			}
		}
		_, err = s.run(ctx, tests, limit, fmt.Sprintf("%s=%x", toggle.Variable, m.id))
		switch {
		case ctx.Err() != nil:
			return result{}, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return result{caught, s.name + ", which does not end"}, nil
		case err != nil:
			return result{caught, s.name}, nil
		}
	}
	return result{survived, "no test fails"}, nil
}

// limit returns how long the tests of a suite may take. It measures them first, unless
// the directory has the measurement of an earlier run with the same tests. It is an
// error if they fail without a mutant.
func (t *trier) limit(ctx context.Context, s suite, tests *testBinary) (time.Duration, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if _, ok := t.usual[s.pkg]; !ok {
		content, err := os.ReadFile(tests.path)
		if err != nil {
			return 0, err
		}
		record := fmt.Sprintf("%s.%x.usual", tests.path, sha256.Sum256(content))
		if usual, err := os.ReadFile(record); err == nil {
			if t.usual[s.pkg], err = time.ParseDuration(string(usual)); err != nil {
				return 0, fmt.Errorf("%s: %w", record, err)
			}
		} else if t.usual[s.pkg], err = s.measure(ctx, tests); err != nil {
			return 0, err
		} else if err := os.WriteFile(record, []byte(t.usual[s.pkg].String()), 0o600); err != nil {
			return 0, err
		}
	}
	return max(patience*t.usual[s.pkg], leastLimit), nil
}

// measure runs a suite without a mutant.
func (s suite) measure(ctx context.Context, tests *testBinary) (time.Duration, error) {
	start := time.Now()
	if output, err := s.run(ctx, tests, time.Hour, toggle.Variable+"="); err != nil {
		return 0, fmt.Errorf("tests of %s without a mutant: %w\n%s", s.pkg, err, output)
	}
	return time.Since(start), nil
}

func (s suite) run(ctx context.Context, tests *testBinary, limit time.Duration, env ...string) ([]byte, error) {
	path, err := filepath.Abs(tests.path)
	if err != nil {
		return nil, err
	}
	return command(ctx, limit, tests.dir, append(env, s.env...), path, append([]string{"-test.failfast", "-test.timeout=0"}, s.args...)...)
}

// command runs a command in a directory for at most limit, with bounded memory and
// without leaving children behind, and returns what it printed.
func command(ctx context.Context, limit time.Duration, dir string, env []string, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	script := fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, memory)
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, name}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	endWithChildren(cmd)
	output, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return output, err
}
