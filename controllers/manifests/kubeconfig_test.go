package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// goodKubeconfig has two contexts, of which one is broken, and no current one.
const goodKubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: prod, context: {cluster: c, user: u, namespace: shop}}
- {name: broken, context: {cluster: gone}}
`

func TestClusterConfig(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var (
		good    = file("good", goodKubeconfig)
		empty   = file("empty", "")
		bare    = file("bare", "apiVersion: v1\nkind: Config\n")
		broken  = file("broken", "a: [")
		current = file("current", goodKubeconfig+"current-context: prod\n")
		stale   = file("stale", goodKubeconfig+"current-context: staging\n")
		missing = filepath.Join(folder, "missing")
	)
	context := func(name string) *clientcmd.ConfigOverrides {
		return &clientcmd.ConfigOverrides{CurrentContext: name}
	}
	server := &clientcmd.ConfigOverrides{}
	server.ClusterInfo.Server = "http://192.0.2.9"
	as := context("prod")
	as.AuthInfo.Impersonate = "jane"
	tests := []struct {
		name, flag, env string
		overrides       *clientcmd.ConfigOverrides
		want            string // the server, or part of the error
	}{
		{"the current context", current, "", nil, "https://192.0.2.1:6443"},
		{"by environment", "", current, nil, "https://192.0.2.1:6443"},
		{"a missing file beside a good one", "", missing + string(os.PathListSeparator) + current, nil, "https://192.0.2.1:6443"},
		{"a context by flag", good, "", context("prod"), "https://192.0.2.1:6443"},
		{"impersonation", good, "", as, "https://192.0.2.1:6443 as jane"},
		{"a server by flag", empty, "", server, "http://192.0.2.9"},

		{"no current context", good, "", nil, "no current context: choose one with --context (it has broken, prod)"},
		{"a current context that is gone", stale, "", nil, `there is no context "staging" (it has broken, prod)`},
		{"a slip in a context", good, "", context("prdo"), `there is no context "prdo"; did you mean "prod"? (it has broken, prod)`},
		{"a context without its cluster", good, "", context("broken"), `context "broken" names cluster "gone", which does not exist`},
		{"an empty file", empty, "", nil, "kubeconfig " + empty + ": no clusters and no contexts"},
		{"an empty file by environment", "", empty, nil, "kubeconfig " + empty + ": no clusters and no contexts"},
		{"a file without clusters", bare, "", nil, "kubeconfig " + bare + ": no clusters and no contexts"},
		{"a broken file", broken, "", nil, `kubeconfig: error loading config file "` + broken + `": yaml`},
		{"a missing file", missing, "", nil, missing + ": no such file"},
		{"a missing file by environment", "", missing, nil, "no kubeconfig found: " + missing + ": file does not exist"},
		{"a folder", folder, "", nil, "kubeconfig " + folder + ": is a folder, not a file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tt.env)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			config, err := ClusterConfig(tt.flag, tt.overrides)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %q, want %q in one line", err, tt.want)
				}
				return
			}
			got := config.Host
			if u := config.Impersonate.UserName; u != "" {
				got += " as " + u
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	t.Setenv("KUBECONFIG", current)
	if ns, err := ClusterNamespace("", nil); ns != "shop" || err != nil {
		t.Errorf("the context's namespace: got %q, %v", ns, err)
	}
}
