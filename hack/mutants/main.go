// Command mutants measures what the tests notice. It changes one token of the policy
// core or of the data plane at a time, runs the tests, and counts the changes that no
// test fails on:
//
//	200 mutants of seed 1: 196 of 199 caught, 3 survive, 1 equivalent: 98.5 %
//
// The tests are built once, with all mutants of the sample in them, each behind a
// switch that an environment variable turns on. What is built lives in an overlay: no
// file of the checkout is written. A mutant's own package's tests run first; only a
// mutant that they let pass meets those of the packages that use it (both backends, the
// agent), the scenarios and the random worlds, as far as these contain its package. A
// mutant that does not compile is replaced by the next of the same seed. A mutant after
// which the program means the same cannot be caught: those that were reviewed are in
// equivalents.txt, with the reason, and count as neither caught nor surviving.
//
// Usage:
//
//	mutants [-seed N] [-n N] [-goal PERCENT] [-j N] [-dir DIR] [-list] [-quick] [-only ID,...] [-from ID] [-for DURATION] PATTERN...
//
// A run can be cut into pieces: -for ends it early, and its last line has the -from of
// the next. With -dir, that one finds the tests built.
//
// The exit status is 0 if the share of caught mutants reaches the goal, 1 if it does
// not, 2 if the mutants could not be made or run.
//
// Its files: check.go reads and type-checks packages, sites.go finds the tokens that
// can be changed, sample.go chooses among them, schemata.go writes sources with all
// mutants in them, build.go builds their tests, trial.go runs these on one mutant,
// equivalent.go reads the reviewed ones. The switch is the package toggle.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(errOut)
	seed := flags.Uint64("seed", 1, "the mutants are a sample of this seed")
	n := flags.Int("n", 200, "number of mutants")
	goal := flags.Float64("goal", 95, "percentage of mutants that has to be caught")
	jobs := flags.Int("j", 2, "mutants that are tried at a time")
	dir := flags.String("dir", "", "directory of what is built, for the next run; a temporary one if it is empty")
	list := flags.Bool("list", false, "print the sample, and run nothing")
	only := flags.String("only", "", "try these mutants of the sample alone, by ID")
	from := flags.String("from", "", "try the mutants from this ID on")
	quick := flags.Bool("quick", false, "run the tests of a mutant's own package alone")
	limit := flags.Duration("for", 0, "begin no mutant after this time; without limit if it is 0")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	fail := func(err error) int {
		fmt.Fprintf(errOut, "mutants: %v\n", err)
		return 2
	}
	begin := time.Now()
	packages, err := load(flags.Args())
	if err != nil {
		return fail(err)
	}
	sample := takeSample(packages, *seed, *n)
	chosen, err := choose(sample, *only, *from)
	if err != nil {
		return fail(err)
	}
	if *list {
		for _, m := range chosen {
			fmt.Fprintln(out, m)
		}
		return 0
	}
	reviewed, err := readEquivalents("hack/mutants/equivalents.txt")
	if err != nil {
		return fail(err)
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "mutants"); err != nil {
			return fail(err)
		}
		defer func() { _ = os.RemoveAll(*dir) }()
	}
	b, err := newBuilder(*dir, sample)
	if err != nil {
		return fail(err)
	}
	t := newTrier(b)
	if *quick {
		t.suites = suites[:1]
	}
	r := runner{try: t.try, reviewed: reviewed, jobs: *jobs, out: out, done: func() bool {
		return *limit != 0 && time.Since(begin) > *limit
	}}
	left, err := r.run(ctx, chosen)
	if err != nil {
		return fail(err)
	}
	sum := r.total
	fmt.Fprintf(out, "%d mutants of seed %d: %d of %d caught, %d survive, %d equivalent: %.1f %%\n",
		sum.caught+sum.survived+sum.equivalent, *seed, sum.caught, sum.caught+sum.survived, sum.survived, sum.equivalent, sum.share())
	if len(left) > 0 {
		fmt.Fprintf(out, "not tried: %d, -from %08x\n", len(left), left[0].id)
	}
	if sum.share() < *goal {
		return 1
	}
	return 0
}

// choose returns those mutants of a sample that -only and -from name.
func choose(sample []mutant, only, from string) ([]mutant, error) {
	first := uint64(0)
	if from != "" {
		var err error
		if first, err = strconv.ParseUint(from, 16, 32); err != nil {
			return nil, fmt.Errorf("-from: %w", err)
		}
	}
	var ids []string
	if only != "" {
		ids = strings.Split(only, ",")
	}
	chosen := slices.DeleteFunc(slices.Clone(sample), func(m mutant) bool {
		return uint64(m.id) < first || ids != nil && !slices.Contains(ids, fmt.Sprintf("%08x", m.id))
	})
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no such mutant in the sample of %d", len(sample))
	}
	return chosen, nil
}

// A tally counts mutants by what became of them.
type tally struct{ caught, survived, equivalent int }

// share returns the percentage of caught mutants among those that can be caught. It is
// 100 if there is none.
func (t tally) share() float64 {
	if t.caught+t.survived == 0 {
		return 100
	}
	return 100 * float64(t.caught) / float64(t.caught+t.survived)
}

// A runner tries mutants, jobs at a time, and prints a line for each.
type runner struct {
	try      func(context.Context, mutant) (result, error)
	reviewed equivalents
	jobs     int
	out      io.Writer
	done     func() bool // reports whether no further mutant begins
	total    tally
}

// run returns the mutants that it did not try.
func (r *runner) run(ctx context.Context, mutants []mutant) ([]mutant, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var lock sync.Mutex
	next := func() (mutant, bool) {
		lock.Lock()
		defer lock.Unlock()
		if len(mutants) == 0 || ctx.Err() != nil || r.done() {
			return mutant{}, false
		}
		m := mutants[0]
		mutants = mutants[1:]
		return m, true
	}
	var wait sync.WaitGroup
	for range r.jobs {
		wait.Go(func() {
			for m, ok := next(); ok; m, ok = next() {
				result := result{equivalent, "reviewed"}
				if !r.reviewed.has(m.site) {
					var err error
					if result, err = r.try(ctx, m); err != nil {
						cancel(fmt.Errorf("%s: %w", m, err))
						return
					}
				}
				lock.Lock()
				r.total.add(result.outcome)
				fmt.Fprintf(r.out, "%-10s %s (%s)\n", result.outcome, m, result.by)
				lock.Unlock()
			}
		})
	}
	wait.Wait()
	return mutants, context.Cause(ctx)
}

func (t *tally) add(o outcome) {
	switch o {
	case caught:
		t.caught++
	case survived:
		t.survived++
	case equivalent:
		t.equivalent++
	}
}
