package cmd

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const shop = `apiVersion: v1
kind: Pod
metadata: {name: frontend, namespace: shop, labels: {app: frontend}}
---
apiVersion: v1
kind: Pod
metadata: {name: backend, namespace: shop, labels: {app: backend}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: backend, namespace: shop}
spec:
  podSelector: {matchLabels: {app: backend}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: frontend}}}]
    ports: [{port: http}]
`

// policyTest makes a PolicyTest of one-line cases.
func policyTest(resources string, cases ...string) string {
	return "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: shop}\nspec:\n  resources: " + resources +
		"\n  cases:\n  - " + strings.Join(cases, "\n  - ") + "\n"
}

const (
	allowed  = "{name: in, from: {pod: shop/frontend}, to: {pod: shop/backend, port: http}, expect: Allow}"
	denied   = "{name: out, from: {ip: 203.0.113.7}, to: {pod: shop/backend, port: 8080}, expect: Deny, decidedBy: {ingress: {tier: default, policy: NetworkPolicy/shop/backend, rule: end-of-tier}}}"
	failing  = "{name: wrong, from: {ip: 203.0.113.7}, to: {pod: shop/backend, port: 8080}, expect: Allow, decidedBy: {ingress: {rule: 0}}}"
	unusable = "{name: nobody, from: {pod: shop/fronted}, to: {pod: shop/backend, port: 8080}, expect: Allow}"
)

