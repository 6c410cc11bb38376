package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// oneAtATime returns the arguments that make go run one test binary at a time, whatever
// it builds meanwhile. The lock is flock's alone: what a test leaves behind does not hold it.
func oneAtATime(lock string) []string { return []string{"-exec", "flock --close " + lock} }

// testModule runs all tests of the module in dir, with args for go. Of the module in
// the working folder, the packages of the patterns in race run with the race detector,
// which takes cgo, in place of without.
func testModule(dir string, args, race []string, out, errOut io.Writer) (tally, error) {
	if filepath.Clean(dir) != "." {
		// A module below this one reads files of this one. Go's cache of test
		// results knows of no files outside a test's own module.
		return goTest(dir, nil, out, errOut, slices.Concat(args, []string{"-count=1", "./..."})...)
	}
	if len(race) == 0 {
		return goTest(dir, nil, out, errOut, slices.Concat(args, []string{"./..."})...)
	}
	raced, err := packages(dir, errOut, race...)
	if err != nil {
		return tally{}, err
	}
	all, err := packages(dir, errOut, "./...")
	if err != nil {
		return tally{}, err
	}
	sum, err := goTest(dir, []string{"CGO_ENABLED=1"}, out, errOut, slices.Concat(args, []string{"-race"}, raced)...)
	if err != nil {
		return sum, err
	}
	rest := slices.DeleteFunc(all, func(p string) bool { return slices.Contains(raced, p) })
	t, err := goTest(dir, nil, out, errOut, slices.Concat(args, rest)...)
	return sum.plus(t), err
}

// packages lists the packages of patterns.
func packages(dir string, errOut io.Writer, patterns ...string) ([]string, error) {
	list := exec.Command("go", append([]string{"list"}, patterns...)...)
	list.Dir, list.Stderr = dir, errOut
	data, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	return strings.Fields(string(data)), nil
}

// minimizing is how often an input is run to find a shorter one like it. Go's default is a
// minute for each input that reaches something new, in which no other is tried: FuzzAssemble
// without a cache had 39,000 inputs in 20 s by that, and 606,000 by this.
const minimizing = "100x"

// fuzzModule runs each fuzz target of the module in dir for the time given:
// one at a time, because go takes no more.
func fuzzModule(dir string, d time.Duration, out, errOut io.Writer) (tally, error) {
	list := exec.Command("go", "test", "-json", "-list", "^Fuzz", "./...")
	list.Dir, list.Stderr = dir, errOut
	data, err := list.Output()
	if err != nil {
		return tally{failed: 1}, fmt.Errorf("listing fuzz targets: %w", err)
	}
	found, err := targets(bytes.NewReader(data))
	if err != nil {
		return tally{}, err
	}
	var sum tally
	for _, p := range slices.Sorted(maps.Keys(found)) {
		for _, name := range found[p] {
			fmt.Fprintf(out, "fuzz %s %s for %s\n", p, name, d)
			var printed bytes.Buffer
			t, err := goTest(dir, nil, io.MultiWriter(out, &printed), errOut, "-run", "^$", "-fuzz", "^"+name+"$", "-fuzztime", d.String(), "-fuzzminimizetime", minimizing, p)
			if err != nil {
				return sum, err
			}
			// The target's seeds are counted one by one; here it is one test.
			switch {
			case t.failed == 0:
				sum.passed++
			case lostDeadlineRace(printed.String()):
				fmt.Fprintf(out, "%s ran for its %s and found nothing: the failure above is go.dev/issue/75804\n", name, d)
				sum.passed++
			default:
				sum.failed++
			}
		}
	}
	return sum, nil
}

// lostDeadlineRace reports whether a fuzz target's output has one failure, and that
// is the deadline of -fuzztime itself: up to Go 1.26 the coordinator at times
// mistakes it for an error (go.dev/issue/75804). An input that fails, a panic and a
// failed seed all print more.
func lostDeadlineRace(output string) bool {
	lines := strings.Split(output, "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "--- FAIL: ") })
	if at < 0 || at+1 >= len(lines) || strings.TrimSpace(lines[at+1]) != context.DeadlineExceeded.Error() {
		return false
	}
	return !slices.ContainsFunc(append(lines[:at:at], lines[at+2:]...), func(l string) bool {
		l = strings.TrimSpace(l)
		for _, harmless := range []string{"=== RUN", "fuzz: elapsed:", "FAIL\t", "exit status 1"} {
			if strings.HasPrefix(l, harmless) {
				return false
			}
		}
		return l != "" && l != "FAIL"
	})
}

// goTest runs `go test -json` in dir, with more in its environment. That tests fail
// is no error.
func goTest(dir string, environ []string, out, errOut io.Writer, args ...string) (tally, error) {
	c := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	c.Dir, c.Stderr, c.Env = dir, errOut, append(os.Environ(), environ...)
	pipe, err := c.StdoutPipe()
	if err != nil {
		return tally{}, err
	}
	if err := c.Start(); err != nil {
		return tally{}, fmt.Errorf("starting go test: %w", err)
	}
	t, readErr := collect(pipe, out)
	err = c.Wait()
	var exit *exec.ExitError
	switch {
	case readErr != nil:
		return t, readErr
	case errors.As(err, &exit) && t.failed == 0:
		// go failed before any package: a broken go.mod, a bad pattern.
		t.failed = 1
		return t, nil
	case err != nil && exit == nil:
		return t, fmt.Errorf("running go test: %w", err)
	}
	return t, nil
}
