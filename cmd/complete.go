package cmd

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// completionTimeout bounds what a press of the tab key may wait for a cluster.
const completionTimeout = 3 * time.Second

// completer completes the values of a command from what its flags say to read.
type completer struct {
	streams
	in *inputFlags
}

// names lists what there is of one sort, for a shell.
type names func(ix *index.Index) []string

// values completes one value. What cannot be read completes to nothing.
func (c completer) values(of names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		in := *c.in
		in.allowInvalid = true
		quiet := streams{in: strings.NewReader(""), out: io.Discard, errOut: io.Discard}
		ix, _, err := in.index(ctx, quiet)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, v := range of(ix) {
			if strings.HasPrefix(v, toComplete) {
				out = append(out, v)
			}
		}
		slices.Sort(out)
		return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
	}
}

// flag completes the value of a flag.
func (c completer) flag(cmd *cobra.Command, flag string, of names) {
	_ = cmd.RegisterFlagCompletionFunc(flag, c.values(of)) // fails only for a flag that does not exist
}

// register completes the flags that many commands have.
func (c completer) register(cmd *cobra.Command) {
	if cmd.Flags().Lookup("namespace") != nil {
		c.flag(cmd, "namespace", namespaceNames)
	}
	completeContexts(cmd, &c.in.cluster)
}

// completeContexts completes --context.
func completeContexts(cmd *cobra.Command, cluster *clusterFlags) {
	_ = cmd.RegisterFlagCompletionFunc("context", func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath, rules.WarnIfAllMissing = cluster.kubeconfig, false
		config, err := rules.Load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for name := range config.Contexts {
			if strings.HasPrefix(name, toComplete) {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out, cobra.ShellCompDirectiveNoFileComp
	})
}

// endpointNames are the endpoints as people type them.
func endpointNames(ix *index.Index) []string {
	var out []string
	for _, ref := range ix.Endpoints() {
		switch ref.Kind {
		case model.KindPod:
			out = append(out, ref.Namespace+"/"+ref.Name)
		case model.KindHostEndpoint:
			out = append(out, "hostEndpoint:"+ref.Name)
		}
	}
	return out
}

// peerNames are the endpoints and the nodes.
func peerNames(ix *index.Index) []string {
	out := endpointNames(ix)
	for _, name := range nodeNames(ix) {
		out = append(out, "node:"+name)
	}
	return out
}

func nodeNames(ix *index.Index) []string {
	var out []string
	for _, n := range ix.Nodes() {
		out = append(out, n.Name)
	}
	return out
}

func namespaceNames(ix *index.Index) []string {
	var out []string
	for _, ref := range ix.Endpoints() {
		if ref.Namespace != "" {
			out = append(out, ref.Namespace)
		}
	}
	return out
}

func tierNames(ix *index.Index) []string {
	var out []string
	for _, t := range ix.Tiers() {
		out = append(out, t.Name)
	}
	return out
}

func policyNames(ix *index.Index) []string {
	var out []string
	for _, p := range ix.Policies() {
		out = append(out, p.Ref.String())
	}
	return out
}