func TestTestCommand(t *testing.T) {
	const (
		passIn = "PASS in  expected Allow, got Allow: egress default; ingress tier default NetworkPolicy/shop/backend rule 0\n"
		passOu = "PASS out  expected Deny, got Deny: ingress tier default NetworkPolicy/shop/backend end-of-tier\n"
	)
	tests := []struct {
		name   string
		files  map[string]string
		stdin  string
		args   []string
		status int
		out    string
		errOut string
	}{
		{
			name:  "all pass; resources are relative to the test, other files are not read",
			files: map[string]string{"tests/a.yaml": policyTest("[../shop.yaml]", allowed, denied), "shop.yaml": shop, "tests/broken.yaml": "{{ template }}"},
			args:  []string{"tests"}, status: exitOK,
			out: "PolicyTest/shop (tests/a.yaml)\n" + passIn + passOu + "2 cases in 1 test: 2 passed\n",
		},
		{
			name:  "a failure",
			files: map[string]string{"a.yaml": policyTest("[shop.yaml]", failing, denied), "shop.yaml": shop},
			args:  []string{"a.yaml"}, status: exitNegative,
			out: "PolicyTest/shop (a.yaml)\nFAIL wrong  expected Allow, got Deny: ingress tier default NetworkPolicy/shop/backend end-of-tier; ingress rule: expected 0, got end-of-tier (a.yaml:7)\n" +
				passOu + "2 cases in 1 test: 1 passed, 1 failed\n",
		},
		{
			name:  "objects in the test's own file",
			files: map[string]string{"a.yaml": policyTest("[]", allowed) + "---\n" + shop},
			args:  []string{"."}, status: exitOK,
			out: "PolicyTest/shop (a.yaml)\n" + passIn + "1 case in 1 test: 1 passed\n",
		},
		{
			name:  "from standard input",
			stdin: policyTest("[]", allowed) + "---\n" + shop,
			args:  []string{"-"}, status: exitOK,
			out: "PolicyTest/shop (stdin)\n" + passIn + "1 case in 1 test: 1 passed\n",
		},
		{
			name:  "documents that are no part of the test",
			files: map[string]string{"a.yaml": policyTest("[shop.yaml]", allowed) + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n", "shop.yaml": shop},
			args:  []string{"a.yaml"}, status: exitOK,
			out:    "PolicyTest/shop (a.yaml)\n" + passIn + "1 case in 1 test: 1 passed\n",
			errOut: "warning: a.yaml:1: 1 document of the same file ignored, because spec.resources names the objects of the test\n",
		},
		{
			name:  "a case that cannot be run does not keep the others from it",
			files: map[string]string{"a.yaml": policyTest("[shop.yaml]", unusable, allowed), "shop.yaml": shop},
			args:  []string{"a.yaml"}, status: exitUnusable,
			out: "PolicyTest/shop (a.yaml)\nERROR nobody  a.yaml:7:27: PolicyTest/shop: spec.cases[0].from.pod: shop/fronted: there is no such pod; did you mean shop/frontend?\n" +
				passIn + "1 case in 1 test: 1 passed, 1 could not be run\n",
			errOut: "error: a.yaml:7:27: PolicyTest/shop: spec.cases[0].from.pod: shop/fronted: there is no such pod; did you mean shop/frontend?\n",
		},
		{
			name:  "resources that are not there",
			files: map[string]string{"t/a.yaml": policyTest("[../none.yaml]", allowed), "t/b.yaml": policyTest("[../shop.yaml]", allowed), "shop.yaml": shop},
			args:  []string{"t"}, status: exitUnusable,
			out:    "PolicyTest/shop (t/b.yaml)\n" + passIn + "1 case in 2 tests: 1 passed, 1 could not be run\n",
			errOut: "error: t/a.yaml:5:15: PolicyTest/shop: spec.resources[0]: none.yaml: no such file or folder\n",
		},
		{
			name:  "an invalid object",
			files: map[string]string{"a.yaml": policyTest("[]", allowed) + "---\n" + strings.Replace(shop, "port: http", "port: 70000", 1)},
			args:  []string{"a.yaml"}, status: exitUnusable,
			out:    "0 cases in 1 test: 0 passed, 1 could not be run\n",
			errOut: "error: a.yaml:25:14: NetworkPolicy/shop/backend: spec.ingress[0].ports[0].port: ",
		},
		{
			name:  "an invalid object, evaluated all the same",
			files: map[string]string{"a.yaml": policyTest("[]", denied) + "---\n" + strings.Replace(shop, "port: http", "port: 70000", 1)},
			args:  []string{"a.yaml", "--allow-invalid"}, status: exitOK,
			out:    "PolicyTest/shop (a.yaml)\n" + passOu + "1 case in 1 test: 1 passed\n",
			errOut: "warning: a.yaml:25:14: NetworkPolicy/shop/backend: spec.ingress[0].ports[0].port: ",
		},
		{
			name:  "resources of two tests that cannot be used are named once",
			files: map[string]string{"a.yaml": policyTest("[b.yaml]", allowed) + "---\n" + policyTest("[b.yaml]", denied), "b.yaml": "a: b: c"},
			args:  []string{"a.yaml"}, status: exitUnusable,
			out:    "0 cases in 2 tests: 0 passed, 2 could not be run\n",
			errOut: "error: b.yaml:1: not valid YAML: mapping values are not allowed in this context\n",
		},
		{
			name:  "a tier that does not exist",
			files: map[string]string{"a.yaml": policyTest("[]", allowed) + "---\n" + shop + "---\napiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: g}\nspec:\n  tier: securty\n  types: [Ingress]\n"},
			args:  []string{"a.yaml"}, status: exitOK,
			out:    "PolicyTest/shop (a.yaml)\n" + passIn + "1 case in 1 test: 1 passed\n",
			errOut: "warning: a.yaml:31:3: GlobalNetworkPolicy/g: spec.tier: tier \"securty\" does not exist: the policy is evaluated after all existing tiers, in a tier that denies by default\n",
		},
		{
			name:  "no tests",
			files: map[string]string{"d/shop.yaml": shop},
			args:  []string{"d"}, status: exitUnusable,
			errOut: "error: no PolicyTest found in d\n",
		},
		{
			name: "no path", args: nil, status: exitUnusable, errOut: "error: want a PATH: a file, a folder, or \"-\" for standard input (see tierwall test --help)\n",
		},
		{
			name: "no such path", args: []string{"none"}, status: exitUnusable, errOut: "error: none: no such file or folder\n",
		},
		{
			name: "a data plane that is not built", args: []string{"--dataplane", "ebpf", "."}, status: exitUnusable,
			errOut: "error: --dataplane ebpf: want core, nftables or iptables\n",
		},
		{
			name:  "resources from standard input",
			files: map[string]string{"a.yaml": policyTest(`["-"]`, allowed)},
			args:  []string{"a.yaml"}, status: exitUnusable,
			out:    "0 cases in 1 test: 0 passed, 1 could not be run\n",
			errOut: "error: a.yaml:5:15: PolicyTest/shop: spec.resources[0]: want a file or folder\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inFolder(t, tt.files)
			got := runMain(t, tt.stdin, append([]string{"test"}, tt.args...)...)
			if got.status != tt.status {
				t.Errorf("status %d, want %d", got.status, tt.status)
			}
			if got.out != tt.out {
				t.Errorf("got\n%s\nwant\n%s", got.out, tt.out)
			}
			if !strings.HasPrefix(got.errOut, tt.errOut) || tt.errOut == "" && got.errOut != "" || strings.Count(got.errOut, "\n") > 1 {
				t.Errorf("standard error\n%s\nwant\n%s", got.errOut, tt.errOut)
			}
		})
	}
}

