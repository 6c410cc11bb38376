package suites

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Table is a table of a page, written anew row by row. All else of the page stays
// as it is.
type Table struct {
	// Begin and End are the lines between which it stands.
	Begin, End string
	Head       []string
	// Key are the columns that make two rows the same row: a later run replaces an
	// earlier one. Rows are sorted by them.
	Key []int
}

// results are those of the suites, by suite and configuration. The version is not
// in the key.
var results = Table{
	Begin: "<!-- results: written by make e2e-suites -->",
	End:   "<!-- end of results -->",
	Head:  []string{"suite", "version", "pod network", "kube-proxy", "families", "runtime", "data plane", "passed", "without Tierwall", "skipped", "time", "on"},
	Key:   []int{0, 2, 3, 4, 5, 6},
}

// A Row is a line of the table: one whole run of a suite.
type Row struct {
	Suite         Suite
	Configuration Configuration
	Verdict       Verdict
	// Baseline is the same run without enforcement.
	Baseline Verdict
	// Day is when.
	Day time.Time
}

func (r Row) cells() []string {
	skipped := "none"
	if n := len(r.Verdict.Skipped); n > 0 {
		skipped = fmt.Sprintf("%d (SCTP sockets)", n)
	}
	c := r.Configuration
	return []string{
		r.Suite.Title, r.Verdict.Version, c.PodNetwork, c.ProxyMode, c.Families, c.Runtime, c.Dataplane,
		fmt.Sprintf("%d of %d", r.Verdict.Passed, r.Verdict.Total),
		fmt.Sprintf("%d of %d", r.Baseline.Passed, r.Baseline.Total), skipped,
		r.Verdict.Time.Round(time.Second).String(), r.Day.UTC().Format(time.DateOnly),
	}
}

// UpdatePage writes rows into the table of a page, in place of those of the same
// suite and configuration.
func UpdatePage(file string, rows []Row) error {
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, r.cells())
	}
	return results.Update(file, cells...)
}

// Update writes rows into the table of a page, in place of those with the same key.
func (t Table) Update(file string, rows ...[]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := t.update(string(text), rows)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(out), 0o644)
}

func (t Table) update(page string, rows [][]string) (string, error) {
	before, rest, ok := strings.Cut(page, t.Begin+"\n")
	if !ok {
		return "", fmt.Errorf("there is no line %q", t.Begin)
	}
	table, after, ok := strings.Cut(rest, t.End)
	if !ok {
		return "", fmt.Errorf("there is no line %q", t.End)
	}
	lines, err := t.parse(table)
	if err != nil {
		return "", err
	}
	for _, cells := range rows {
		i := slices.IndexFunc(lines, func(other []string) bool { return t.key(other) == t.key(cells) })
		if i < 0 {
			lines = append(lines, cells)
			continue
		}
		lines[i] = cells
	}
	slices.SortStableFunc(lines, func(a, b []string) int { return strings.Compare(t.key(a), t.key(b)) })
	var b strings.Builder
	b.WriteString(before + t.Begin + "\n")
	writeLine := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	writeLine(t.Head)
	b.WriteString(strings.Repeat("|---", len(t.Head)) + "|\n")
	for _, cells := range lines {
		writeLine(cells)
	}
	b.WriteString(t.End + after)
	return b.String(), nil
}

// parse reads the rows of an earlier table; one with other columns is dropped,
// since its cells would stand under wrong heads.
func (t Table) parse(text string) ([][]string, error) {
	var lines [][]string
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if line == "" {
			continue
		}
		if !strings.HasPrefix(line, "|") || !strings.HasSuffix(line, "|") {
			return nil, fmt.Errorf("line %d of the table is none: %q", i+1, line)
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		switch {
		case i == 0 && !slices.Equal(cells, t.Head):
			return nil, nil
		case i < 2: // the head, and the line below it
		case len(cells) != len(t.Head):
			return nil, errors.New("a line of the table has too few or too many cells")
		default:
			lines = append(lines, cells)
		}
	}
	return lines, nil
}

func (t Table) key(cells []string) string {
	parts := make([]string, len(t.Key))
	for i, c := range t.Key {
		parts[i] = cells[c]
	}
	return strings.Join(parts, "\x00")
}
