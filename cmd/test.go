package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/controllers/source"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

// testRunner decides the cases of a policy test: the core by evaluation, a data
// plane with packets.
type testRunner interface {
	// open prepares for the cases of tests on the same objects, completed.
	open(ctx context.Context, objects *source.Result, world *policytest.World) (testSession, error)
}

// testSession is a testRunner's hold on one set of objects.
type testSession interface {
	// decide returns the fate of a packet. A data plane may leave out Stages.
	decide(ctx context.Context, f model.Flow) (model.Decision, error)
	close() error
}

// coreRunner evaluates in package policy.
type coreRunner struct{}

type coreSession struct{ world *policytest.World }

func (coreRunner) open(_ context.Context, _ *source.Result, w *policytest.World) (testSession, error) {
	return coreSession{w}, nil
}

func (s coreSession) decide(_ context.Context, f model.Flow) (model.Decision, error) {
	return s.world.Index.Decide(f), nil
}

func (coreSession) close() error { return nil }

// runnerFor returns the runner of a data plane by name.
func runnerFor(dataplane string) (testRunner, error) {
	if dataplane == "core" {
		return coreRunner{}, nil
	}
	if r, err := kernelRunner(dataplane); r != nil || err != nil {
		return r, err
	}
	return nil, fmt.Errorf("--dataplane %s: want core, nftables or iptables", dataplane)
}

func newTestCommand(s streams) *cobra.Command {
	var (
		output       outputFlag
		dataplane    string
		allowInvalid bool
	)
	c := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run policy tests",
		Long: `Run all PolicyTests in the files, and in the folders with all below them, and
print one line a case. The exit status is 0 if all cases pass, 1 if one fails,
and 2 if the input cannot be used or there is no test.`,
		Example: `  tierwall test config/samples
  tierwall test -o junit tests/ > report.xml`,
		Args: pathArgs,
		RunE: func(c *cobra.Command, args []string) error {
			runner, err := runnerFor(dataplane)
			if err != nil {
				return err
			}
			tests, err := source.FindTests(args, source.Options{Stdin: s.in})
			if err != nil {
				return err
			}
			if len(tests) == 0 {
				return fmt.Errorf("no PolicyTest found in %s", strings.Join(args, ", "))
			}
			t := testRun{streams: s, runner: runner, allowInvalid: allowInvalid, warned: map[string]bool{}}
			if output.text() {
				t.print = &testPrinter{w: s.out, colours: coloursFor(s.out)}
			}
			report, err := t.all(c.Context(), tests)
			if writeErr := writeTestReport(s.out, &output, report); writeErr != nil {
				return writeErr
			}
			switch {
			case err != nil:
				return err
			case report.Failed > 0:
				return errNegative
			}
			return nil
		},
	}
	output.register(c.Flags(), formatJUnit)
	c.Flags().StringVar(&dataplane, "dataplane", "core", "what decides: core (evaluation, no packets), nftables or iptables (real packets in network namespaces)")
	c.Flags().BoolVar(&allowInvalid, "allow-invalid", false,
		"evaluate invalid objects as the agent would, failing closed, instead of refusing them")
	return c
}

// testRun runs tests one after the other.
type testRun struct {
	streams
	runner       testRunner
	allowInvalid bool
	print        *testPrinter // nil: no lines while it runs
	warned       map[string]bool

	// Tests that stand side by side mostly share their resources.
	key     string
	objects *source.Result
	world   *policytest.World
}

// all runs all tests. The error joins what is wrong with the input; the report
// holds the results of all that could be run.
func (t *testRun) all(ctx context.Context, tests []source.Test) (*testReport, error) {
	report := &testReport{}
	var errs []error
	reported := map[string]bool{}
	for i := range tests {
		r, err := t.test(ctx, &tests[i])
		if err != nil {
			// Unusable resources are named once, not once for each test on them.
			if !reported[err.Error()] {
				reported[err.Error()] = true
				errs = append(errs, err)
			}
			if r == nil {
				r = &testResult{File: tests[i].Object.File, Line: tests[i].Object.Line, Name: tests[i].Name, Error: err.Error()}
				report.Errors++
			}
		}
		report.add(r)
	}
	if t.print != nil {
		t.print.summary(report)
	}
	return report, errors.Join(errs...)
}

