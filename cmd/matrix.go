package cmd

import (
	"errors"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/reach"
)

// The formats of pages.
const (
	formatTable    = "table"
	formatHTML     = "html"
	formatMarkdown = "md"
)

func newMatrixCommand(s streams) *cobra.Command {
	var f reachFlags
	var choose selectionFlags
	out := outputFlag{format: formatTable, allowed: []string{formatTable, formatJSON, formatYAML, formatHTML, formatMarkdown}}
	c := &cobra.Command{
		Use:   "matrix [RECEIVER...]",
		Short: "Draw a table of who reaches whom",
		Long: `Matrix draws a row for each workload that sends, and for addresses outside of the
cluster, and a column for each workload that receives. A cell shows whether the
receiver's named ports are open, all traffic if it names none, or --port. It is computed
from the policies, exactly; no packet is sent. Pods of one workload that policies treat
differently have rows of their own.

RECEIVER is NAMESPACE/NAME of a pod or workload, or a workload with its kind such as
deploy:NAMESPACE/NAME; -n, -A and -l select receivers, too. All pods are senders. With
-o json each cell has all the allowed traffic and what allows it; html and md are pages.`,
		Example: `  tierwall matrix -f config/samples
  tierwall matrix -n shop -o html > matrix.html
  tierwall matrix -f config/samples --port 443/TCP`,
		RunE: func(c *cobra.Command, args []string) error {
			names := make([]string, len(args))
			for i, a := range args {
				names[i] = qualify(choose.namespace.of(&f.in), a)
			}
			w, err := f.open(c.Context(), s, names...)
			if err != nil {
				return err
			}
			receivers, err := w.receivers(&choose, names)
			if err != nil {
				return err
			}
			m, err := newReachMatrix(w, receivers, f.port.text)
			if err != nil {
				return err
			}
			switch out.format {
			case formatTable:
				return m.grid().print(s.out, coloursFor(s.out))
			case formatHTML:
				return writePage(s.out, "Who reaches whom", m.html())
			case formatMarkdown:
				_, err := io.WriteString(s.out, m.markdown())
				return err
			}
			return out.write(s.out, m)
		},
	}
	f.register(c.Flags())
	choose.register(c.Flags())
	c.Flags().VarP(&out, "output", "o", "output format: "+strings.Join(out.allowed, ", "))
	complete := completer{s, &f.in}
	complete.register(c)
	c.ValidArgsFunction = complete.values(endpointNames)
	return c
}

// reachMatrix is what `matrix` prints.
type reachMatrix struct {
	// Port is what was asked about; empty: the ports that receivers name.
	Port  string      `json:"port,omitempty"`
	From  []unitView  `json:"from"`
	To    []unitView  `json:"to"`
	Cells []reachCell `json:"cells"`

	shares [][]reach.Share
	texts  [][]string // what is open of what is asked about
}

// unitView is a row or a column.
type unitView struct {
	Name  string      `json:"name"`
	Pods  []model.Ref `json:"pods,omitempty"`
	Ports []string    `json:"ports,omitempty"`
}

// reachCell is a pair of which something is open.
type reachCell struct {
	From string    `json:"from"`
	To   string    `json:"to"`
	Open []wayView `json:"open"`
}

