package bench

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is one line of a report: a figure, and what it is held to.
type Row struct {
	// Part of the report that the row belongs to; parts stand in the order of their numbers.
	Part Part
	What string
	// Value and Unit of the figure itself.
	Value float64
	Unit  string
	// Baseline is what Ratio is against; both are zero where nothing was
	// measured beside it.
	Baseline string
	Ratio    float64
	// Budget of the ratio or the value; the zero Budget is none.
	Budget Budget
}

// Part is a part of a report.
type Part int

// Parts of a report.
const (
	Connections Part = iota
	Established
	Updates
	Programming
	RealNode
)

var parts = []struct{ title, text string }{
	Connections: {"New connections", "TCP connections a second between two pods of one node, through its forward hook: one thread connects, accepts and resets, " +
		"so nothing but the path of the packets is measured. Each variant has a node and two pods of its own in one lab, programmed as the agent would; " +
		"the variants take turns of a few hundredths of a second, and a ratio is the median of the ratios of single turns. " +
		"All connections of a table are tracked by the kernel, as on any node with Services: the row `a table that tracks and accepts` says what that alone costs."},
	Established: {"Established connections", "The same pods, one TCP connection each that stays. Throughput is of one thread that writes and reads 64 KiB in turn; " +
		"a request is one byte there and one byte back, between two threads, or on one thread where it says so, which leaves only the path of the packets. " +
		"Nearly all of the difference to no table is the kernel's connection tracking, which every node with Services has on already and without which " +
		"there are no established connections to speak of; therefore a second ratio, against a table that does nothing else."},
	Updates: {"Updates", "One change, from the index to the committed kernel transaction, at 100,000 endpoints and 10,000 policies, 200 endpoints on the node."},
	Programming: {"Programming", "2,000 sets of 200,000 members in all, and 2,000 policies of 10 rules: 2,000 local pods with one policy each. " +
		"The time of the backend, with that of the index and the compiler for changes."},
	RealNode: {"A real node", "294 policies of 68 rules, 3,708 sets of 256,000 members, 100 local pods of 50 kinds."},
}

// Budget is a bound of a figure.
type Budget struct {
	AtLeast bool // else at most
	Limit   float64
	// OfRatio: the ratio is held to it, not the value.
	OfRatio bool
}

func (b Budget) String() string {
	if b == (Budget{}) {
		return ""
	}
	op, unit := "≤ ", ""
	if b.AtLeast {
		op = "≥ "
	}
	if b.OfRatio {
		unit = " ×"
	}
	return op + number(b.Limit) + unit
}

// Met says whether a row keeps its budget; empty if it has none.
func (r Row) Met() string {
	if r.Budget == (Budget{}) {
		return ""
	}
	v := r.Value
	if r.Budget.OfRatio {
		v = r.Ratio
	}
	if r.Budget.AtLeast && v >= r.Budget.Limit || !r.Budget.AtLeast && v <= r.Budget.Limit {
		return "yes"
	}
	return "no"
}

// number writes three digits that count, and thousands with commas.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a >= 1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	prec := 2 - int(math.Floor(math.Log10(a)))
	s := fmt.Sprintf("%.*f", prec, v)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

func (r Row) cells() []string {
	ratio := ""
	if r.Baseline != "" {
		ratio = fmt.Sprintf("%.3f × %s", r.Ratio, r.Baseline)
	}
	return []string{r.What, strings.TrimSpace(number(r.Value) + " " + r.Unit), ratio, r.Budget.String(), r.Met()}
}

var header = []string{"what", "measured", "ratio", "budget", "met"}

// Report is the rows of a run.
type Report struct{ rows []Row }

// Put adds a row, or replaces that of the same part and name.
func (r *Report) Put(row Row) {
	if i := slices.IndexFunc(r.rows, func(o Row) bool { return o.Part == row.Part && o.What == row.What }); i >= 0 {
		r.rows[i] = row
		return
	}
	r.rows = append(r.rows, row)
}

// Empty says whether nothing was measured.
func (r *Report) Empty() bool { return len(r.rows) == 0 }

func (r *Report) each(part func(Part), row func(Row)) {
	slices.SortStableFunc(r.rows, func(a, b Row) int { return cmp.Compare(a.Part, b.Part) })
	for i, o := range r.rows {
		if i == 0 || o.Part != r.rows[i-1].Part {
			part(o.Part)
		}
		row(o)
	}
}

// Text is the report for a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	r.each(func(p Part) {
		_ = w.Flush()
		fmt.Fprintf(w, "\n%s\n%s\n", strings.ToUpper(parts[p].title), strings.Join(header, "\t"))
	}, func(row Row) { fmt.Fprintln(w, strings.Join(row.cells(), "\t")) })
	_ = w.Flush()
	return b.String()
}

// Markdown is the report as a page.
func (r *Report) Markdown(machine string) string {
	var b strings.Builder
	b.WriteString("# Benchmarks of the data plane\n\n" +
		"Written by `make bench-dataplane`. Budgets that are of ratios hold on any machine; compare other figures on one machine only.\n" +
		"What the core costs is in [performance.md](performance.md).\n\n" +
		"Measured on: " + machine + "\n")
	r.each(func(p Part) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| %s |\n|%s\n", parts[p].title, parts[p].text, strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	}, func(row Row) { fmt.Fprintf(&b, "| %s |\n", strings.Join(row.cells(), " | ")) })
	return b.String()
}

// Machine names the machine that this runs on.
func Machine() string {
	line := func(file, prefix string) string {
		f, err := os.Open(file)
		if err != nil {
			return ""
		}
		defer func() { _ = f.Close() }()
		for s := bufio.NewScanner(f); s.Scan(); {
			if rest, ok := strings.CutPrefix(s.Text(), prefix); ok {
				return strings.Trim(rest, " \t:=\"")
			}
		}
		return ""
	}
	out := []string{fmt.Sprintf("%d × %s", runtime.NumCPU(), cmp.Or(line("/proc/cpuinfo", "model name"), runtime.GOARCH))}
	if v := line("/proc/meminfo", "MemTotal"); v != "" {
		out = append(out, v+" of memory")
	}
	out = append(out, line("/etc/os-release", "PRETTY_NAME"))
	if v, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		release, _, _ := strings.Cut(strings.TrimSpace(string(v)), "-")
		out = append(out, "Linux "+release)
	}
	if v, err := exec.Command("nft", "--version").Output(); err == nil {
		name, _, _ := strings.Cut(strings.TrimSpace(string(v)), " (")
		out = append(out, name)
	}
	out = append(out, runtime.Version())
	if v, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(v)); len(f) > 1 {
			out = append(out, "load average of the last five minutes "+f[1])
		}
	}
	return strings.Join(slices.DeleteFunc(out, func(s string) bool { return s == "" }), ", ")
}

// Median of figures; NaN of none.
func Median(list []float64) float64 { return Quantile(list, 0.5) }

// Quantile of figures, the nearest one that is there; NaN of none.
func Quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(list))
	return s[int(q*float64(len(s)-1)+0.5)]
}

// Milliseconds of a duration.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