func TestTestFormats(t *testing.T) {
	inFolder(t, map[string]string{"a.yaml": policyTest("[shop.yaml]", allowed, failing, unusable), "shop.yaml": shop})
	for format, unmarshal := range map[string]func([]byte, any) error{
		"json": json.Unmarshal,
		"yaml": func(b []byte, v any) error { return yaml.Unmarshal(b, v) },
	} {
		got := runMain(t, "", "test", "-o", format, "a.yaml")
		// The decision has types that are written only.
		var r struct {
			Tests []struct {
				File  string
				Cases []struct {
					Name, Result, Expected, Got, Error string
					Differences                        []string
					Line                               int
					Decision                           map[string]any
				}
			}
			Passed, Failed, Errors int
		}
		if err := unmarshal([]byte(got.out), &r); err != nil {
			t.Fatalf("%s: %v\n%s", format, err, got.out)
		}
		if got.status != exitUnusable || r.Passed != 1 || r.Failed != 1 || r.Errors != 1 || len(r.Tests) != 1 || len(r.Tests[0].Cases) != 3 {
			t.Fatalf("%s: status %d\n%s", format, got.status, got.out)
		}
		c := r.Tests[0].Cases
		if c[0].Result != "PASS" || c[0].Decision["action"] != "Allow" || c[1].Result != "FAIL" || c[1].Got != "Deny" || len(c[1].Differences) != 2 || c[2].Error == "" || c[2].Line != 9 {
			t.Errorf("%s: got %+v", format, c)
		}
	}

	got := runMain(t, "", "test", "-o", "junit", "a.yaml")
	var j junitSuites
	if err := xml.Unmarshal([]byte(got.out), &j); err != nil {
		t.Fatalf("%v\n%s", err, got.out)
	}
	if j.Tests != 3 || j.Failures != 1 || j.Errors != 1 || len(j.Suites) != 1 || j.Suites[0].Tests != 3 {
		t.Fatalf("got %+v", j)
	}
	c := j.Suites[0].Cases
	if c[0].Failure != nil || c[0].Error != nil || c[1].Failure == nil || c[2].Error == nil || !strings.Contains(c[1].Failure.Message, "expected Allow, got Deny") {
		t.Errorf("got %+v", c)
	}
}

// TestLive: without -f the commands want a cluster, and say so when there is none.
func TestLive(t *testing.T) {
	got := runMain(t, "", "effective", "--all")
	if got.status != exitUnusable || got.errOut != "error: no files (-f) and no cluster: no kubeconfig found: "+os.Getenv("KUBECONFIG")+": file does not exist\n" {
		t.Errorf("got %+v", got)
	}
}