// receivers are the units of pods that the flags choose, and of these the ones that are
// named, if any are.
func (w *reachWorld) receivers(choose *selectionFlags, names []string) ([]*reach.Unit, error) {
	chosen, err := choose.endpoints(w.index)
	if err != nil {
		return nil, err
	}
	named := map[model.Ref]bool{}
	for _, name := range names {
		units, err := w.unitsOf(name)
		if err != nil {
			return nil, err
		}
		for _, u := range units {
			for _, ref := range u.Members {
				named[ref] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(w.units.Pods), func(u *reach.Unit) bool {
		return !slices.ContainsFunc(u.Members, func(ref model.Ref) bool {
			_, ok := slices.BinarySearchFunc(chosen, ref, model.Ref.Compare)
			return ok && (len(names) == 0 || named[ref])
		})
	}), nil
}

// newReachMatrix is who reaches the receivers. port is what was asked about; empty: nothing
// in particular.
func newReachMatrix(w *reachWorld, to []*reach.Unit, port string) (*reachMatrix, error) {
	m := w.units
	out := &reachMatrix{Port: port, Cells: []reachCell{}}
	if len(to) == 0 {
		return nil, errors.New("no pod with an address of its own matches")
	}
	from := slices.Concat(slices.DeleteFunc(slices.Clone(m.Outside), func(u *reach.Unit) bool {
		return !strings.HasPrefix(u.Name, "anywhere outside")
	}), m.Pods)
	for _, u := range from {
		out.From = append(out.From, viewUnit(u))
	}
	for _, u := range to {
		out.To = append(out.To, viewUnit(u))
	}
	questions := make([]packets.Space, len(to))
	for j, t := range to {
		questions[j] = w.asked
		if port == "" {
			questions[j] = reach.Named(t)
		}
	}
	for _, f := range from {
		shares, texts := make([]reach.Share, len(to)), make([]string, len(to))
		for j, t := range to {
			ways := m.Between(f, t)
			if len(ways) > 0 {
				shares[j] = reach.ShareOf(ways, questions[j])
			}
			if f == t && len(f.Members) == 1 || !m.Comparable(f, t) {
				shares[j] = reach.ShareUnasked
			}
			if shares[j] == reach.ShareSome || shares[j] == reach.ShareAll {
				texts[j] = reach.Open(ways, true).Intersect(questions[j]).String()
			}
			if len(ways) > 0 {
				out.Cells = append(out.Cells, reachCell{f.Name, t.Name, viewWays(ways)})
			}
		}
		out.shares, out.texts = append(out.shares, shares), append(out.texts, texts)
	}
	return out, nil
}

func viewUnit(u *reach.Unit) unitView {
	v := unitView{Name: u.Name, Pods: u.Members}
	for _, p := range u.Ports {
		v.Ports = append(v.Ports, fmt.Sprintf("%s %d", p.Protocol, p.Port))
	}
	return v
}

func (m *reachMatrix) grid() *grid {
	legend := [3]string{"all ports that it names, or all traffic", "some", "none"}
	if m.Port != "" {
		legend = [3]string{"all of " + m.Port, "some", "none"}
	}
	g := &grid{cells: m.shares, legend: legend}
	for _, u := range m.From {
		g.from = append(g.from, u.Name)
	}
	for _, u := range m.To {
		g.to = append(g.to, u.Name)
	}
	return g
}

// markdown is a table with a heading for each column.
func (m *reachMatrix) markdown() string {
	var b strings.Builder
	b.WriteString("| from \\ to |")
	for _, u := range m.To {
		fmt.Fprintf(&b, " %s |", escapeMarkdown(u.Name))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(m.To)) + "\n")
	for i, u := range m.From {
		fmt.Fprintf(&b, "| %s |", escapeMarkdown(u.Name))
		for j := range m.To {
			fmt.Fprintf(&b, " %s |", strings.TrimSpace(mark(m.shares[i][j], colours{})+" "+escapeMarkdown(m.texts[i][j])))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n● " + m.grid().legend[0] + ", ◐ some, · none\n")
	return b.String()
}

// html is a table with the traffic in each cell.
func (m *reachMatrix) html() string {
	var b strings.Builder
	b.WriteString("<div class=\"wide\"><table class=\"matrix\">\n<thead><tr><th>from \\ to</th>")
	for _, u := range m.To {
		fmt.Fprintf(&b, "<th class=\"to\"><span>%s</span></th>", html.EscapeString(u.Name))
	}
	b.WriteString("</tr></thead>\n<tbody>\n")
	for i, u := range m.From {
		fmt.Fprintf(&b, "<tr><th>%s</th>", html.EscapeString(u.Name))
		for j, to := range m.To {
			class := [...]string{"none", "some", "all", "unasked"}[m.shares[i][j]]
			title := u.Name + " → " + to.Name
			if m.texts[i][j] != "" {
				title += ": " + m.texts[i][j]
			}
			fmt.Fprintf(&b, "<td class=\"%s\" title=\"%s\">%s</td>", class, html.EscapeString(title), mark(m.shares[i][j], colours{}))
		}
		b.WriteString("</tr>\n")
	}
	fmt.Fprintf(&b, "</tbody></table></div>\n<p class=\"legend\">● %s &nbsp; ◐ some &nbsp; · none</p>\n", html.EscapeString(m.grid().legend[0]))
	return b.String()
}
