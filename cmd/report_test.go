package cmd

import (
	"os"
	"strings"
	"testing"
)

// hostile has text that would be markup if it were not escaped.
const hostile = shop + `
---
apiVersion: v1
kind: Pod
metadata: {name: evil, namespace: shop, labels: {app: evil}}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: p}
spec:
  order: 10
  selector: "app == '<script>alert(1)</script>'"
  types: [Ingress]
  ingress: [{action: Deny, metadata: {annotations: {name: "</pre><img src=x onerror=alert(1)>"}}}]
`

func TestReport(t *testing.T) {
	inFolder(t, map[string]string{
		"before/shop.yaml": shop, "after/shop.yaml": hostile,
		"tests/t.yaml": policyTest("[../after/shop.yaml]", `{name: "<i>in</i>|x", from: {pod: shop/frontend}, to: {pod: shop/backend, port: http}, expect: Deny}`),
	})
	got := runMain(t, "", "report", "-f", "after", "--tests", "tests", "--base", "before", "--title", "<b>t</b>")
	if got.status != exitNegative {
		t.Errorf("a failed test: status %d, %s", got.status, got.errOut)
	}
	for _, want := range []string{"<h1>&lt;b&gt;t&lt;/b&gt;</h1>", "<h2>What changes</h2>", "<h2>Lint</h2>", "<h2>Policy tests</h2>", "<h2>Who reaches whom</h2>", "&lt;i&gt;in&lt;/i&gt;|x"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, forbidden := range []string{"<script", "<img", "<i>", "src=\"", "href=", "@import", "url("} {
		if strings.Contains(got.out, forbidden) {
			t.Errorf("the page has %s", forbidden)
		}
	}
	md := runMain(t, "", "report", "-f", "after", "--tests", "tests", "--base", "before", "-o", "md")
	if md.status != exitNegative || !strings.Contains(md.out, "| FAIL | shop | &lt;i&gt;in&lt;/i&gt;\\|x |") || strings.Contains(strings.Split(md.out, "## What changes")[0], "<") {
		t.Errorf("got %+v", md)
	}
	again := runMain(t, "", "report", "-f", "after", "--tests", "tests", "--base", "before", "--title", "<b>t</b>")
	if again != got {
		t.Error("the same input makes another page")
	}

	if err := os.WriteFile("tests/broken.yaml", []byte("kind: PolicyTest\nspec: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runMain(t, "", "report", "-f", "after", "--tests", "tests"); got.status != exitUnusable || !strings.Contains(got.out, "broken.yaml") || !strings.Contains(got.out, "FAIL") {
		t.Errorf("a test that cannot be read: got %+v", got)
	}
	if got := runMain(t, "", "report", "-f", "before"); got.status != exitOK || strings.Contains(got.out, "What changes") {
		t.Errorf("got %+v", got)
	}
	if got := runMain(t, "", "report", "-f", "-"); got.status != exitUnusable || got.out != "" {
		t.Errorf("got %+v", got)
	}
}