// test runs the cases of one test. The result is nil if its objects cannot be used.
func (t *testRun) test(ctx context.Context, test *source.Test) (*testResult, error) {
	if err := t.load(test); err != nil {
		return nil, err
	}
	session, err := t.runner.open(ctx, t.objects, t.world)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", test.Object.Place(), err)
	}
	r := &testResult{File: test.Object.File, Line: test.Object.Line, Name: test.Name}
	if t.print != nil {
		t.print.test(r)
	}
	var errs []error
	for i := range test.Spec.Cases {
		c, err := t.testCase(ctx, session, test, i)
		if err != nil {
			errs = append(errs, err)
		}
		r.Cases = append(r.Cases, c)
		if t.print != nil {
			t.print.testCase(r, &c)
		}
	}
	return r, errors.Join(append(errs, session.close())...)
}

// load reads the objects of a test, unless they are those of the one before.
func (t *testRun) load(test *source.Test) error {
	paths, err := test.Resources()
	if err != nil {
		return err
	}
	key := strings.Join(paths, "\x00")
	if key != "" && key == t.key && t.world != nil {
		return nil
	}
	t.key, t.objects, t.world = key, nil, nil
	if n := test.Beside(); n > 0 && len(paths) > 0 {
		t.warn("%s: not part of the test, since spec.resources names others: %s of the same file", test.Object.Place(), count(n, "document"))
	}
	r, err := test.Load()
	if err != nil {
		return err
	}
	r.Complete()
	for _, w := range r.Warnings {
		if line := w.String(); !t.warned[line] {
			t.warned[line] = true
			t.warn("%s", line)
		}
	}
	ix, err := buildIndex(t.streams, r, t.allowInvalid)
	if err != nil {
		return err
	}
	objects := make([]runtime.Object, 0, len(r.Objects))
	for i := range r.Objects {
		objects = append(objects, r.Objects[i].Object)
	}
	t.objects, t.world = r, policytest.NewWorld(ix, objects)
	return nil
}

// testCase runs one case. The error says that the case itself is wrong.
func (t *testRun) testCase(ctx context.Context, session testSession, test *source.Test, i int) (caseResult, error) {
	c := &test.Spec.Cases[i]
	field := fmt.Sprintf("spec.cases[%d]", i)
	out := caseResult{Name: c.Name, Line: test.Object.LineOf(field), Expected: string(c.Expect)}
	if out.Name == "" {
		out.Name = field
	}
	invalid := func(field, message string) (caseResult, error) {
		err := test.Error(field, message)
		out.Result, out.Error = resultError, err.Error()
		return out, err
	}
	flow, err := t.world.Resolve(c)
	if err != nil {
		var f *policytest.FieldError
		if errors.As(err, &f) {
			return invalid(field+"."+f.Field, f.Message)
		}
		return invalid(field, err.Error())
	}
	d, err := session.decide(ctx, flow)
	if err != nil {
		return invalid(field, err.Error())
	}
	out.Got = d.Action.String()
	out.DecidedBy = policytest.Describe(&d)
	out.Decision = &d
	out.Differences = policytest.Compare(c, &d)
	out.Result = resultPass
	if len(out.Differences) > 0 {
		out.Result = resultFail
	}
	return out, nil
}

// writeTestReport writes the report in formats other than text.
func writeTestReport(w io.Writer, output *outputFlag, report *testReport) error {
	switch {
	case output.text():
		return nil
	case output.format == formatJUnit:
		return writeJUnit(w, report)
	}
	return output.write(w, report)
}
