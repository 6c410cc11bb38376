package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tierwall/tierwall/controllers/manifests"
)

// requestTimeout is how long people's commands wait for one answer of the API
// server. kubectl waits forever.
const requestTimeout = 30 * time.Second

// totalTimeout is how long they wait for all answers together: many times what a cluster of
// 5,000 nodes takes to list.
const totalTimeout = 5 * time.Minute

// clusterFlags are kubectl's flags for the cluster to talk to, as client-go
// defines them. Its module cli-runtime would add no flag to these, but a hundred
// packages and 40 MB to a binary that every node runs.
type clusterFlags struct {
	kubeconfig string
	overrides  clientcmd.ConfigOverrides
	// timeout of all requests together; 0: none.
	timeout time.Duration
}

// shown are the cluster flags in the help of every command; `tierwall options`
// lists the others.
var shown = map[string]string{
	"context":         "context of the kubeconfig; default the current one",
	"as":              "user to impersonate, also system:serviceaccount:NAMESPACE/NAME",
	"request-timeout": `how long to wait for one answer of the API server, as in 5s or 2m; 0: forever`,
	"timeout":         `how long to wait for all answers of the API server together; 0: forever`,
}

// register adds --kubeconfig and the others, but for --namespace.
func (f *clusterFlags) register(fs *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file; default $KUBECONFIG, then ~/.kube/config")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	// Basic authentication has been gone from Kubernetes since 1.19.
	names.AuthOverrideFlags.Username, names.AuthOverrideFlags.Password = clientcmd.FlagInfo{}, clientcmd.FlagInfo{}
	names.ContextOverrideFlags.Namespace = clientcmd.FlagInfo{}
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	names.Timeout.Default = requestTimeout.String()
	clientcmd.BindOverrideFlags(&f.overrides, own, names)
	own.DurationVar(&f.timeout, "timeout", totalTimeout, "")
	own.VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = true
		if text, ok := shown[flag.Name]; ok {
			flag.Usage, flag.Hidden = text, false
		}
		if flag.Name == "kubeconfig" {
			flag.Hidden = false
		}
		_ = own.SetAnnotation(flag.Name, clusterFlag, []string{"true"}) // fails only for a flag that does not exist
		fs.AddFlag(flag)
	})
}

// clusterFlag annotates the flags that have a paragraph of their own in the help.
const clusterFlag = "tierwall.io/cluster-flag"

// config finds the cluster. It sends nothing.
func (f *clusterFlags) config() (*rest.Config, error) {
	timeout, err := clientcmd.ParseTimeout(f.overrides.Timeout)
	if err != nil {
		return nil, fmt.Errorf("--request-timeout %q: want a duration such as 5s or 2m, or 0", f.overrides.Timeout)
	}
	config, err := manifests.ClusterConfig(f.kubeconfig, &f.overrides)
	if err != nil {
		return nil, err
	}
	config.Timeout = timeout // clientcmd leaves it out for a pod's service account
	return boundCredentials(config)
}

// limit gives a context that ends with --timeout, with that as its cause.
func (f *clusterFlags) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("not all answered within --timeout %s", f.timeout))
}

// namespaceFlag is -n: the namespace of names that have none.
type namespaceFlag struct{ name string }

func (n *namespaceFlag) register(fs *pflag.FlagSet) {
	fs.StringVarP(&n.name, "namespace", "n", "", "namespace of names without one; for a live cluster, the default is that of the kubeconfig's context")
}

// of returns the namespace of names without one; empty: they must have one.
// A kubeconfig that is of no use is an error when the cluster is read.
func (n *namespaceFlag) of(in *inputFlags) string {
	if n.name != "" || !in.live() {
		return n.name
	}
	namespace, err := manifests.ClusterNamespace(in.cluster.kubeconfig, &in.cluster.overrides)
	if err != nil {
		return ""
	}
	return namespace
}

// newOptionsCommand lists the flags that all commands share.
func newOptionsCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags that select a cluster, for all commands",
		Long: `Options lists the flags of all commands that read a live cluster. They are
kubectl's, with the same meaning; the help of each command shows the common ones.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var f clusterFlags
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			f.register(fs)
			fs.VisitAll(func(flag *pflag.Flag) { flag.Hidden = false })
			_, err := fmt.Fprint(s.out, strings.TrimLeft(fs.FlagUsagesWrapped(helpWidth), "\n"))
			return err
		},
	}
}
