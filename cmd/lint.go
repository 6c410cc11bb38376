package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// located is a finding at its place in the input.
type located struct {
	File     string        `json:"file,omitempty"`
	Line     int           `json:"line,omitempty"`
	Column   int           `json:"column,omitempty"`
	Severity lint.Severity `json:"severity"`
	Code     string        `json:"code"`
	// Object as Kind/name or Kind/namespace/name; empty if what is found is of no object.
	Object  string         `json:"object,omitempty"`
	Field   string         `json:"field,omitempty"`
	Message string         `json:"message"`
	Related []lint.Related `json:"related,omitempty"`
}

// lintReport is what `lint` prints in JSON and YAML.
type lintReport struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Findings   []located   `json:"findings"`
	Summary    lintSummary `json:"summary"`
}

type lintSummary struct {
	Objects  int `json:"objects"`
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
	// Ignored counts the findings that an annotation or a flag has silenced.
	Ignored int `json:"ignored"`
	// Unreadable says that some of the input could not be read, so that only what
	// shows in one object alone has been looked for.
	Unreadable bool `json:"unreadable,omitempty"`
}

// lintFlags are the flags of `lint` beside those of its input.
type lintFlags struct {
	strict bool
	level  levelFlag
	ignore codesFlag
	out    outputFlag
}

func newLintCommand(s streams) *cobra.Command {
	var in inputFlags
	f := lintFlags{level: levelFlag(lint.Info)}
	c := &cobra.Command{
		Use:   "lint [PATH...]",
		Short: "Find what is invalid, hidden, useless or surprising in manifests",
		Long: `Lint reads files and folders, or the live cluster if no path is given, and reports
invalid objects, missing tiers, rules that never match or that earlier rules hide,
selectors that match nothing, pods that cannot reach DNS, and host policies that the
failsafe ports overrule; each with its file, line, column, object and field.

An annotation silences findings about its object, and --ignore all findings of a code:

  metadata: {annotations: {tierwall.io/lint-ignore: "selects-nothing,no-dns"}}

The exit status is 1 if there are errors, or with --strict warnings, and 2 if the
input cannot be read.`,
		Example: `  tierwall lint config/samples
  tierwall lint --strict --level warning policies/
  tierwall lint -o sarif policies/ > lint.sarif`,
		RunE: func(c *cobra.Command, args []string) error {
			in.filenames = append(in.filenames, args...)
			r, unreadable, err := readAll(c.Context(), s, &in)
			if err != nil {
				return err
			}
			report := f.run(r, unreadable)
			if err := f.print(s, report); err != nil {
				return err
			}
			switch {
			case report.Summary.Unreadable:
				return errUnreadable
			case report.Summary.Errors > 0 || f.strict && report.Summary.Warnings > 0:
				return errNegative
			}
			return nil
		},
	}
	fs := c.Flags()
	in.registerCluster(fs)
	fs.StringArrayVarP(&in.filenames, "filename", "f", nil, `file or folder, or "-" for standard input; the same as an argument`)
	fs.BoolVar(&f.strict, "strict", false, "exit with status 1 for warnings, too")
	fs.Var(&f.level, "level", "lowest severity to report: error, warning or info")
	fs.Var(&f.ignore, "ignore", "codes of findings to leave out, separated by commas; may be repeated")
	f.out.register(fs, formatSARIF, formatGitHub)
	return c
}

