package cmd

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestQualify(t *testing.T) {
	for _, tt := range []struct{ namespace, name, want string }{
		{"shop", "web", "shop/web"}, {"shop", "pod:web", "pod:shop/web"}, {"shop", "svc:web", "svc:shop/web"},
		{"shop", "q/web", "q/web"}, {"shop", "pod:q/web", "pod:q/web"}, {"shop", "node:a", "node:a"}, {"shop", "Node/a", "Node/a"},
		{"shop", "10.0.0.1", "10.0.0.1"}, {"shop", "fd00::1", "fd00::1"}, {"shop", "ip:10.0.0.1", "ip:10.0.0.1"}, {"", "web", "web"}, {"shop", "", ""},
	} {
		if got := qualify(tt.namespace, tt.name); got != tt.want {
			t.Errorf("qualify(%q, %q) = %q, want %q", tt.namespace, tt.name, got, tt.want)
		}
	}
}

// A server that accepts connections and never answers must not hold a command up.
func TestDeadServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for _, args := range [][]string{
		{"status"}, {"status", "-w"}, {"explain", "--from", "a/b", "--to", "a/c", "--port", "80"}, {"effective", "-A"}, {"lint"},
	} {
		start := time.Now()
		got := runMain(t, "", append(args, "--server", "http://"+l.Addr().String(), "--request-timeout", "200ms")...)
		if got.status != exitUnusable || !strings.Contains(got.errOut, "Timeout") && !strings.Contains(got.errOut, "deadline exceeded") {
			t.Errorf("%v: got %+v", args, got)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%v: took %s", args, took)
		}
	}
	if got := runMain(t, "", "status", "--request-timeout", "soon"); got.errOut != "error: --request-timeout \"soon\": want a duration such as 5s or 2m, or 0\n" {
		t.Errorf("got %+v", got)
	}
}

// A credential plugin that hangs must not hold a command up either.
func TestHangingCredentialPlugin(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "hangs")
	if err := os.WriteFile(plugin, []byte("#!/bin/sh\nexec sleep 2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := writeFiles(t, `
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: `+plugin+`, interactiveMode: Never}}}]
`)[0]
	start := time.Now()
	got := runMain(t, "", "explain", "--from", "a/b", "--to", "a/c", "--port", "80", "--kubeconfig", config, "--request-timeout", "200ms")
	if got.status != exitUnusable || !strings.Contains(got.errOut, "the credential plugin "+plugin) {
		t.Errorf("got %+v", got)
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("took %s", took)
	}
}

func TestNamespaceAndLabels(t *testing.T) {
	const samples = "../config/samples"
	want := runMain(t, "", "explain", "-f", samples, "--from", "shop/frontend", "--to", "shop/cart", "--port", "8080")
	if got := runMain(t, "", "explain", "-f", samples, "-n", "shop", "--from", "frontend", "--to", "pod:cart", "--port", "8080"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := runMain(t, "", "effective", "-f", samples, "-n", "shop", "frontend"); !strings.HasPrefix(got.out, "Pod/shop/frontend ") {
		t.Errorf("got %+v", got)
	}
	for _, tt := range []struct {
		args     []string
		has, not string
	}{
		{[]string{"-n", "shop"}, "Pod/shop/frontend", "Pod/payments/"},
		{[]string{"-A"}, "HostEndpoint/node-a", "nothing"},
		{[]string{"-l", "app=frontend"}, "Pod/shop/frontend", "Pod/shop/cart"},
		{[]string{"-l", "app notin (frontend)", "-n", "shop"}, "Pod/shop/cart", "Pod/shop/frontend"},
		{[]string{"--policy", "NetworkPolicy/shop/frontend-to-backends"}, "Pod/shop/frontend", "Pod/shop/cart"},
		{[]string{"--tier", "security", "-n", "shop"}, "block-known-bad", "tier platform"},
	} {
		// The endpoints stand at the beginning of a line.
		got := runMain(t, "", append([]string{"effective", "-f", samples}, tt.args...)...)
		if got.status != exitOK || !strings.Contains("\n"+got.out, tt.has) || strings.Contains("\n"+got.out, "\n"+tt.not) {
			t.Errorf("%v: got %+v", tt.args, got)
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"-l app=nobody", "error: no endpoint matches\n"},
		{"--tier securty -A", "error: --tier: there is no tier \"securty\"; did you mean \"security\"?\n"},
		{"--policy NetworkPolicy/shop/defalt-deny", "error: --policy: there is no NetworkPolicy/shop/defalt-deny; did you mean \"NetworkPolicy/shop/default-deny\"?\n"},
	} {
		if got := runMain(t, "", append([]string{"effective", "-f", samples}, strings.Fields(tt.args)...)...); got.errOut != tt.want {
			t.Errorf("%s: got %+v", tt.args, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	const samples = "../config/samples"
	inFolder := func(args ...string) []string {
		got := runMain(t, "", append([]string{cobra.ShellCompNoDescRequestCmd}, args...)...)
		lines := strings.Split(strings.TrimSpace(got.out), "\n")
		return lines[:len(lines)-1] // the last is the directive
	}
	for _, tt := range []struct {
		args []string
		want string // one of the values
	}{
		{[]string{"explain", "-f", samples, "--from", "shop/f"}, "shop/frontend"},
		{[]string{"explain", "-f", samples, "--to", "node:"}, "node:node-a"},
		{[]string{"explain", "-f", samples, "-n", ""}, "shop"},
		{[]string{"effective", "-f", samples, "host"}, "hostEndpoint:node-a"},
		{[]string{"effective", "-f", samples, "--tier", "s"}, "security"},
		{[]string{"effective", "-f", samples, "--policy", "NetworkPolicy/shop/d"}, "NetworkPolicy/shop/default-deny"},
		{[]string{"render", "-f", samples, "--node", ""}, "node-a"},
	} {
		got := inFolder(tt.args...)
		if !strings.Contains("\n"+strings.Join(got, "\n")+"\n", "\n"+tt.want+"\n") {
			t.Errorf("%v: got %v, want %s among them", tt.args, got, tt.want)
		}
	}
	if got := inFolder("explain", "-f", "/does/not/exist", "--from", ""); len(got) != 0 {
		t.Errorf("of files that are not there: %v", got)
	}
}

func TestColoursByEnvironment(t *testing.T) {
	for _, tt := range []struct {
		no, force string
		want      bool
	}{{"", "", false}, {"", "1", true}, {"", "0", false}, {"1", "1", false}, {"", "false", false}, {"", "3", true}} {
		t.Setenv("NO_COLOR", tt.no)
		t.Setenv("FORCE_COLOR", tt.force)
		if got := coloursFor(&bytes.Buffer{}).on; got != tt.want {
			t.Errorf("NO_COLOR=%q FORCE_COLOR=%q: got %t", tt.no, tt.force, got)
		}
	}
}
