//go:build linux

package cmd

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/iptables"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/nearest"
)

// renderers by data plane.
var renderers = map[string]func(*dataplane.State) string{
	"nftables": func(s *dataplane.State) string { return nftables.Render(s, nftables.Options{}) },
	"iptables": func(s *dataplane.State) string { return iptables.Render(s, iptables.Options{}) },
}

func newRenderCommand(s streams) *cobra.Command {
	var in inputFlags
	var node, backend string
	c := &cobra.Command{
		Use:   "render --node NODE",
		Short: "Print the ruleset that a node's kernel would get",
		Long: `Render prints the ruleset that the agent of a node would program, from
manifests or a live cluster. It touches no kernel and needs no privileges; the
output is what "nft -f" reads, or with --dataplane iptables what "ipset restore",
"iptables-restore --noflush" and "ip6tables-restore --noflush" read, one after the other.`,
		Example: `  tierwall render -f config/samples --node node-a
  tierwall render -f config/samples --node node-a | nft -c -f -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			render, ok := renderers[backend]
			if !ok {
				return fmt.Errorf("--dataplane %q: want nftables or iptables", backend)
			}
			r, err := in.load(c.Context(), s)
			if err != nil {
				return err
			}
			ix := index.New(index.Options{Local: func(n string) bool { return n == node }})
			if err := reportProblems(s, r, r.Fill(ix), in.allowInvalid); err != nil {
				return err
			}
			delta := ix.Flush()
			warnMissingTiers(s, r, ix)
			if ix.Node(node) == nil {
				return unknownNode(ix, node)
			}
			compiler := dataplane.NewCompiler(dataplane.Options{})
			compiler.Apply(delta)
			r.Learn(ix)
			warnBudgets(s, r, applyBudgets(r, ix))
			compiler.Apply(ix.Flush())
			_, err = io.WriteString(s.out, render(dataplane.NewState(ix, node, compiler)))
			return err
		},
	}
	in.register(c.Flags())
	c.Flags().StringVar(&node, "node", "", "node whose ruleset is printed")
	c.Flags().StringVar(&backend, "dataplane", "nftables", "nftables or iptables")
	complete := completer{s, &in}
	complete.register(c)
	complete.flag(c, "node", nodeNames)
	_ = c.MarkFlagRequired("node") // fails only for a flag that does not exist
	return c
}

func unknownNode(ix *index.Index, node string) error {
	var names []string
	for _, n := range ix.Nodes() {
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return errors.New("there are no nodes among the objects")
	}
	return fmt.Errorf("there is no node %q%s; there are %s", node, nearest.Clause(node, names), strings.Join(names, ", "))
}
