package cmd

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAgentFlags(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"a folder and a cluster", []string{"--from", dir, "--kubeconfig", "x"}, "--from cannot be combined with --kubeconfig"},
		{"a folder that is not there", []string{"--from", filepath.Join(dir, "none")}, "no such folder"},
		{"clean-up and a folder", []string{"--from", dir, "--cleanup"}, "--cleanup cannot be combined with --from"},
		{"the boot and a folder", []string{"--from", dir, "--boot"}, "--boot cannot be combined with"},
		{"no cluster", nil, "not in a pod of a cluster: want --kubeconfig FILE, or --from DIR"},
		{"a data plane that is not there", []string{"--from", dir, "--dataplane", "ebpf"}, "--dataplane ebpf: want auto, nftables or iptables"},
		{"no kubeconfig there", []string{"--kubeconfig", filepath.Join(dir, "none")}, "none: no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut strings.Builder
			status := Main(append([]string{"tierwall", "agent", "--metrics-addr="}, tt.args...), strings.NewReader(""), &out, &errOut)
			if status != exitUnusable || !strings.Contains(errOut.String(), tt.want) {
				t.Errorf("status %d, %q; want %d and %q", status, errOut.String(), exitUnusable, tt.want)
			}
		})
	}
}

// TestAgentNode: the node's name is the flag's, then the environment's, then the host's.
func TestAgentNode(t *testing.T) {
	t.Setenv("NODE_NAME", "from-environment")
	for _, tt := range []struct{ flag, from, want string }{
		{"from-flag", "", "from-flag"},
		{"", "", "from-environment"},
	} {
		f := agentFlags{node: tt.flag, from: tt.from}
		if err := f.check(); err != nil || f.node != tt.want {
			t.Errorf("node %q, %v; want %q", f.node, err, tt.want)
		}
	}
	t.Setenv("NODE_NAME", "")
	f := agentFlags{}
	if err := f.check(); err != nil || f.node == "" || f.node != strings.ToLower(f.node) {
		t.Errorf("node %q, %v; want the host's name", f.node, err)
	}
}

func TestDemoFlags(t *testing.T) {
	got := runMain(t, "", "demo", "--dataplane", "ebpf")
	if got.status != exitUnusable || got.errOut != "error: --dataplane ebpf: want nftables or iptables\n" {
		t.Errorf("%+v", got)
	}
}

// TestRenderers: render prints for both data planes, and for no other.
func TestRenderers(t *testing.T) {
	for dataplane, want := range map[string]string{"nftables": "table inet tierwall", "iptables": "-A TW-FORWARD "} {
		got := runMain(t, "", "render", "-f", "../config/samples", "--node", "node-a", "--dataplane", dataplane)
		if got.status != 0 || !strings.Contains(got.out, want) {
			t.Errorf("%s: status %d, %s", dataplane, got.status, got.errOut)
		}
	}
	if got := runMain(t, "", "render", "-f", "../config/samples", "--node", "node-a", "--dataplane", "ebpf"); got.status != exitUnusable || !strings.Contains(got.errOut, "want nftables or iptables") {
		t.Errorf("%+v", got)
	}
}
