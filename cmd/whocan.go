package cmd

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/reach"
)

const reachNames = `X is NAMESPACE/NAME of a pod or workload (all its pods), a workload with its kind such
as deploy:NAMESPACE/NAME, namespace:NAME (all its pods), an IP address, node:NAME or
hostEndpoint:NAME. The answer is exact: it covers every address, port and protocol.
Pods of one workload that policies treat alike are one line; each line names what
allows the traffic.`

func newWhoCanCommand(s streams) *cobra.Command {
	return newReachCommand(s, reachQuestion{
		use: "who-can reach X", short: "List who can reach a pod, workload, namespace or address",
		long:    "Who-can lists all senders that can reach X, the ports that are open, and what allows it.\n\n" + reachNames + "\n\nThe exit status is 0 if any can, 1 if none can.",
		example: "  tierwall who-can reach shop/cart -f config/samples\n  tierwall who-can reach namespace:payments --port 5432 -f config/samples",
		verb:    0, senders: true,
	})
}

func newWhatCanCommand(s streams) *cobra.Command {
	return newReachCommand(s, reachQuestion{
		use: "what-can X reach", short: "List what a pod, workload, namespace or address can reach",
		long:    "What-can lists all receivers that X can reach, the ports that are open, and what allows it.\n\n" + reachNames + "\n\nThe exit status is 0 if there are any, 1 if there are none.",
		example: "  tierwall what-can shop/frontend reach -f config/samples\n  tierwall what-can ip:203.0.113.7 reach -f config/samples",
		verb:    1,
	})
}

// reachQuestion is one of the two questions.
type reachQuestion struct {
	use, short, long, example string
	verb                      int  // the argument that is "reach"
	senders                   bool // the answer is who sends
}

// reachAnswer is what the commands print for programs.
type reachAnswer struct {
	// Of is what was asked about, as it was understood.
	Of   []string    `json:"of"`
	Port string      `json:"port,omitempty"`
	Rows []answerRow `json:"rows"`
}

// answerRow is peers with which the same is open, in the same way.
type answerRow struct {
	Peers []string `json:"peers"`
	// Of which units of what was asked about it is true; empty: of all.
	Of []string `json:"of,omitempty"`
	wayView
}

func newReachCommand(s streams, q reachQuestion) *cobra.Command {
	var f reachFlags
	var ns namespaceFlag
	var out outputFlag
	c := &cobra.Command{
		Use: q.use, Short: q.short, Long: q.long, Example: q.example,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 || args[q.verb] != "reach" {
				return fmt.Errorf("want %s (see %s --help)", q.use, c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			name := qualify(ns.of(&f.in), args[1-q.verb])
			w, err := f.open(c.Context(), s, name)
			if err != nil {
				return err
			}
			of, err := w.unitsOf(name)
			if err != nil {
				return err
			}
			answer := &reachAnswer{Port: f.port.text, Rows: []answerRow{}}
			for _, u := range of {
				answer.Of = append(answer.Of, u.Name)
			}
			answer.fill(w.units, of, func(x, peer *reach.Unit) []reach.Way {
				if q.senders {
					return within(w.units.Between(peer, x), w.asked)
				}
				return within(w.units.Between(x, peer), w.asked)
			})
			if out.text() {
				err = answer.print(s.out, q.senders)
			} else {
				err = out.write(s.out, answer)
			}
			if err == nil && len(answer.Rows) == 0 {
				err = errNegative
			}
			return err
		},
	}
	f.register(c.Flags())
	ns.register(c.Flags())
	out.register(c.Flags())
	complete := completer{s, &f.in}
	complete.register(c)
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == q.verb {
			return []string{"reach"}, cobra.ShellCompDirectiveNoFileComp
		}
		return complete.values(func(ix *index.Index) []string {
			names := peerNames(ix)
			for _, n := range namespaceNames(ix) {
				names = append(names, "namespace:"+n)
			}
			return names
		})(cmd, args, toComplete)
	}
	return c
}

// fill asks for each unit and each peer, and joins what is answered alike.
func (a *reachAnswer) fill(m *reach.Map, of []*reach.Unit, ways func(x, peer *reach.Unit) []reach.Way) {
	type entry struct {
		row answerRow
		of  map[string][]string // units by peer
	}
	byKey := map[string]*entry{}
	var order []string
	for _, peer := range slices.Concat(m.Pods, m.Hosts, m.Outside) {
		for _, x := range of {
			for _, v := range viewWays(ways(x, peer)) {
				key := v.String() + "\x00" + v.by()
				e := byKey[key]
				if e == nil {
					e = &entry{row: answerRow{wayView: v}, of: map[string][]string{}}
					byKey[key] = e
					order = append(order, key)
				}
				e.of[peer.Name] = append(e.of[peer.Name], x.Name)
			}
		}
	}
	for _, key := range order {
		e := byKey[key]
		// Peers of the same units are one row.
		rows := map[string]*answerRow{}
		var names []string
		for peer, units := range e.of {
			k := strings.Join(units, "\x00")
			if rows[k] == nil {
				row := e.row
				if len(units) < len(of) {
					row.Of = units
				}
				rows[k] = &row
				names = append(names, k)
			}
			rows[k].Peers = append(rows[k].Peers, peer)
		}
		slices.Sort(names)
		for _, k := range names {
			slices.Sort(rows[k].Peers)
			a.Rows = append(a.Rows, *rows[k])
		}
	}
	slices.SortStableFunc(a.Rows, func(x, y answerRow) int { return cmp.Compare(x.Peers[0], y.Peers[0]) })
}

func (a *reachAnswer) print(w io.Writer, senders bool) error {
	paint := coloursFor(w)
	what, none := " can be reached by", "nobody"
	if !senders {
		what, none = " can reach", "nothing"
	}
	title := strings.Join(a.Of, ", ") + what
	if a.Port != "" {
		title += ", on " + a.Port
	}
	if len(a.Rows) == 0 {
		_, err := fmt.Fprintln(w, plain(title)+": "+paint.red(none))
		return err
	}
	if _, err := fmt.Fprintln(w, plain(title)+":"); err != nil {
		return err
	}
	for i := range a.Rows {
		r := &a.Rows[i]
		if _, err := fmt.Fprintf(w, "\n%s\n", paint.bold(plain(strings.Join(r.Peers, ", ")))); err != nil {
			return err
		}
		if len(r.Of) > 0 {
			fmt.Fprintf(w, "  of them  %s\n", plain(strings.Join(r.Of, ", ")))
		}
		if _, err := fmt.Fprintf(w, "  traffic  %s\n  by       %s\n", r.String(), plain(r.by())); err != nil {
			return err
		}
	}
	return nil
}
