package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/tierwall/tierwall/policy/nearest"
)

// ClusterConfig finds the cluster that kubectl would talk to. An empty
// kubeconfig means $KUBECONFIG, then ~/.kube/config, then the service account of
// the pod that the process runs in. The overrides stand for kubectl's flags, such
// as CurrentContext for --context; nil: none. Nothing is sent to the cluster.
func ClusterConfig(kubeconfig string, overrides *clientcmd.ConfigOverrides) (*rest.Config, error) {
	config, err := clientConfig(kubeconfig, overrides)
	if err != nil {
		return nil, err
	}
	found, err := config.ClientConfig()
	if err != nil {
		return nil, kubeconfigError(err)
	}
	return found, nil
}

// ClusterNamespace is the namespace that kubectl would use in that cluster:
// that of the overrides, else of the context, else "default".
func ClusterNamespace(kubeconfig string, overrides *clientcmd.ConfigOverrides) (string, error) {
	config, err := clientConfig(kubeconfig, overrides)
	if err != nil {
		return "", err
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return "", kubeconfigError(err)
	}
	return namespace, nil
}

// clientConfig loads the kubeconfig files. What clientcmd passes over in silence,
// or answers with localhost:8080, is an error that names the file.
func clientConfig(kubeconfig string, overrides *clientcmd.ConfigOverrides) (clientcmd.ClientConfig, error) {
	if overrides == nil {
		overrides = &clientcmd.ConfigOverrides{}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	rules.WarnIfAllMissing = false
	files := kubeconfigFiles(rules)
	for _, path := range files {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return nil, fmt.Errorf("kubeconfig %s: is a folder, not a file", path)
		}
	}
	raw, err := rules.Load()
	if err != nil {
		return nil, kubeconfigError(err)
	}
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	// A server that flags name needs no file, and a pod has its service account.
	if overrides.ClusterInfo.Server != "" || len(raw.Contexts) == 0 && len(raw.Clusters) == 0 && inPod() {
		return config, nil
	}
	return config, checkContext(raw, files, kubeconfig != "" || os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "", overrides)
}

// checkContext says why a kubeconfig leads to no cluster.
func checkContext(raw *clientcmdapi.Config, files []string, named bool, overrides *clientcmd.ConfigOverrides) error {
	if len(raw.Contexts) == 0 && len(raw.Clusters) == 0 {
		for _, path := range files {
			if _, err := os.Stat(path); err == nil {
				return fmt.Errorf("kubeconfig %s: no clusters and no contexts", path)
			}
		}
		if named {
			return fmt.Errorf("no kubeconfig found: %s: %w", strings.Join(files, ", "), fs.ErrNotExist)
		}
		return errors.New("no kubeconfig found: set --kubeconfig or KUBECONFIG")
	}
	names := make([]string, 0, len(raw.Contexts))
	for name := range raw.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	there := "it has " + strings.Join(names, ", ")
	if len(names) == 0 {
		there = "it has none"
	}
	where := strings.Join(files, ", ")
	name := overrides.CurrentContext
	if name == "" {
		name = raw.CurrentContext
	}
	switch {
	case name == "" && overrides.Context.Cluster == "":
		return fmt.Errorf("kubeconfig %s: no current context: choose one with --context (%s)", where, there)
	case name == "":
	case raw.Contexts[name] == nil:
		return fmt.Errorf("kubeconfig %s: there is no context %q%s (%s)", where, name, nearest.Clause(name, names), there)
	case overrides.Context.Cluster == "" && raw.Clusters[raw.Contexts[name].Cluster] == nil:
		return fmt.Errorf("kubeconfig %s: context %q names cluster %q, which does not exist", where, name, raw.Contexts[name].Cluster)
	}
	return nil
}

// kubeconfigFiles are the files that are looked for.
func kubeconfigFiles(rules *clientcmd.ClientConfigLoadingRules) []string {
	if rules.ExplicitPath != "" {
		return []string{rules.ExplicitPath}
	}
	var out []string
	for _, path := range rules.Precedence {
		if path != "" {
			out = append(out, filepath.Clean(path))
		}
	}
	return out
}

// inPod reports whether the process has a service account to speak to the
// cluster with.
func inPod() bool {
	_, err := rest.InClusterConfig()
	return err == nil
}

// kubeconfigError is clientcmd's error in one line.
func kubeconfigError(err error) error {
	if clientcmd.IsEmptyConfig(err) {
		return errors.New("no kubeconfig found: set --kubeconfig or KUBECONFIG")
	}
	return fmt.Errorf("kubeconfig: %s", strings.Join(strings.Fields(err.Error()), " "))
}
