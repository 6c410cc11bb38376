package cmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"github.com/tierwall/tierwall/controllers/agent/learnt"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	dnsnames "github.com/tierwall/tierwall/policy/names"
)

// knownView is what `names` prints of one address of one name.
type knownView struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"`
	// UsedBy are the policies that match the name, of those that were read.
	UsedBy []string `json:"usedBy,omitempty"`
}

// namesFlags are the flags of `tierwall names`.
type namesFlags struct {
	dir   string
	input inputFlags
	out   outputFlag
	clock clock.PassiveClock
}

func newNamesCommand(s streams) *cobra.Command {
	f := namesFlags{clock: clock.RealClock{}}
	c := &cobra.Command{
		Use:   "names [NAME...]",
		Short: "Print the addresses that this node knows of DNS names",
		Long: `Names prints what the agent of this node has learnt from DNS answers: the names
that rules match, their addresses, since when each is known, and when it expires.
An address that a connection uses stays longer. It reads the file that the agent
keeps in its state folder, so it runs on the node, or in the agent's pod.

With arguments it prints these names only; one with * matches as it does in a
rule. With -f it also prints which of the policies in these manifests match each
name.`,
		Example: `  tierwall names
  tierwall names api.example.com '*.example.net'
  kubectl exec -n tierwall-system AGENT_POD -- tierwall names -o json`,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), s, args) },
	}
	fs := c.Flags()
	fs.StringVar(&f.dir, "state-dir", "/var/lib/tierwall", "the agent's state folder")
	f.input.registerFiles(fs)
	f.input.registerAllowInvalid(fs)
	f.out.register(fs)
	return c
}

func (f *namesFlags) run(ctx context.Context, s streams, args []string) error {
	wanted, err := parsePatterns(args)
	if err != nil {
		return err
	}
	var ix *index.Index
	if len(f.input.filenames) > 0 {
		if ix, _, err = f.input.index(ctx, s); err != nil {
			return err
		}
	}
	list, err := f.known(wanted, ix)
	if err != nil {
		return err
	}
	if !f.out.text() {
		return f.out.write(s.out, list)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	head := "NAME\tADDRESS\tSINCE\tEXPIRES"
	if ix != nil {
		head += "\tUSED BY"
	}
	fmt.Fprintln(w, head)
	now := f.clock.Now()
	for _, k := range list {
		line := fmt.Sprintf("%s\t%s\t%s ago\tin %s", k.Name, k.Address, now.Sub(k.Since).Round(time.Second), k.Expires.Sub(now).Round(time.Second))
		if ix != nil {
			line += "\t" + strings.Join(k.UsedBy, ", ")
		}
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

func parsePatterns(args []string) ([]dnsnames.Pattern, error) {
	var out []dnsnames.Pattern
	for _, a := range args {
		p, err := dnsnames.ParsePattern(a)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// known reads what has not expired, sorted by name and address.
func (f *namesFlags) known(wanted []dnsnames.Pattern, ix *index.Index) ([]knownView, error) {
	type key struct{ name, addr string }
	latest := map[key]dnsnames.Known{}
	file := learnt.Log{Path: filepath.Join(f.dir, learnt.FileName)}
	if _, err := os.Stat(file.Path); err != nil {
		return nil, fmt.Errorf("the agent of this node knows no names: %w", err)
	}
	if _, err := file.Load(func(k dnsnames.Known) { latest[key{k.Name, k.Addr.String()}] = k }); err != nil {
		return nil, err
	}
	now := f.clock.Now()
	out := []knownView{}
	for _, k := range latest {
		matches := func(p dnsnames.Pattern) bool { return p.Matches(k.Name) }
		if !k.Until.After(now) || len(wanted) > 0 && !slices.ContainsFunc(wanted, matches) {
			continue
		}
		out = append(out, knownView{Name: k.Name, Address: k.Addr.String(), Since: k.Since, Expires: k.Until, UsedBy: usersOf(ix, k.Name)})
	}
	slices.SortFunc(out, func(a, b knownView) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Address, b.Address)
	})
	return out, nil
}

// usersOf are the policies and network sets with a pattern that matches a name.
func usersOf(ix *index.Index, name string) []string {
	if ix == nil {
		return nil
	}
	matches := func(p dnsnames.Pattern) bool { return p.Matches(name) }
	var out []string
	for _, p := range ix.Policies() {
		if slices.ContainsFunc(p.EgressRules, func(r model.Rule) bool { return slices.ContainsFunc(r.Match.Destination.Domains, matches) }) {
			out = append(out, p.Ref.String())
		}
	}
	for _, r := range ix.NetworkSets() {
		if slices.ContainsFunc(ix.NetworkSetDomains(r), matches) {
			out = append(out, r.String())
		}
	}
	return out
}
