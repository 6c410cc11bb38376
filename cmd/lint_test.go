package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/lint"
)

func TestLintGolden(t *testing.T) {
	tests := []struct {
		name   string
		status int
	}{
		{"bad", exitNegative},
		{"good", exitOK},
		{"upgraded", exitOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runMain(t, "", "lint", filepath.Join("testdata", "lint", tt.name+".yaml"))
			if got.status != tt.status || got.errOut != "" {
				t.Errorf("status %d, want %d; standard error %q", got.status, tt.status, got.errOut)
			}
			golden(t, filepath.Join("testdata", "lint", tt.name+".txt"), got.out)
		})
	}
}

// Every code that the linter has is found in bad.yaml, and JSON says what the text says.
func TestLintJSON(t *testing.T) {
	file := filepath.Join("testdata", "lint", "bad.yaml")
	got := runMain(t, "", "lint", "-o", "json", file)
	var r lintReport
	if err := json.Unmarshal([]byte(got.out), &r); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "lint", "bad.txt"))
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, f := range r.Findings {
		codes[f.Code] = true
		if f.File != file || f.Line == 0 || !strings.Contains(string(text), f.Message+" ("+f.Code+")") {
			t.Errorf("%+v is not in the text", f)
		}
	}
	for _, c := range []string{
		lint.CodeInvalid, lint.CodeMissingTier, lint.CodeShadowedRule, lint.CodeShadowedPolicy, lint.CodeNeverMatches,
		lint.CodeSelectsNothing, lint.CodePeerMatchesNothing, lint.CodeNoDNS, lint.CodeFailsafeOverlap, lint.CodeHostDeniesAll,
		lint.CodeUntrackedReplies, lint.CodeUnknownService, lint.CodeUnknownServiceAccount, lint.CodeUnknownPort,
		lint.CodeDuplicateOrder, lint.CodeEmptySet, lint.CodeGuardNotEnforced, lint.CodeUntrackedWildcard, lint.CodeWildcardDeniesDNS,
		lint.CodeWildcardMeetsPods, lint.CodeTunnelsClosed, lint.CodeDuplicateInterface, lint.CodeExpectedIPsDisagree,
	} {
		if !codes[c] {
			t.Errorf("no finding %s", c)
		}
	}
}

// The samples are what people start from: nothing in them is worth a warning.
func TestLintSamples(t *testing.T) {
	if got := runMain(t, "", "lint", "--strict", "../config/samples"); got.status != exitOK {
		t.Errorf("got %+v", got)
	}
}

func TestLintUsage(t *testing.T) {
	inFolder(t, map[string]string{
		"warn.yaml": `{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {selector: "app == 'none'"}}`,
		"alone.yaml":  `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {selector: "app == 'none'"}}`,
		"broken.yaml": "a: [",
		"ignored.yaml": `{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: g, annotations: {tierwall.io/lint-ignore: "no-dns, selects-nothing"}}, spec: {selector: "app == 'none'"}}`,
		"misspelt.yaml": `
{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {annotations: {tierwall.io/lint-ignore: nodns}, name: g}, spec: {selector: "app == 'none'"}}`,
		"slip.yaml":   `{apiVersion: networking.k8s.io/v1, kind: Networkpolicy, metadata: {name: x}}`,
		"other.yaml":  `{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}`,
		"cilium.yaml": `{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: x}}`,
		"http.yaml":   `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {ingress: [{action: Allow, protocol: TCP, http: {methods: [GET]}}]}}`,
	})
	tests := []struct {
		args        []string
		status      int
		out, errOut string
	}{
		{[]string{"lint", "warn.yaml"}, exitOK, "warn.yaml:3:1: warning: GlobalNetworkPolicy/g: selects no endpoint", ""},
		{[]string{"lint", "--strict", "--ignore", "selects-nothing", "warn.yaml"}, exitOK, "3 objects: nothing found, 1 ignored.", ""},
		{[]string{"lint", "--ignore", "no-dns,selects-nothin", "warn.yaml"}, exitUnusable, "", `unknown code "selects-nothin"; did you mean "selects-nothing"?`},
		{[]string{"lint", "--ignore", "invalid", "warn.yaml"}, exitUnusable, "", "findings of code invalid cannot be ignored"},
		{[]string{"lint", "--strict", "ignored.yaml"}, exitOK, "3 objects: nothing found, 1 ignored.", ""},
		{[]string{"lint", "misspelt.yaml"}, exitOK, `misspelt.yaml:2:88: warning: GlobalNetworkPolicy/g: metadata.annotations[tierwall.io/lint-ignore]: unknown code "nodns"; did you mean "no-dns"? (invalid)`, ""},
		{[]string{"lint", "slip.yaml"}, exitUnusable, `slip.yaml:1:36: error: Networkpolicy/x: kind: networking.k8s.io has no kind "Networkpolicy"; did you mean "NetworkPolicy"? (unreadable)`, ""},
		{[]string{"lint", "other.yaml"}, exitOK, `other.yaml:1:1: info: 1 object of unknown kind ConfigMap (v1) skipped (skipped)`, ""},
		{[]string{"lint", "--strict", "cilium.yaml"}, exitNegative, `cilium.yaml:1:1: warning: 1 object of unknown kind CiliumNetworkPolicy (cilium.io/v2) skipped; tierwall convert translates it (skipped)`, ""},
		{[]string{"lint", "http.yaml"}, exitNegative, `http.yaml:1:132: error: GlobalNetworkPolicy.projectcalico.org/g: spec.ingress[0].http: has no equivalent; what needs it is not allowed (untranslated)`, ""},
		{[]string{"lint", "-o", "github", "warn.yaml"}, exitOK, "::warning title=selects-nothing,file=warn.yaml,line=3,col=1::GlobalNetworkPolicy/g: selects no endpoint", ""},
		{[]string{"lint", "--strict", "warn.yaml"}, exitNegative, "1 warning", ""},
		{[]string{"lint", "--level", "error", "--strict", "warn.yaml"}, exitNegative, "1 warning", ""},
		{[]string{"lint", "-f", "warn.yaml"}, exitOK, "selects-nothing", ""},
		{[]string{"lint", "alone.yaml"}, exitOK, "1 object: nothing found.", ""},
		{[]string{"lint", "broken.yaml"}, exitUnusable, "broken.yaml:1: error: not valid YAML: ", ""},
		{[]string{"lint", "-o", "sarif", "broken.yaml"}, exitUnusable, `"ruleId": "unreadable"`, ""},
		{[]string{"lint", "none"}, exitUnusable, "", "none: no such file or folder"},
		{[]string{"lint", "--level", "bad", "warn.yaml"}, exitUnusable, "", "want error, warning or info"},
		{[]string{"lint"}, exitUnusable, "", "cluster"},
	}
	for _, tt := range tests {
		got := runMain(t, "", tt.args...)
		if got.status != tt.status || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errOut, tt.errOut) {
			t.Errorf("%v: got %+v", tt.args, got)
		}
	}
}
