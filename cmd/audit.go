package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/policy/flows"
	"github.com/tierwall/tierwall/policy/model"
)

func newAuditCommand(s streams) *cobra.Command {
	var cluster clusterFlags
	var from recordFlags
	var out outputFlag
	var namespaces []string
	var since, policy string
	c := &cobra.Command{
		Use:   "audit",
		Short: "List connections that audited policies would decide otherwise",
		Long: `Audit lists what would have been different if the policies with enforcement Audit had
been enforced: first the connections that they would have denied, then those that
they would have allowed, each with the rule that makes the difference.

The exit status is 0 if nothing would be denied, 1 if something would.`,
		Example: `  tierwall audit -n shop --since 1d
  tierwall audit --records records.jsonl --policy NetworkPolicy.tierwall.io/shop/deny-the-rest`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			r, closeIt, err := from.open(ctx, s)
			if err != nil {
				return err
			}
			defer closeIt()
			q := flows.Query{Audited: true, Namespaces: namespaces}
			if policy != "" {
				if q.Policy, err = model.ParseRef(policy); err != nil {
					return fmt.Errorf("--policy: %w", err)
				}
			}
			if q.Since, err = from.since(since, r.now()); err != nil {
				return err
			}
			list, err := allRecords(ctx, s, r, q)
			if err != nil {
				return err
			}
			found := flows.Audit(list)
			if out.text() {
				err = printAudit(s, found)
			} else {
				err = out.write(s.out, found)
			}
			if err == nil && len(found) > 0 && found[0].Would == model.Deny {
				err = errNegative
			}
			return err
		},
	}
	fs := c.Flags()
	fs.StringArrayVarP(&namespaces, "namespace", "n", nil, "namespace of either end; may be repeated; default all")
	fs.StringVar(&policy, "policy", "", "audited policy, as Kind/name or Kind/namespace/name")
	fs.StringVar(&since, "since", "", "how far back, as 15m, 1h or 30d, or a time; default 1h, of a file all")
	cluster.register(fs)
	from.register(fs, &cluster)
	out.register(fs)
	return c
}

func printAudit(s streams, list []flows.Audited) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(s.out, "Audited policies would have changed nothing.")
		return err
	}
	paint := coloursFor(s.out)
	var t table
	t.row("WOULD", "FROM", "TO", "PORT", "COUNT", "LAST", "BY")
	for i := range list {
		a := &list[i]
		would := paint.red("deny")
		if a.Would == model.Allow {
			would = paint.green("allow")
		}
		var by []string
		for _, k := range a.By {
			by = append(by, k.Direction.String()+" "+k.Policy.String()+" "+k.Rule.String())
		}
		to := endText(&a.Destination)
		if a.Service != "" {
			to += " via " + a.Service
		}
		t.row(would, plain(endText(&a.Source)), plain(to), portText(a.Protocol, a.Port, 0), fmt.Sprint(a.Connections), a.Last.Format("15:04:05"), plain(strings.Join(by, ", ")))
	}
	return t.writeTo(s.out, "")
}