// readAll reads what `lint` looks at. Texts that cannot be read as manifests are
// findings; the error is of files, folders and clusters that cannot be read at all.
func readAll(ctx context.Context, s streams, in *inputFlags) (r *manifests.Result, unreadable []located, err error) {
	collectLess()
	if len(in.filenames) == 0 {
		if r, err = in.readCluster(ctx); err != nil {
			return nil, nil, err
		}
		r.Complete()
		return r, nil, nil
	}
	r, wrong, dropped := manifests.LoadAll(in.filenames, manifests.Options{Stdin: s.in})
	var errs []error
	for _, e := range wrong {
		if e.Unread {
			errs = append(errs, e)
			continue
		}
		unreadable = append(unreadable, atPlace(e, lint.Error, lint.CodeUnreadable))
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	if dropped > 0 {
		unreadable = append(unreadable, located{Severity: lint.Error, Code: lint.CodeUnreadable, Message: fmt.Sprintf("and %d more errors", dropped)})
	}
	r.Complete()
	return r, unreadable, nil
}

// atPlace is an error or warning of the input as a finding.
func atPlace(e *manifests.Error, severity lint.Severity, code string) located {
	return located{File: e.File, Line: e.Line, Column: e.Column, Severity: severity, Code: code, Object: e.Object, Field: e.Field, Message: e.Message}
}

// run runs the linter on objects.
func (f *lintFlags) run(r *manifests.Result, unreadable []located) lintReport {
	ix, problems := r.Index()
	return f.find(r, packets.NewEvaluator(ix), problems, unreadable)
}

// find runs the linter on the index of objects and the problems of their conversion, and
// finds the place of what it has found.
func (f *lintFlags) find(r *manifests.Result, e *packets.Evaluator, problems []model.Problem, unreadable []located) lintReport {
	report := lintReport{APIVersion: reportVersion, Kind: "LintReport", Findings: []located{}, Summary: lintSummary{Objects: len(r.Objects), Unreadable: len(unreadable) > 0}}
	found := unreadable
	for i := range r.Warnings {
		w := manifests.Error(r.Warnings[i])
		found = append(found, atPlace(&w, cmp.Or(w.Severity, lint.Warning), cmp.Or(w.Code, lint.CodeInvalid)))
	}
	ignored := map[string][]string{} // by object
	for i := range r.Objects {
		o := &r.Objects[i]
		codes, refused := ignoredBy(o)
		if refused != "" {
			found = append(found, place(r, lint.Finding{Severity: lint.Warning, Code: lint.CodeInvalid, Object: o.Ref,
				Field: "metadata.annotations[" + lint.IgnoreAnnotation + "]", Message: refused}))
		}
		if len(codes) > 0 {
			ignored[o.Ref.String()] = codes
		}
	}
	if report.Summary.Unreadable {
		for _, finding := range lint.Problems(problems) {
			found = append(found, place(r, finding))
		}
	} else {
		known := make([]model.Ref, len(r.Objects))
		for i := range r.Objects {
			known[i] = r.Objects[i].Ref
		}
		for _, finding := range lint.RunWith(e, problems, known, r.Services()) {
			found = append(found, place(r, finding))
		}
	}
	for _, l := range found {
		if slices.Contains(f.ignore.codes, l.Code) || slices.Contains(ignored[l.Object], l.Code) {
			report.Summary.Ignored++
			continue
		}
		report.Summary.count(l.Severity)
		if l.Severity.AtLeast(lint.Severity(f.level)) {
			report.Findings = append(report.Findings, l)
		}
	}
	slices.SortStableFunc(report.Findings, func(a, b located) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return report
}

// place finds where a finding is in the input.
func place(r *manifests.Result, f lint.Finding) located {
	l := located{Severity: f.Severity, Code: f.Code, Object: f.Object.String(), Field: f.Field, Message: f.Message, Related: f.Related}
	if o, ok := r.Lookup(f.Object); ok {
		l.File = o.File
		l.Line, l.Column = o.PositionOf(f.Field)
	}
	return l
}

// ignoredBy reads the annotation that silences findings about an object.
func ignoredBy(o *manifests.Object) (codes []string, refused string) {
	m, err := meta.Accessor(o.Object)
	if err != nil || o.Added {
		return nil, ""
	}
	return lint.ParseCodes(m.GetAnnotations()[lint.IgnoreAnnotation])
}

func (s *lintSummary) count(severity lint.Severity) {
	switch severity {
	case lint.Error:
		s.Errors++
	case lint.Warning:
		s.Warnings++
	default:
		s.Infos++
	}
}

// String is the last line of the text.
func (s lintSummary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", count(s.Objects, "object"))
	if s.Errors+s.Warnings+s.Infos == 0 {
		b.WriteString("nothing found")
	} else {
		fmt.Fprintf(&b, "%s, %s, %s", count(s.Errors, "error"), count(s.Warnings, "warning"), count(s.Infos, "info"))
	}
	if s.Ignored > 0 {
		fmt.Fprintf(&b, ", %d ignored", s.Ignored)
	}
	if s.Unreadable {
		b.WriteString("; some objects cannot be read, so checks that need all objects were skipped")
	}
	return b.String() + "."
}

// levelFlag is the flag --level.
type levelFlag lint.Severity

// String implements pflag.Value.
func (l *levelFlag) String() string { return string(*l) }

// Type implements pflag.Value.
func (l *levelFlag) Type() string { return "severity" }

// Set implements pflag.Value.
func (l *levelFlag) Set(v string) error {
	switch lint.Severity(v) {
	case lint.Error, lint.Warning, lint.Info:
		*l = levelFlag(v)
		return nil
	}
	return errors.New("want error, warning or info")
}

// codesFlag is the flag --ignore.
type codesFlag struct{ codes []string }

// String implements pflag.Value.
func (c *codesFlag) String() string { return strings.Join(c.codes, ",") }

// Type implements pflag.Value.
func (c *codesFlag) Type() string { return "codes" }

// Set implements pflag.Value.
func (c *codesFlag) Set(v string) error {
	codes, refused := lint.ParseCodes(v)
	if refused != "" {
		return errors.New(refused)
	}
	c.codes = append(c.codes, codes...)
	return nil
}
