// Command testsum runs the tests of Go modules and says at the end, in one line
// that people and machines read, how many passed and failed:
//
//	412 passed, 0 failed
//
// It reads `go test -json`, prints what plain `go test` would print (one line a
// package, and the whole output of what failed), and counts tests without
// subtests and the subtests of the others. A package that does not build, or
// dies without naming a test, counts as one failure. Skipped tests are counted
// on a line of their own.
//
// Usage:
//
//	testsum [-timeout D] [-serial] [-race PATTERN,...] [-totals FILE] MODULE...
//	testsum -fuzz D [-totals FILE] MODULE...
//	testsum -totals FILE -add PASSED,FAILED
//
// With -serial, one package's tests run at a time, while those of the next ones are built;
// it takes flock(1). With -race, the packages of these patterns in the module of the working
// folder run with the race detector. With -fuzz, each fuzz target of the modules is run for
// the time D; a target counts as one test. With -totals, the counts are added to those in FILE, so
// that several runs can share a closing line; `testsum -totals FILE` alone
// prints it. The exit status is 0 if nothing failed, 1 if something did, 2 if
// the tests could not be run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("testsum", flag.ContinueOnError)
	flags.SetOutput(errOut)
	timeout := flags.Duration("timeout", 20*time.Minute, "limit for the tests of one package")
	serial := flags.Bool("serial", false, "run one package's tests at a time, while others are built")
	fuzz := flags.Duration("fuzz", 0, "run each fuzz target for this long instead of the tests")
	race := flags.String("race", "", "patterns of packages that run with the race detector, comma-separated")
	totals := flags.String("totals", "", "file to which the counts are added")
	var sum tally
	flags.Func("add", "counts to add, PASSED,FAILED", func(counts string) error {
		_, err := fmt.Sscanf(counts, "%d,%d", &sum.passed, &sum.failed)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() == 0 && *totals == "" {
		fmt.Fprintln(errOut, "testsum: no module given")
		return 2
	}
	var common []string
	if *serial {
		lock, err := os.CreateTemp("", "testsum")
		if err != nil {
			fmt.Fprintf(errOut, "testsum: %v\n", err)
			return 2
		}
		_ = lock.Close()
		defer func() { _ = os.Remove(lock.Name()) }()
		common = oneAtATime(lock.Name())
	}
	for _, dir := range flags.Args() {
		var t tally
		var err error
		if *fuzz > 0 {
			t, err = fuzzModule(dir, *fuzz, out, errOut)
		} else {
			t, err = testModule(dir, append(common, "-timeout", timeout.String()), strings.FieldsFunc(*race, func(r rune) bool { return r == ',' }), out, errOut)
		}
		sum = sum.plus(t)
		if err != nil {
			fmt.Fprintf(errOut, "testsum: %s: %v\n", dir, err)
			return 2
		}
	}
	closing := sum
	if *totals != "" {
		before, err := readTotals(*totals)
		if err == nil {
			closing = closing.plus(before)
			err = writeTotals(*totals, closing)
		}
		if err != nil {
			fmt.Fprintf(errOut, "testsum: %v\n", err)
			return 2
		}
		if flags.NArg() > 0 {
			closing = sum
		}
	}
	fmt.Fprint(out, closing)
	if closing.failed > 0 {
		return 1
	}
	return 0
}

// readTotals reads what writeTotals wrote; no file means nothing yet.
func readTotals(file string) (tally, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return tally{}, nil
	}
	if err != nil {
		return tally{}, fmt.Errorf("reading the counts so far: %w", err)
	}
	var t tally
	if _, err := fmt.Sscan(string(data), &t.passed, &t.failed, &t.skipped); err != nil {
		return tally{}, fmt.Errorf("reading the counts so far: %s: %w", file, err)
	}
	return t, nil
}

func writeTotals(file string, t tally) error {
	return os.WriteFile(file, fmt.Appendf(nil, "%d %d %d\n", t.passed, t.failed, t.skipped), 0o644)
}
