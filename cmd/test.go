package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/policytest"
)

func newTestCommand(s streams) *cobra.Command {
	var (
		in        inputFlags
		output    outputFlag
		dataplane string
		run       string
	)
	c := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run policy tests",
		Long: `Test runs all PolicyTests in the files and folders, and prints one line for each case.
With --from-cluster the cases run against the objects of the live cluster instead of
those that the tests name.

A file that cannot be read does not stop the others: their tests run and are reported
in every format. The exit status is 0 if all cases pass, 1 if one fails, and 2 if part
of the input is unusable or there is no test.`,
		Example: `  tierwall test config/samples
  tierwall test --run 'shop/.*payments' config/samples
  tierwall test --from-cluster tests/
  tierwall test -o junit tests/ > report.xml`,
		Args: pathArgs,
		RunE: func(c *cobra.Command, args []string) error {
			runner, err := runnerFor(dataplane)
			if err != nil {
				return err
			}
			only, err := regexp.Compile(run)
			if err != nil {
				return fmt.Errorf("--run: %w", err)
			}
			t := testRun{streams: s, runner: runner, only: only, allowInvalid: in.allowInvalid, warned: map[string]bool{}}
			if in.fromCluster {
				t.cluster = &in
			}
			if output.text() {
				t.print = &testPrinter{w: s.out, colours: coloursFor(s.out)}
			}
			report, err := t.paths(c.Context(), append(in.filenames, args...))
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
	c.Flags().StringVar(&dataplane, "dataplane", "core", "core (evaluation without packets), nftables or iptables (real packets in network namespaces)")
	c.Flags().StringVar(&run, "run", "", "run only cases whose names, as TEST/CASE, match this regular expression")
	c.Flags().BoolVar(&in.fromCluster, "from-cluster", false, "run the cases against the live cluster instead of the objects that tests name")
	in.registerFiles(c.Flags())
	in.registerAllowInvalid(c.Flags())
	in.registerCluster(c.Flags())
	completeContexts(c, &in.cluster)
	return c
}

// testRun runs tests one after the other.
type testRun struct {
	streams
	runner       testRunner
	only         *regexp.Regexp
	cluster      *inputFlags       // of the live cluster to read into live; nil: none
	live         *manifests.Result // in the place of the tests' resources; nil: those
	allowInvalid bool
	print        *testPrinter // nil: no lines while it runs
	warned       map[string]bool

	// Tests that stand side by side mostly share their resources.
	key     string
	objects *manifests.Result
	world   *policytest.World
	audited *policytest.World // the world with audited policies enforced; nil: not made yet
}

// paths finds the tests and runs them. The report is there whatever the error.
func (t *testRun) paths(ctx context.Context, paths []string) (*testReport, error) {
	tests, found := manifests.FindTests(paths, manifests.Options{Stdin: t.in})
	chosen := t.choose(tests)
	switch {
	case found != nil:
	case len(tests) == 0:
		found = fmt.Errorf("no PolicyTest found in %s", strings.Join(paths, ", "))
	case len(chosen) == 0:
		found = fmt.Errorf("--run %q matches no case", t.only)
	}
	if err := t.readCluster(ctx, chosen); err != nil {
		return &testReport{}, errors.Join(found, err)
	}
	report, err := t.all(ctx, chosen)
	report.unreadable(found)
	if t.print != nil && len(chosen) > 0 {
		t.print.summary(report)
	}
	return report, errors.Join(found, err)
}

// readCluster reads the live cluster, if there is something to try on it.
func (t *testRun) readCluster(ctx context.Context, tests []manifests.Test) (err error) {
	if t.cluster == nil || len(tests) == 0 {
		return nil
	}
	for i := range tests {
		for j := range tests[i].Spec.Cases {
			c := &tests[i].Spec.Cases[j]
			t.cluster.wants(c.From.Pod, c.To.Pod)
		}
	}
	t.live, err = t.cluster.readCluster(ctx)
	return err
}

// choose leaves out the cases that --run does not match, and tests without any.
func (t *testRun) choose(tests []manifests.Test) []manifests.Test {
	var out []manifests.Test
	for i := range tests {
		test := tests[i]
		for j := range test.Spec.Cases {
			if t.runs(&test, j) {
				out = append(out, test)
				break
			}
		}
	}
	return out
}

func (t *testRun) runs(test *manifests.Test, i int) bool {
	return t.only.MatchString(test.Name + "/" + caseName(test, i))
}

// caseName is the name of a case, or its place where it has none.
func caseName(test *manifests.Test, i int) string {
	return cmp.Or(test.Spec.Cases[i].Name, fmt.Sprintf("spec.cases[%d]", i))
}

// all runs all tests. The error joins what is wrong with the input; the report
// holds the results of all that could be run.
func (t *testRun) all(ctx context.Context, tests []manifests.Test) (*testReport, error) {
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
	return report, errors.Join(errs...)
}

// test runs the cases of one test. The result is nil if its objects cannot be used.
func (t *testRun) test(ctx context.Context, test *manifests.Test) (*testResult, error) {
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
		if !t.runs(test, i) {
			continue
		}
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
func (t *testRun) load(test *manifests.Test) error {
	if t.live != nil {
		if t.world != nil {
			return nil
		}
		return t.use(t.live)
	}
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
		t.warn("%s: %s of the same file ignored, because spec.resources names the objects of the test", test.Object.Place(), count(n, "document"))
	}
	r, err := test.Load()
	if err != nil {
		return err
	}
	return t.use(r)
}

// use makes objects the world of the tests that come.
func (t *testRun) use(r *manifests.Result) error {
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
	t.objects, t.world, t.audited = r, policytest.NewWorld(ix, r.All(), r.Book), nil
	return nil
}

// enforced returns the world with all audited policies enforced.
func (t *testRun) enforced() *policytest.World {
	if t.audited == nil {
		t.audited = policytest.NewWorld(enforceAudited(t.objects), t.objects.All(), t.objects.Book)
	}
	return t.audited
}

// testCase runs one case. The error says that the case itself is wrong.
func (t *testRun) testCase(ctx context.Context, session testSession, test *manifests.Test, i int) (caseResult, error) {
	c := &test.Spec.Cases[i]
	field := fmt.Sprintf("spec.cases[%d]", i)
	out := caseResult{Name: caseName(test, i), Line: test.Object.LineOf(field), Expected: string(c.Expect), Result: resultPass}
	invalid := func(err error) (caseResult, error) {
		place, message := field, err.Error()
		var f *policytest.FieldError
		if errors.As(err, &f) {
			place, message = field+"."+f.Field, f.Message
		}
		err = test.Error(place, message)
		out.Result, out.Error = resultError, err.Error()
		return out, err
	}
	connections, err := t.world.Expand(c)
	if err != nil {
		return invalid(err)
	}
	for _, one := range connections {
		r, err := t.connection(ctx, session, one)
		if err != nil {
			return invalid(err)
		}
		out.add(r, len(connections))
	}
	return out, nil
}

// connection decides one connection of a case. An error of the case is a
// *policytest.FieldError.
func (t *testRun) connection(ctx context.Context, session testSession, c *v1alpha1.PolicyTestCase) (connectionResult, error) {
	r := connectionResult{Connection: policytest.Connection(c)}
	attempt, err := t.world.Attempt(c)
	if err != nil {
		return r, err
	}
	for _, way := range []struct {
		field, text string
		set         *model.Ref
	}{{"in", c.In, &attempt.Flow.In}, {"out", c.Out, &attempt.Flow.Out}} {
		if way.text == "" {
			continue
		}
		if _, core := t.runner.(coreRunner); !core {
			return r, &policytest.FieldError{Field: way.field, Message: "cannot be combined with --dataplane: packets of the lab come in and leave where their addresses belong"}
		}
		if *way.set, err = parseLink(t.world.Index, way.field, way.text); err != nil {
			return r, &policytest.FieldError{Field: way.field, Message: strings.TrimPrefix(err.Error(), way.field+" ")}
		}
	}
	if attempt.Flow.NamesLinks() { // what is asked about is the packet as it is there
		attempt = policytest.Attempt{Flow: attempt.Flow}
	}
	decisions, err := session.decide(ctx, &attempt)
	if err != nil {
		return r, err
	}
	r.Differences = policytest.CompareAll(c, decisions)
	d := telling(c, decisions)
	r.Got, r.DecidedBy, r.decision = d.Action.String(), policytest.Describe(d), d
	if attempt.Service != (model.Ref{}) && len(attempt.Targets) > 0 {
		r.DecidedBy += fmt.Sprintf(" (%s port %d → %s)", attempt.Service, attempt.Port, netip.AddrPortFrom(d.Flow.Dst, d.Flow.DstPort))
	}
	if attempt.Domain != "" {
		r.DecidedBy += " (" + attempt.Domain + " → " + d.Flow.Dst.String() + ")"
	}
	if c.ExpectAudited != "" {
		expected := &v1alpha1.PolicyTestCase{Expect: c.ExpectAudited}
		d := telling(expected, t.enforced().Decide(&attempt))
		r.GotAudited = d.Action.String()
		if r.GotAudited != string(c.ExpectAudited) {
			r.Differences = append(r.Differences, fmt.Sprintf("with audited policies enforced: expected %s, got %s: %s", c.ExpectAudited, r.GotAudited, policytest.Describe(d)))
		}
	}
	return r, nil
}

// telling is the decision to show of those for several endpoints: one that differs from
// what is expected, if there is one.
func telling(c *v1alpha1.PolicyTestCase, decisions []*model.Decision) *model.Decision {
	if i := slices.IndexFunc(decisions, func(d *model.Decision) bool { return len(policytest.Compare(c, d)) > 0 }); i >= 0 {
		return decisions[i]
	}
	return decisions[0]
}

// enforceAudited returns an index of the objects in which policies with
// enforcement Audit are enforced.
func enforceAudited(r *manifests.Result) *index.Index {
	ix, _ := r.Index()
	for _, p := range ix.Policies() {
		if p.Audit {
			enforced := *p
			enforced.Audit = false
			ix.Upsert(&enforced)
		}
	}
	ix.Flush()
	applyBudgets(r, ix)
	ix.Flush()
	return ix
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
