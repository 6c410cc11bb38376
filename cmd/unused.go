package cmd

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/policy/flows"
)

// unusedView is what `unused` prints for programs.
type unusedView struct {
	Since time.Time          `json:"since"`
	Rules []flows.UnusedRule `json:"rules"`
}

func newUnusedCommand(s streams) *cobra.Command {
	var in inputFlags
	var from recordFlags
	var out outputFlag
	since := "30d"
	c := &cobra.Command{
		Use:   "unused",
		Short: "List rules that have decided nothing for a while",
		Long: `Unused lists the rules that decided no connection since a time, with when each last
did. Policies are those of the cluster or, with -f, of manifests; what was decided is
said by the cluster's manager, by the agent or manager at --address, or by a file of
records (--records).

A rule without hits may still be needed: for what happens once a year, or against
what should never happen.`,
		Example: `  tierwall unused --since 30d
  tierwall unused -f policies/ --records records.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			in.allowInvalid = in.allowInvalid || in.live()
			ix, _, err := in.index(ctx, s)
			if err != nil {
				return err
			}
			r, closeIt, err := from.open(ctx, s)
			if err != nil {
				return err
			}
			defer closeIt()
			at, err := flows.ParseTime(since, r.now())
			if err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			rules, err := r.rules(ctx)
			if err != nil {
				return err
			}
			if rules.Since != nil && rules.Since.After(at) {
				s.warn("what was decided is known since %s only", rules.Since.UTC().Format(time.RFC3339))
			}
			view := unusedView{Since: at, Rules: flows.Unused(ix, rules.Items, at)}
			if !out.text() {
				return out.write(s.out, view)
			}
			if len(view.Rules) == 0 {
				_, err := fmt.Fprintln(s.out, "All rules have decided something.")
				return err
			}
			var t table
			t.row("TIER", "POLICY", "RULE", "ACTION", "SELECTS", "LAST HIT")
			for _, u := range view.Rules {
				last := "none seen"
				if u.LastHit != nil {
					last = u.LastHit.UTC().Format(time.RFC3339)
				}
				rule := u.Direction.String() + " " + u.Rule.String()
				if u.RuleName != "" {
					rule += " " + u.RuleName
				}
				t.row(u.Tier, plain(u.Policy.String()), plain(rule), u.Action.String(), fmt.Sprint(u.Selects), last)
			}
			return t.writeTo(s.out, "")
		},
	}
	fs := c.Flags()
	fs.StringVar(&since, "since", since, "how far back, as 15m, 1h or 30d, or a time")
	in.register(fs)
	from.register(fs, &in.cluster)
	out.register(fs)
	return c
}
