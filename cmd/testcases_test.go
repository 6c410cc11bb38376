package cmd

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"strings"
	"testing"
)

// shopWithTrial is the shop with two frontends and a policy on trial that would
// close the backend.
const shopWithTrial = shop + `
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: shop, labels: {app: frontend, also: other}}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: trial}
spec: {order: 10, enforcement: Audit, selector: app == 'backend', types: [Ingress], ingress: [{action: Deny}]}
`

func testFile(cases string) string {
	return "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: shop}\nspec:\n  resources: [shop.yaml]\n  cases:\n" + cases
}

func TestCasesOfSeveralConnections(t *testing.T) {
	inFolder(t, map[string]string{"shop.yaml": shopWithTrial, "t.yaml": testFile(`
  - {name: everybody, from: {namespace: shop}, to: {pod: shop/backend, ports: [http, 8080]}, expect: Allow}
  - {name: by labels, from: {selector: app == 'frontend'}, to: {pod: shop/backend, port: http}, expect: Allow}
  - {name: refused, from: {namespace: shop}, to: {selector: app == 'backend', port: 8080}, expect: Deny}
  - {name: on trial, from: {pod: shop/frontend}, to: {pod: shop/backend, port: 8080}, expect: Allow, expectAudited: Deny}
  - {name: wrong trial, from: {pod: shop/frontend}, to: {pod: shop/backend, port: 8080}, expect: Allow, expectAudited: Allow}
  - {name: a way, in: "node:nowhere", from: {ip: 10.0.0.9}, to: {pod: shop/backend, port: 8080}, expect: Deny}
`)})
	got := runMain(t, "", "test", "t.yaml")
	n := 0
	for _, line := range strings.Split(got.out, "\n") {
		for _, want := range []string{
			"PASS everybody  expected Allow, got it for all 4 connections", "PASS by labels  expected Allow, got it for all 2 connections",
			"FAIL refused  2 of 2 connections fail, such as shop/frontend → shop/backend port 8080: expected Deny, got Allow: ",
			"PASS on trial  expected Allow, got Allow: ",
			"FAIL wrong trial  expected Allow, got Allow: ",
			`ERROR a way  t.yaml:`,
		} {
			if strings.HasPrefix(line, want) {
				n++
			}
		}
	}
	if n != 6 || got.status != exitUnusable {
		t.Errorf("%d of 6 lines, status %d:\n%s", n, got.status, got.out)
	}
	if !strings.Contains(got.out, "with audited policies enforced: expected Allow, got Deny: ingress tier default GlobalNetworkPolicy/trial rule 0") {
		t.Errorf("got\n%s", got.out)
	}

	only := runMain(t, "", "test", "--run", "^shop/on ", "t.yaml")
	if only.status != exitOK || strings.Count(only.out, "PASS") != 1 {
		t.Errorf("got %+v", only)
	}
	if got := runMain(t, "", "test", "--run", "nothing of the kind", "t.yaml"); got.status != exitUnusable || got.errOut != "error: --run \"nothing of the kind\" matches no case\n" {
		t.Errorf("got %+v", got)
	}
	if got := runMain(t, "", "test", "--run", "(", "t.yaml"); got.status != exitUnusable || !strings.HasPrefix(got.errOut, "error: --run: ") {
		t.Errorf("got %+v", got)
	}
}

// What cannot be read stops no other file, and every format reports it.
func TestGoodFilesRunBesideBrokenOnes(t *testing.T) {
	inFolder(t, map[string]string{"t/shop.yaml": shop, "t/a.yaml": "kind: PolicyTest\nspec: [",
		"t/b.yaml": testFile("  - {name: good, from: {pod: shop/frontend}, to: {pod: shop/backend, port: 8080}, expect: Allow}\n")})
	got := runMain(t, "", "test", "-f", "t")
	if got.status != exitUnusable || !strings.Contains(got.out, "PASS good") || !strings.Contains(got.errOut, "error: t/a.yaml:") {
		t.Errorf("got %+v", got)
	}
	got = runMain(t, "", "test", "-o", "json", "t")
	var report struct {
		Tests          []any
		Passed, Errors int
	}
	if err := json.Unmarshal([]byte(got.out), &report); err != nil || report.Passed != 1 || report.Errors != 1 || len(report.Tests) != 2 {
		t.Errorf("%v: got %+v", err, got)
	}
	got = runMain(t, "", "test", "-o", "junit", "t")
	var j junitSuites
	if err := xml.Unmarshal([]byte(got.out), &j); err != nil || j.Errors != 1 || len(j.Suites) != 2 {
		t.Errorf("%v: got %+v", err, got)
	}
	got = runMain(t, "", "test", "-o", "junit", "t/a.yaml")
	if err := xml.Unmarshal([]byte(got.out), &j); err != nil || got.status != exitUnusable {
		t.Errorf("nothing can be read: %v: got %+v", err, got)
	}
}

func TestCasesOnACluster(t *testing.T) {
	args := cluster(t)
	inFolderAlso(t, "t.yaml", testFile("  - {name: live, from: {pod: shop/frontend}, to: {ip: 1.1.1.1, port: 80}, expect: Allow}\n"))
	if got := runMain(t, "", append([]string{"test", "--from-cluster", "t.yaml"}, args...)...); got.status != exitOK || !strings.Contains(got.out, "PASS live") {
		t.Errorf("got %+v", got)
	}
}

func TestDiffEnforceAudited(t *testing.T) {
	inFolder(t, map[string]string{"shop.yaml": shopWithTrial})
	got := runMain(t, "", "diff", "--enforce-audited", "shop.yaml")
	if got.status != exitNegative || !strings.Contains(got.out, "GlobalNetworkPolicy/trial") {
		t.Errorf("got %+v", got)
	}
	two := runMain(t, "", "diff", "--enforce-audited", "shop.yaml", "shop.yaml")
	if two != got {
		t.Errorf("with both sides: got %+v, want %+v", two, got)
	}
	if got := runMain(t, "", "diff", "shop.yaml", "shop.yaml"); got.status != exitOK {
		t.Errorf("got %+v", got)
	}
}

// inFolderAlso adds a file to the working directory.
func inFolderAlso(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
