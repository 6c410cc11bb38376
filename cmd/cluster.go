package cmd

import (
	"fmt"
	"net/netip"
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

// clusterFlags are kubectl's flags for the cluster to talk to, as client-go
// defines them. Its module cli-runtime would add no flag to these, but a hundred
// packages and 40 MB to a binary that every node runs.
type clusterFlags struct {
	kubeconfig string
	overrides  clientcmd.ConfigOverrides
}

// shown are the cluster flags in the help of every command; `tierwall options`
// lists the others.
var shown = map[string]string{
	"context":         "context of the kubeconfig; default the current one",
	"as":              "user to impersonate, also system:serviceaccount:NAMESPACE/NAME",
	"request-timeout": `how long to wait for one answer of the API server, as in 5s or 2m; 0: forever`,
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

// namespaceFlag is -n: the namespace of names that have none.
type namespaceFlag struct{ name string }

func (n *namespaceFlag) register(fs *pflag.FlagSet) {
	fs.StringVarP(&n.name, "namespace", "n", "", "namespace of names without one; default that of the kubeconfig's context if the live cluster is read")
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

// qualify gives the name of a pod or Service the namespace, if it has none:
// web becomes shop/web, and pod:web becomes pod:shop/web.
func qualify(namespace, s string) string {
	kind, name, hasKind := strings.Cut(s, ":")
	if !hasKind {
		kind, name = "", s
	}
	if _, err := netip.ParseAddr(s); err == nil || namespace == "" || name == "" || strings.Contains(name, "/") {
		return s
	}
	switch strings.ToLower(kind) {
	case "":
		return namespace + "/" + name
	case "pod", "svc", "service":
		return kind + ":" + namespace + "/" + name
	}
	return s
}

// newOptionsCommand lists the flags that all commands share.
func newOptionsCommand(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "List the flags by which all commands find a cluster",
		Long: `Options lists the flags of every command that reads a live cluster. They are
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
