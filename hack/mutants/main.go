// Command mutants measures what the tests notice. It changes one token of the policy
// core or of the data plane at a time, runs the tests, and counts the changes that no
// test fails on:
//
//	200 mutants of seed 1: 196 caught, 1 survives, 3 equivalent: 99.5 %
//
// A mutant lives in an overlay of the build: no file of the checkout is written. Its
// own package's tests run first; only a mutant that they let pass meets the scenarios
// and the random worlds. A mutant that does not compile is replaced by the next of the
// same seed. A mutant after which the program means the same cannot be caught: those
// that a person has reviewed stand in equivalents.txt, with the reason, and count as
// neither caught nor surviving.
//
// Usage:
//
//	mutants [-seed N] [-n N] [-goal PERCENT] [-j N] [-list] PATTERN...
//
// The exit status is 0 if the share of caught mutants reaches the goal, 1 if it does
// not, 2 if the mutants could not be made or run.
//
// Its files: sites.go finds the tokens that can be changed, equivalent.go reads the
// reviewed ones, trial.go runs the tests on one of them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(errOut)
	seed := flags.Uint64("seed", 1, "the mutants are a sample of this seed")
	n := flags.Int("n", 200, "number of mutants")
	goal := flags.Float64("goal", 95, "percentage of mutants that has to be caught")
	jobs := flags.Int("j", 1, "mutants that are tried at a time")
	list := flags.Bool("list", false, "print the first mutants of the sample, whether they compile or not, and run nothing")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	sample, err := sampleSites(*seed, flags.Args())
	if err != nil {
		fmt.Fprintf(errOut, "mutants: %v\n", err)
		return 2
	}
	if *list {
		for _, s := range sample[:min(*n, len(sample))] {
			fmt.Fprintln(out, s)
		}
		return 0
	}
	reviewed, err := readEquivalents("hack/mutants/equivalents.txt")
	if err != nil {
		fmt.Fprintf(errOut, "mutants: %v\n", err)
		return 2
	}
	t, err := try(ctx, sample, *n, *jobs, reviewed, out)
	if err != nil {
		fmt.Fprintf(errOut, "mutants: %v\n", err)
		return 2
	}
	share := t.share()
	fmt.Fprintf(out, "%d mutants of seed %d: %d caught, %d survive, %d equivalent: %.1f %%\n",
		t.caught+t.survived+t.equivalent, *seed, t.caught, t.survived, t.equivalent, share)
	if share < *goal {
		return 1
	}
	return 0
}

// sampleSites returns all sites of the packages that the patterns name, in the order
// that the seed gives. Generated files and tests have none.
func sampleSites(seed uint64, patterns []string) ([]site, error) {
	cmd := exec.Command("go", append([]string{"list", "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`}, patterns...)...)
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w", err)
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	var all []site
	for _, path := range strings.Fields(string(data)) {
		file, err := filepath.Rel(here, path)
		if err != nil {
			return nil, err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sites, err := findSites(file, src)
		if err != nil {
			return nil, err
		}
		all = append(all, sites...)
	}
	rng := rand.New(rand.NewPCG(seed, 0x6d7574616e7473))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
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

// try runs the first n mutants of the sample that compile, jobs at a time, and prints a
// line for each. Which mutants these are depends on the sample alone, not on jobs.
func try(ctx context.Context, sample []site, n, jobs int, reviewed equivalents, out io.Writer) (tally, error) {
	var total tally
	for len(sample) > 0 && total.caught+total.survived+total.equivalent < n {
		batch := sample[:min(jobs, n-total.caught-total.survived-total.equivalent, len(sample))]
		sample = sample[len(batch):]
		results := make([]result, len(batch))
		errs := make([]error, len(batch))
		var wait sync.WaitGroup
		for i, s := range batch {
			if reviewed.has(s) {
				results[i] = result{equivalent, "reviewed"}
				continue
			}
			wait.Go(func() { results[i], errs[i] = trial(ctx, s) })
		}
		wait.Wait()
		for i, r := range results {
			if errs[i] != nil {
				return total, fmt.Errorf("%s: %w", batch[i], errs[i])
			}
			switch r.outcome {
			case invalid:
				continue
			case caught:
				total.caught++
			case survived:
				total.survived++
			case equivalent:
				total.equivalent++
			}
			fmt.Fprintf(out, "%-10s %s (%s)\n", r.outcome, batch[i], r.by)
		}
	}
	return total, nil
}
