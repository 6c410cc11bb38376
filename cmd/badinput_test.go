package cmd

import (
	"os"
	"strings"
	"testing"
)

// TestBadInput: whatever is wrong with a manifest, each command that evaluates
// says so in one line with file, line, object and field, and ends with status 2.
func TestBadInput(t *testing.T) {
	const head = "apiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\nspec:\n"
	rule := func(r string) string { return head + "  ingress:\n  - {action: Allow, " + r + "}\n" }
	tests := []struct {
		name, text string
		want       string // beginning of the line
	}{
		{"broken YAML", head + "  ingress: [\n", "a.yaml:"},
		{"unknown field", rule("protokol: TCP"), `a.yaml:6:21: GlobalNetworkPolicy/x: spec.ingress[0].protokol: unknown field; did you mean "protocol"?`},
		{"bad CIDR", rule("source: {nets: [10.0.0.0/33]}"), "a.yaml:6:37: GlobalNetworkPolicy/x: spec.ingress[0].source.nets[0]: "},
		{"mixed families", rule("source: {nets: [10.0.0.0/8]}, destination: {nets: [\"fd00::/8\"]}"), "a.yaml:6:65: GlobalNetworkPolicy/x: spec.ingress[0]"},
		{"port 0", rule("protocol: TCP, destination: {ports: [0]}"), "a.yaml:6:58: GlobalNetworkPolicy/x: spec.ingress[0].destination.ports[0]: "},
		{"port 70000", rule("protocol: TCP, destination: {ports: [70000]}"), "a.yaml:6:58: GlobalNetworkPolicy/x: spec.ingress[0].destination.ports[0]: "},
		{"range backwards", rule("protocol: TCP, destination: {ports: [\"90:80\"]}"), "a.yaml:6:58: GlobalNetworkPolicy/x: spec.ingress[0].destination.ports[0]: "},
		{"selector syntax", head + "  selector: a = 'b'\n", "a.yaml:5:3: GlobalNetworkPolicy/x: spec.selector: "},
		{"duplicate objects", head + "  order: 1\n---\n" + head + "  order: 2\n", "a.yaml:7:1: GlobalNetworkPolicy/x: defined twice; first at a.yaml:1"},
		{"a selector of 1 MB", head + "  selector: \"" + strings.Repeat("a == 'b' || ", 90_000) + "all()\"\n", "a.yaml:5:3: GlobalNetworkPolicy/x: spec.selector: "},
		{"a selector nested 10,000 deep", head + "  selector: \"" + strings.Repeat("(", 10_000) + "all()" + strings.Repeat(")", 10_000) + "\"\n", "a.yaml:5:3: GlobalNetworkPolicy/x: spec.selector: "},
		{"a selector nested by negation", head + "  selector: \"" + strings.Repeat("!", 10_000) + "all()\"\n", "a.yaml:5:3: GlobalNetworkPolicy/x: spec.selector: "},
		{"an application-layer match", rule("http: {methods: [GET]}"), "a.yaml:6:21: GlobalNetworkPolicy/x: spec.ingress[0].http: "},
	}
	commands := map[string][]string{
		"explain":   {"explain", "-f", "a.yaml", "--from", "10.0.0.1", "--to", "10.0.0.2", "--port", "80/TCP"},
		"effective": {"effective", "-f", "a.yaml", "--all"},
		"diff":      {"diff", "a.yaml", "good.yaml"},
	}
	for _, tt := range tests {
		for name, args := range commands {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				inFolder(t, map[string]string{"a.yaml": tt.text, "good.yaml": shop})
				got := runMain(t, "", args...)
				if got.status != exitUnusable || got.out != "" || !strings.HasPrefix(got.errOut, "error: "+tt.want) ||
					strings.Count(got.errOut, "\n") != 1 || len(got.errOut) > 1000 {
					t.Errorf("status %d, standard output %q, standard error %.1000q", got.status, got.out, got.errOut)
				}
			})
		}
	}
	t.Run("a file of 100 MB", func(t *testing.T) {
		inFolder(t, map[string]string{"a.yaml": ""})
		if err := os.Truncate("a.yaml", 100<<20); err != nil {
			t.Fatal(err)
		}
		got := runMain(t, "", "effective", "-f", "a.yaml", "--all")
		if got.status != exitUnusable || got.errOut != "error: a.yaml: 104857600 bytes are more than the limit of 64 MiB\n" {
			t.Errorf("got %+v", got)
		}
	})
}
