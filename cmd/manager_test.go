package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManagerUsage(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(broken, []byte("clusters: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"not in a cluster", nil, "error: not in a cluster: want --kubeconfig\n"},
		{"no such kubeconfig", []string{"--kubeconfig", "/nonexistent/file"}, "error: the cluster's configuration: stat /nonexistent/file"},
		{"a kubeconfig that is none", []string{"--kubeconfig", broken}, "error: the cluster's configuration: "},
		{"log level", []string{"--log-level", "loud"}, "error: --log-level \"loud\": want one of debug, info, warn, error\n"},
		{"log format", []string{"--log-format", "xml"}, "error: --log-format \"xml\": want one of text, json\n"},
		{"timeout", []string{"--cleanup-timeout", "0s"}, "error: --cleanup-timeout 0s: want more than 0\n"},
		{"access of metrics", []string{"--metrics-access", "all"}, "error: --metrics-access all: want authenticated or open\n"},
		{"an argument", []string{"x"}, "error: unknown command \"x\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runMain(t, "", append([]string{"manager"}, tt.args...)...)
			if got.status != exitUnusable || !strings.HasPrefix(got.errOut, tt.want) || strings.Count(got.errOut, "\n") != 1 {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

func TestManagerNamespace(t *testing.T) {
	for _, tt := range []struct{ flag, env, want string }{
		{"", "", "tierwall-system"},
		{"", "operators", "operators"},
		{"here", "operators", "here"},
	} {
		t.Setenv("POD_NAMESPACE", tt.env)
		f := managerFlags{namespace: tt.flag}
		if got := f.where(); got != tt.want {
			t.Errorf("flag %q, environment %q: %q, want %q", tt.flag, tt.env, got, tt.want)
		}
	}
}
