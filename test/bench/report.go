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

// Row is one figure of a report, and what it is held to. Rows of one part and name
// are one line: a figure for each data plane.
type Row struct {
	// Part of the report that the row belongs to; parts stand in the order of their numbers.
	Part   Part
	What   string
	Column Column
	// Missing says why there is no figure; empty: there is one.
	Missing string
	// Value and Unit of the figure itself.
	Value float64
	Unit  string
	// Baseline is what Ratio is against, of the same data plane or of none; both are
	// zero where nothing was measured beside it.
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
	Names
)

var parts = []struct{ title, text string }{
	Connections: {"New connections", "TCP connections a second between two pods of one node, through its forward hook: one thread connects, accepts and resets, " +
		"so nothing but the path of the packets is measured. Each row and data plane has a node and two pods of its own in one lab, programmed as the agent would; " +
		"they take turns of up to two hundredths of a second, and a ratio is the median of the ratios of single turns. " +
		"The kernel tracks all connections that meet rules of a data plane, as on any node with Services: the row `one rule that tracks and accepts` says what that alone costs. " +
		"iptables has no map from addresses to chains: where nftables looks up, it asks one set or range after the other."},
	Established: {"Established connections", "The same pods, one TCP connection each that stays. Throughput is of one thread that writes and reads 64 KiB in turn, by the time that it has a CPU; " +
		"a request is one byte there and one byte back, between two threads, or on one thread where it says so, which leaves only the path of the packets. " +
		"Nearly all of the difference to no table is the kernel's connection tracking, which every node with Services has on already and without which " +
		"there are no established connections to speak of; therefore a second ratio, against a rule that does nothing else. " +
		"The source guard stands before connection tracking, because a forged packet may belong to an established connection, so it is what these connections pay for: " +
		"the rows `without guards` say what is left with `sourceGuard`, `linkGuard`, `encapsulationGuard` and `wildcardGuard` set to Off, and the rows `the guards' hooks empty` what the kernel " +
		"takes to enter the hooks that guards stand in, which no rules in them can undercut."},
	Updates: {"Updates", "One change, from the index to what the kernel has committed, at 100,000 endpoints and 10,000 policies, 200 endpoints on the node; " +
		"and at a tenth of both, with as many on the node. Up to 500 changes of addresses and 100 of policies, and no longer than 15 s each. CPU times include those of commands that are run."},
	Programming: {"Programming", "2,000 sets of 200,000 members in all, and 2,000 policies of 10 rules: 2,000 local pods with one policy each; and a quarter of all that. " +
		"The time of the backend, with that of the index and the compiler for changes: a member of one set that 10 policies ask for, the rules of a policy, the address of a local pod."},
	Names: {"Rules by DNS name", "A node with its agent, a pod whose rules speak of names, a pod whose rules do not, and a DNS server in a third pod. Each question is for a name that nobody has asked for, " +
		"so each answer brings an address that has to come into the kernel: the worst case. The three ways (no interception, which is the pod without such rules; observed; held) are measured in the same run, " +
		"the first two in turns. The clients and the server share the machine's cores with the agent, and take most of them: therefore the answers a second of the agent's CPU time stand beside those of the clock."},
	RealNode: {"A real node", "294 policies of 68 rules, 3,708 sets of 256,000 members, 100 local pods of 50 kinds; and a tenth of the policies, sets and members."},
}

// Column is the data plane that a figure is of.
type Column int

// Columns of a report.
const (
	NoRules Column = iota // without any rules, or whatever the data plane
	NFTables
	Legacy
	NFT
)

var columns = []string{NoRules: "no rules", NFTables: "nftables", Legacy: "iptables legacy", NFT: "iptables nft"}

