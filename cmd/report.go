package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/diff"
	"github.com/tierwall/tierwall/policy/lint"
	"github.com/tierwall/tierwall/policy/packets"
)

func newReportCommand(s streams) *cobra.Command {
	var in inputFlags
	var o reportOptions
	out := outputFlag{format: formatHTML, allowed: []string{formatHTML, formatMarkdown}}
	c := &cobra.Command{
		Use:   "report",
		Short: "Write one page of lint, policy tests, matrix and diff",
		Long: `Report writes one page for reviewers, to keep with a build or to post to a pull
request: the findings of lint, the results of the policy tests among the files, a
table of who reaches whom, and with --base the changes since then. With -f and
--from-cluster, the changes are those to the live cluster.

The page is self-contained: it has no scripts and loads nothing.

The exit status is 1 if lint finds errors or a test fails, and 2 if part of the
input is unusable.`,
		Example: `  tierwall report -f policies/ --base main/policies/ > report.html
  tierwall report -f policies/ --tests tests/ -o md >> "$GITHUB_STEP_SUMMARY"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := gatherReport(c.Context(), s, &in, &o)
			if p == nil {
				return err
			}
			if out.format == formatHTML {
				err = errors.Join(err, writePage(s.out, o.title, p.html()))
			} else {
				_, werr := io.WriteString(s.out, p.markdown(o.title))
				err = errors.Join(err, werr)
			}
			if err == nil && (p.lint.Summary.Errors > 0 || p.tests != nil && p.tests.Failed > 0) {
				err = errNegative
			}
			return err
		},
	}
	in.register(c.Flags())
	fs := c.Flags()
	fs.StringArrayVar(&o.tests, "tests", nil, "more policy tests to run, besides those in the files of -f: a file or folder; may be repeated")
	fs.StringVar(&o.base, "base", "", "manifests to compare with, the state before: a file or folder")
	fs.StringVar(&o.title, "title", "Network policy report", "title of the page")
	fs.VarP(&out, "output", "o", "output format: "+strings.Join(out.allowed, ", "))
	completer{s, &in}.register(c)
	return c
}

type reportOptions struct {
	tests       []string
	base, title string
}

// reportPage is what a report holds. Parts that were not asked for are nil.
type reportPage struct {
	lint   lintReport
	tests  *testReport
	matrix *reachMatrix
	diff   *diff.Report
}

// gatherReport does the work. The page is nil if the manifests cannot be used at
// all; an error beside a page is of a part that is in it as far as it goes.
func gatherReport(ctx context.Context, s streams, in *inputFlags, o *reportOptions) (*reportPage, error) {
	if slices.Contains(append(in.filenames, o.base), manifests.Stdin) {
		return nil, errors.New("report reads its manifests more than once: want files or folders instead of standard input")
	}
	in.known = &manifests.Memory{} // the state before has most of the same documents
	r, err := in.load(ctx, s)
	if err != nil {
		return nil, err
	}
	flags := lintFlags{level: levelFlag(lint.Warning)}
	ix, problems := r.Index()
	e := packets.NewEvaluator(ix) // of all parts: what one has found out the others need not
	p := &reportPage{lint: flags.find(r, e, problems, nil)}
	// What is invalid is in the list of findings, and is shown as an agent would enforce it.
	if past := applyBudgets(r, ix); len(past.policies)+len(past.pods) > 0 {
		ix.Flush()
		e = packets.NewEvaluator(ix)
	}
	w := newReachWorld(e, r, packets.All())
	if p.matrix, err = newReachMatrix(w, w.units.Pods, ""); err != nil {
		p.matrix = nil // there are no pods
	}
	var errs []error
	tests, err := r.Tests, error(nil)
	if len(o.tests) > 0 {
		var more []manifests.Test
		more, err = manifests.FindTests(o.tests, manifests.Options{})
		tests = append(slices.Clone(tests), more...)
	}
	if len(tests) > 0 || err != nil {
		t := testRun{streams: s, runner: coreRunner{}, only: regexp.MustCompile(""), allowInvalid: in.allowInvalid, warned: map[string]bool{}}
		if in.live() {
			t.live = r
		}
		var runErr error
		p.tests, runErr = t.all(ctx, tests)
		p.tests.unreadable(err)
		errs = append(errs, err, runErr)
	}
	if o.base != "" || len(in.filenames) > 0 && in.fromCluster {
		p.diff, err = reportDiff(ctx, s, in, o.base, world{index: ix, objects: r, services: r.Services()}, diff.Options{After: e})
		errs = append(errs, err)
	}
	return p, errors.Join(errs...)
}

// reportDiff compares what the manifests make with the state before.
func reportDiff(ctx context.Context, s streams, in *inputFlags, base string, after world, opts diff.Options) (*diff.Report, error) {
	var before *manifests.Result
	var err error
	if base != "" {
		before, err = loadPaths(s, []string{base}, in.known)
	} else if before, err = in.readCluster(ctx); err == nil {
		before.Complete()
	}
	if err != nil {
		return nil, err
	}
	return compare(world{index: enforcedIndex(before), objects: before, services: before.Services()}, after, opts), nil
}

// reportLine is a row of the summary.
type reportLine struct{ part, text, class string }

func (p *reportPage) summary() []reportLine {
	grade := func(bad, poor bool) string {
		switch {
		case bad:
			return "fail"
		case poor:
			return "warning"
		}
		return "pass"
	}
	sum := p.lint.Summary
	out := []reportLine{{"Lint", sum.String(), grade(sum.Errors > 0, sum.Warnings > 0)}}
	if p.tests != nil {
		text := fmt.Sprintf("%d passed, %d failed, %d errors", p.tests.Passed, p.tests.Failed, p.tests.Errors)
		out = append(out, reportLine{"Policy tests", text, grade(p.tests.Failed+p.tests.Errors > 0, false)})
	}
	if p.diff != nil {
		d := p.diff.Summary
		text := fmt.Sprintf("%d lost, %d gained, %d endpoints added, %d removed", d.Lost, d.Gained, d.Added, d.Removed)
		out = append(out, reportLine{"Connectivity", text, grade(false, p.diff.Different())})
	}
	return out
}

// findingText is where a finding is and what it says.
func findingText(f *located) (place, text string) {
	return strings.TrimSuffix(f.position(), ": "), fmt.Sprintf("%s (%s)", f.text(), f.Code)
}

// diffText is the text of tierwall diff.
func (p *reportPage) diffText() string {
	var b bytes.Buffer
	_ = p.diff.WriteText(&b, nil) // to memory
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

func (p *reportPage) html() string {
	var b strings.Builder
	esc := html.EscapeString
	b.WriteString("<table class=\"summary\"><tbody>\n")
	for _, l := range p.summary() {
		fmt.Fprintf(&b, "<tr><td>%s</td><td class=\"%s\">%s</td></tr>\n", esc(l.part), l.class, esc(l.text))
	}
	b.WriteString("</tbody></table>\n")
	if p.diff != nil {
		fmt.Fprintf(&b, "<h2>What changes</h2>\n<pre>%s</pre>\n", esc(p.diffText()))
	}
	if len(p.lint.Findings) > 0 {
		b.WriteString("<h2>Lint</h2>\n<table><tbody>\n")
		for i := range p.lint.Findings {
			f := &p.lint.Findings[i]
			place, text := findingText(f)
			fmt.Fprintf(&b, "<tr><td class=\"%[1]s\">%[1]s</td><td>%[2]s</td><td>%[3]s</td></tr>\n", esc(string(f.Severity)), esc(place), esc(text))
		}
		b.WriteString("</tbody></table>\n")
	}
	if p.tests != nil {
		b.WriteString("<h2>Policy tests</h2>\n<table><tbody>\n")
		p.eachCase(func(result, test, name, text string) {
			fmt.Fprintf(&b, "<tr><td class=\"%s\">%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", strings.ToLower(result), result, esc(test), esc(name), esc(text))
		})
		b.WriteString("</tbody></table>\n")
	}
	if p.matrix != nil {
		fmt.Fprintf(&b, "<h2>Who reaches whom</h2>\n%s", p.matrix.html())
	}
	return b.String()
}

func (p *reportPage) markdown(title string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n| part | result |\n|---|---|\n", escapeMarkdown(title))
	for _, l := range p.summary() {
		fmt.Fprintf(&b, "| %s | %s |\n", l.part, escapeMarkdown(l.text))
	}
	if p.diff != nil {
		text := p.diffText()
		fence := "```"
		for strings.Contains(text, fence) {
			fence += "`"
		}
		fmt.Fprintf(&b, "\n## What changes\n\n%s\n%s\n%s\n", fence, text, fence)
	}
	if len(p.lint.Findings) > 0 {
		b.WriteString("\n## Lint\n\n| severity | place | finding |\n|---|---|---|\n")
		for i := range p.lint.Findings {
			f := &p.lint.Findings[i]
			place, text := findingText(f)
			fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Severity, escapeMarkdown(place), escapeMarkdown(text))
		}
	}
	if p.tests != nil {
		b.WriteString("\n## Policy tests\n\n| result | test | case | |\n|---|---|---|---|\n")
		p.eachCase(func(result, test, name, text string) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", result, escapeMarkdown(test), escapeMarkdown(name), escapeMarkdown(text))
		})
	}
	if p.matrix != nil {
		b.WriteString("\n## Who reaches whom\n\n" + p.matrix.markdown())
	}
	return b.String()
}

// eachCase visits the cases of all tests, and the tests that could not be run;
// what passed comes last.
func (p *reportPage) eachCase(visit func(result, test, name, text string)) {
	for _, passed := range []bool{false, true} {
		for _, t := range p.tests.Tests {
			if t.Error != "" && !passed {
				visit(resultError, plain(t.Name), "", plain(t.Error))
			}
			for i := range t.Cases {
				c := &t.Cases[i]
				if (c.Result == resultPass) != passed {
					continue
				}
				text := c.DecidedBy
				switch c.Result {
				case resultFail:
					text = c.failure()
				case resultError:
					text = c.Error
				}
				visit(c.Result, plain(t.Name), plain(c.Name), plain(text))
			}
		}
	}
}
