package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/controllers/source"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/model"
)

// located is a finding at its place in the input.
type located struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	lint.Finding
}

// lintReport is what `lint` prints in JSON and YAML.
type lintReport struct {
	Findings []located   `json:"findings"`
	Summary  lintSummary `json:"summary"`
}

type lintSummary struct {
	Objects  int `json:"objects"`
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
}

func newLintCommand(s streams) *cobra.Command {
	var in inputFlags
	var out outputFlag
	var strict bool
	level := levelFlag(lint.Info)
	c := &cobra.Command{
		Use:   "lint [PATH...]",
		Short: "Find what is invalid, hidden, useless or surprising in manifests",
		Long: `Lint reads files and folders, or the live cluster if none are given, and reports
invalid objects, missing tiers, rules that never match or that earlier rules hide,
selectors that match nothing, pods that are cut off from DNS, and host policies
that failsafe ports overrule; each with its file, line, object and field.

The exit status is 1 if there are errors, or with --strict warnings, and 2 if the
input cannot be read.`,
		Example: `  tierwall lint config/samples
  tierwall lint --strict --level warning policies/`,
		RunE: func(c *cobra.Command, args []string) error {
			in.filenames = append(in.filenames, args...)
			r, err := in.load(c.Context(), s)
			if err != nil {
				return err
			}
			report := lintResult(r, lint.Severity(level))
			if out.text() {
				err = printFindings(s, report)
			} else {
				err = out.write(s.out, report)
			}
			if err == nil && (report.Summary.Errors > 0 || strict && report.Summary.Warnings > 0) {
				err = errNegative
			}
			return err
		},
	}
	fs := c.Flags()
	in.registerCluster(fs)
	fs.StringArrayVarP(&in.filenames, "filename", "f", nil, `file or folder, or "-" for standard input; the same as an argument`)
	fs.BoolVar(&strict, "strict", false, "exit with status 1 on warnings too")
	fs.Var(&level, "level", "least severity to report: error, warning, info")
	out.register(fs)
	return c
}

// lintResult runs the linter and finds the place of what it has found.
func lintResult(r *source.Result, level lint.Severity) lintReport {
	ix, problems := r.Index()
	known := make([]model.Ref, len(r.Objects))
	for i := range r.Objects {
		known[i] = r.Objects[i].Ref
	}
	report := lintReport{Findings: []located{}, Summary: lintSummary{Objects: len(r.Objects)}}
	for _, f := range lint.Run(ix, problems, known, r.ServiceAddrs()) {
		switch f.Severity {
		case lint.Error:
			report.Summary.Errors++
		case lint.Warning:
			report.Summary.Warnings++
		default:
			report.Summary.Infos++
		}
		if !f.Severity.AtLeast(level) {
			continue
		}
		l := located{Finding: f}
		if o, ok := r.Lookup(f.Object); ok {
			l.File, l.Line = o.File, o.LineOf(f.Field)
		}
		report.Findings = append(report.Findings, l)
	}
	slices.SortStableFunc(report.Findings, func(a, b located) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return report
}

func printFindings(s streams, r lintReport) error {
	c := coloursFor(s.out)
	for _, f := range r.Findings {
		place := ""
		switch {
		case f.File != "" && f.Line > 0:
			place = fmt.Sprintf("%s:%d: ", plain(f.File), f.Line)
		case f.File != "":
			place = plain(f.File) + ": "
		}
		severity := string(f.Severity)
		switch f.Severity {
		case lint.Error:
			severity = c.red(severity)
		case lint.Warning:
			severity = c.yellow(severity)
		default:
			severity = c.dim(severity)
		}
		field := ""
		if f.Field != "" {
			field = f.Field + ": "
		}
		if _, err := fmt.Fprintf(s.out, "%s%s: %s: %s%s (%s)\n", place, severity, f.Object, field, f.Message, f.Code); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(s.out, r.Summary)
	return err
}

// String is the last line of the text.
func (s lintSummary) String() string {
	count := func(n int, noun string) string {
		if n == 1 {
			return "1 " + noun
		}
		return fmt.Sprintf("%d %ss", n, noun)
	}
	if s.Errors+s.Warnings+s.Infos == 0 {
		return count(s.Objects, "object") + ": nothing found."
	}
	return fmt.Sprintf("%s: %s, %s, %s.", count(s.Objects, "object"), count(s.Errors, "error"), count(s.Warnings, "warning"), count(s.Infos, "info"))
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
