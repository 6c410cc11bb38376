package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

// flowsFlags are the flags of `tierwall flows`.
type flowsFlags struct {
	from       recordFlags
	cluster    clusterFlags
	out        outputFlag
	namespaces []string
	denied     bool
	audited    bool
	policy     string
	since      string
	watch      bool
}

func newFlowsCommand(s streams) *cobra.Command {
	var f flowsFlags
	c := &cobra.Command{
		Use:   "flows",
		Short: "List the connections that were seen, and what decided them",
		Long: `Flows lists what the agents have recorded: who connected to whom, on which port, how
often, and which policy decided it. Connections of the same workloads on the same
port are one line. Records are those of the agent at --address, or of a file
(--records) of JSON lines as agents write them. Without either the cluster's manager
is asked, which does not collect records in this version.

You see the namespaces in which you may list flows.flows.tierwall.io; of the other
end of a connection only its kind if you may not see that.`,
		Example: `  tierwall flows -n shop --denied
  tierwall flows --policy GlobalNetworkPolicy/quarantine --since 1d
  tierwall flows --records records.jsonl -n shop -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context(), s) },
	}
	fs := c.Flags()
	fs.StringArrayVarP(&f.namespaces, "namespace", "n", nil, "namespace of either end; may be repeated; default all")
	fs.BoolVar(&f.denied, "denied", false, "denied connections only")
	fs.BoolVar(&f.audited, "audited", false, "connections that audited policies would have decided otherwise only")
	fs.StringVar(&f.policy, "policy", "", "policy that decided, as Kind/name or Kind/namespace/name")
	fs.StringVar(&f.since, "since", "", "how far back, as 15m, 1h or 30d, or a time; default 1h, of a file all")
	fs.BoolVarP(&f.watch, "watch", "w", false, "go on with what is recorded from now on")
	f.cluster.register(fs)
	f.from.register(fs, &f.cluster)
	f.out.register(fs, "table", "jsonl")
	return c
}

// query selects records by the flags.
func (f *flowsFlags) query(now time.Time) (flows.Query, error) {
	q := flows.Query{Namespaces: f.namespaces, Audited: f.audited}
	if f.denied {
		q.Action = model.Deny
	}
	var err error
	if f.policy != "" {
		if q.Policy, err = model.ParseRef(f.policy); err != nil {
			return q, fmt.Errorf("--policy: %w", err)
		}
	}
	q.Since, err = f.from.since(f.since, now)
	return q, err
}

// since reads --since; by default, a file is read whole.
func (f *recordFlags) since(text string, now time.Time) (time.Time, error) {
	switch {
	case text == "" && f.file != "":
		return time.Unix(0, 0).UTC(), nil
	case text == "":
		return now.Add(-flows.DefaultSince), nil
	}
	t, err := flows.ParseTime(text, now)
	if err != nil {
		return t, fmt.Errorf("--since: %w", err)
	}
	return t, nil
}

func (f *flowsFlags) run(ctx context.Context, s streams) error {
	r, closeIt, err := f.from.open(ctx, s)
	if err != nil {
		return err
	}
	defer closeIt()
	q, err := f.query(r.now())
	if err != nil {
		return err
	}
	if f.watch {
		return f.follow(ctx, s, r, q)
	}
	list, err := allRecords(ctx, s, r, q)
	if err != nil {
		return err
	}
	switch f.out.format {
	case formatJSON, formatYAML:
		return f.out.write(s.out, flows.NewRecordList(list))
	case "jsonl":
		return writeLines(s.out, list)
	}
	return printFlows(s.out, list)
}

// follow prints records as they come.
func (f *flowsFlags) follow(ctx context.Context, s streams, r recordReader, q flows.Query) error {
	if f.out.format == formatYAML {
		return errors.New("-o yaml cannot be combined with --watch")
	}
	if f.since == "" {
		q.Since = r.now()
	}
	paint := coloursFor(s.out)
	return r.watch(ctx, &q, func(rec *flows.Record) error {
		if f.out.format == formatJSON || f.out.format == "jsonl" {
			return writeLines(s.out, []flows.Record{*rec})
		}
		var t table
		t.row(flowCells(rec, paint)...)
		return t.writeTo(s.out, "")
	})
}

func writeLines(w io.Writer, list []flows.Record) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// printFlows prints a line for each flow, whatever the number of windows that it is in.
func printFlows(w io.Writer, list []flows.Record) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "No connections.")
		return err
	}
	paint := coloursFor(w)
	var t table
	t.row("LAST", "FROM", "TO", "PORT", "VERDICT", "COUNT", "BYTES", "DECIDED BY")
	for _, r := range flows.Total(list) {
		t.row(flowCells(&r, paint)...)
	}
	return t.writeTo(w, "")
}

// flowCells are the columns of a record.
func flowCells(r *flows.Record, paint colours) []string {
	verdict := paint.green("Allow")
	count := r.Connections.New
	if r.Decided.Action == model.Deny {
		verdict, count = paint.red("Deny"), r.Attempts()
	}
	if would := r.Decided.Audited(); would != r.Decided.Action {
		verdict += paint.yellow(" (audit: " + would.String() + ")")
	}
	bytes := "-"
	if r.Sent != nil || r.Received != nil {
		var n uint64
		for _, v := range []*flows.Volume{r.Sent, r.Received} {
			if v != nil {
				n += v.Bytes
			}
		}
		bytes = byteCount(n)
	}
	to := endText(&r.Destination)
	if r.Service != "" {
		to += " via " + r.Service
	}
	if r.Other {
		return []string{r.End.Format(time.TimeOnly), "(others)", "(others)", "", "", fmt.Sprint(r.Attempts()), bytes, ""}
	}
	return []string{r.End.Format(time.TimeOnly), plain(endText(&r.Source)), plain(to), portText(r.Protocol, r.Port, r.ICMPType), verdict, fmt.Sprint(count), bytes, plain(decidedText(&r.Decided))}
}

// endText names an end as people would.
func endText(e *flows.End) string {
	switch {
	case e.Set != "":
		return e.Set
	case e.Domain != "":
		return e.Domain
	case e.Name() != "":
		return e.Name()
	case len(e.Addresses) == 1:
		return e.Addresses[0].String()
	case len(e.Addresses) > 1:
		return fmt.Sprintf("%s and %d more", e.Addresses[0], len(e.Addresses)-1)
	}
	return "(" + string(e.Kind) + ")"
}

func portText(p model.Protocol, port uint16, icmp uint8) string {
	switch {
	case p == model.ICMPv4 || p == model.ICMPv6:
		return fmt.Sprintf("%s type %d", p, icmp)
	case port == 0:
		return p.String()
	}
	return fmt.Sprintf("%d/%s", port, p)
}

// decidedText names what decided: the denial, or both directions.
func decidedText(d *flows.Decided) string {
	name := func(v *model.Verdict) string {
		switch {
		case v == nil:
			return ""
		case v.Policy != (model.Ref{}):
			return v.Policy.String() + " " + v.Rule.String()
		case v.Reason != "":
			return string(v.Reason)
		}
		return ""
	}
	if v := d.Denying(); v != nil {
		return v.Direction.String() + " " + name(v)
	}
	var parts []string
	for _, v := range []*model.Verdict{d.Egress, d.Ingress} {
		if n := name(v); n != "" && v.Reason != model.ReasonNoEndpoint && v.Reason != model.ReasonDefault {
			parts = append(parts, v.Direction.String()+" "+n)
		}
	}
	if len(parts) == 0 {
		return "no policy"
	}
	return strings.Join(parts, ", ")
}

func byteCount(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	x, i := float64(n), -1
	for x >= 999.5 {
		x /= 1000
		i++
	}
	return fmt.Sprintf("%.3g %cB", x, units[i])
}