func (c Column) String() string { return columns[c] }

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
	if r.Missing != "" {
		return "no"
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

// cell is the figure with its ratio.
func (r Row) cell() string {
	if r.Missing != "" {
		return r.Missing
	}
	text := strings.TrimSpace(number(r.Value) + " " + r.Unit)
	if r.Baseline != "" {
		text += fmt.Sprintf(", %.3f ×", r.Ratio)
	}
	return text
}

// Report is the rows of a run.
type Report struct{ rows []Row }

// Put adds a row, or replaces that of the same part, name and column.
func (r *Report) Put(row Row) {
	if i := slices.IndexFunc(r.rows, func(o Row) bool { return o.Part == row.Part && o.What == row.What && o.Column == row.Column }); i >= 0 {
		r.rows[i] = row
		return
	}
	r.rows = append(r.rows, row)
}

// Empty says whether nothing was measured.
func (r *Report) Empty() bool { return len(r.rows) == 0 }

// lines returns a part's table, its header first: a line for each name, in the
// order in which they came, and the columns that the part has figures in. Columns
// for ratios and budgets are there if there are any.
func (r *Report) lines(p Part) [][]string {
	var names []string
	byName := map[string]map[Column]Row{}
	used := map[Column]bool{}
	ratios, budgets := false, false
	for _, row := range r.rows {
		if row.Part != p {
			continue
		}
		if byName[row.What] == nil {
			names, byName[row.What] = append(names, row.What), map[Column]Row{}
		}
		byName[row.What][row.Column], used[row.Column] = row, true
		ratios, budgets = ratios || row.Baseline != "", budgets || row.Budget != (Budget{})
	}
	if len(names) == 0 {
		return nil
	}
	header := []string{"what"}
	for c := range columns {
		if used[Column(c)] {
			header = append(header, Column(c).String())
		}
	}
	if ratios {
		header = append(header, "× of")
	}
	if budgets {
		header = append(header, "budget", "met by")
	}
	out := [][]string{header}
	for _, name := range names {
		line, base, budget, met := []string{name}, "", "", []string{}
		for c := range columns {
			row, there := byName[name][Column(c)]
			if there {
				base, budget = cmp.Or(base, row.Baseline), cmp.Or(budget, row.Budget.String())
			}
			switch {
			case there:
				line = append(line, row.cell())
			case used[Column(c)]:
				line = append(line, "")
			}
			if there && row.Met() == "yes" {
				met = append(met, Column(c).String())
			}
		}
		if ratios {
			line = append(line, base)
		}
		if budgets {
			line = append(line, budget, metBy(budget, met))
		}
		out = append(out, line)
	}
	return out
}

func metBy(budget string, met []string) string {
	switch {
	case budget == "":
		return ""
	case len(met) == 0:
		return "none"
	}
	return strings.Join(met, ", ")
}

// Text is the report for a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	for p := range parts {
		lines := r.lines(Part(p))
		if lines == nil {
			continue
		}
		w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
		fmt.Fprintf(w, "\n%s\n", strings.ToUpper(parts[p].title))
		for _, l := range lines {
			fmt.Fprintln(w, strings.Join(l, "\t"))
		}
		_ = w.Flush()
	}
	return b.String()
}

// Markdown is the report as a page.
func (r *Report) Markdown(machine string) string {
	var b strings.Builder
	b.WriteString("# Benchmarks of the data planes\n\n" +
		"Written by `make bench-dataplane`: nftables and both variants of iptables side by side, in one run. Budgets that are of ratios hold on any machine;\n" +
		"compare other figures on one machine only. What the core costs is in [performance.md](performance.md).\n\n" +
		"`" + tooLong() + "` means that the rules were not in the kernel by then; where a large world is too much for a data plane, a smaller one of the\n" +
		"same make stands beside it for all.\n\n" +
		"Measured on: " + machine + "\n")
	for p := range parts {
		for i, l := range r.lines(Part(p)) {
			if i == 0 {
				fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| %s |\n|%s\n", parts[p].title, parts[p].text, strings.Join(l, " | "), strings.Repeat("---|", len(l)))
				continue
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(l, " | "))
		}
	}
	return b.String()
}

// limit is how long rules may take to be programmed; then a benchmark goes on without.
var limit = 2 * time.Minute

func tooLong() string { return fmt.Sprintf("not in %.0f s", limit.Seconds()) }

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
