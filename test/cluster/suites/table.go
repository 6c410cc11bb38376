package suites

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// The lines of a page between which the table stands.
const (
	tableBegin = "<!-- results: written by make e2e-suites -->"
	tableEnd   = "<!-- end of results -->"
)

var tableHead = []string{"suite", "version", "pod network", "kube-proxy", "families", "runtime", "data plane", "passed", "without Tierwall", "skipped", "time", "on"}

// keyColumns are the columns that make two rows the same row: a later run
// replaces an earlier one. The version is not among them.
var keyColumns = []int{0, 2, 3, 4, 5, 6}

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
// suite and configuration. All else of the page stays as it is.
func UpdatePage(file string, rows []Row) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	out, err := updateTable(string(text), rows)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(out), 0o644)
}

func updateTable(page string, rows []Row) (string, error) {
	before, rest, ok := strings.Cut(page, tableBegin+"\n")
	if !ok {
		return "", fmt.Errorf("there is no line %q", tableBegin)
	}
	table, after, ok := strings.Cut(rest, tableEnd)
	if !ok {
		return "", fmt.Errorf("there is no line %q", tableEnd)
	}
	lines, err := parseTable(table)
	if err != nil {
		return "", err
	}
	for _, r := range rows {
		cells := r.cells()
		i := slices.IndexFunc(lines, func(other []string) bool { return tableKey(other) == tableKey(cells) })
		if i < 0 {
			lines = append(lines, cells)
			continue
		}
		lines[i] = cells
	}
	slices.SortStableFunc(lines, func(a, b []string) int {
		return strings.Compare(tableKey(a), tableKey(b))
	})
	var b strings.Builder
	b.WriteString(before + tableBegin + "\n")
	writeLine := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	writeLine(tableHead)
	b.WriteString(strings.Repeat("|---", len(tableHead)) + "|\n")
	for _, cells := range lines {
		writeLine(cells)
	}
	b.WriteString(tableEnd + after)
	return b.String(), nil
}

// parseTable reads the rows of an earlier table; one with other columns is
// dropped, since its cells would stand under wrong heads.
func parseTable(text string) ([][]string, error) {
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
		case i == 0 && !slices.Equal(cells, tableHead):
			return nil, nil
		case i < 2: // the head, and the line below it
		case len(cells) != len(tableHead):
			return nil, errors.New("a line of the table has too few or too many cells")
		default:
			lines = append(lines, cells)
		}
	}
	return lines, nil
}

func tableKey(cells []string) string {
	parts := make([]string, len(keyColumns))
	for i, c := range keyColumns {
		parts[i] = cells[c]
	}
	return strings.Join(parts, "\x00")
}
