package cmd

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/lint"
)

// A SARIF log has what SARIF 2.1.0 requires of it, and names each code once.
func TestSARIF(t *testing.T) {
	file := filepath.Join("testdata", "lint", "bad.yaml")
	got := runMain(t, "", "lint", "-o", "sarif", file)
	var log map[string]any
	if err := json.Unmarshal([]byte(got.out), &log); err != nil || got.status != exitNegative {
		t.Fatalf("status %d, %v", got.status, err)
	}
	// object and list return a required part of the log.
	object := func(v any, key string) map[string]any {
		o, ok := v.(map[string]any)[key].(map[string]any)
		if !ok {
			t.Fatalf("%v has no object %s", v, key)
		}
		return o
	}
	list := func(v any, key string) []any {
		l, ok := v.(map[string]any)[key].([]any)
		if !ok {
			t.Fatalf("%v has no list %s", v, key)
		}
		return l
	}
	str := func(v any, key string) string {
		s, ok := v.(map[string]any)[key].(string)
		if !ok || s == "" {
			t.Fatalf("%v has no text %s", v, key)
		}
		return s
	}
	if str(log, "version") != "2.1.0" {
		t.Errorf("version %v", log["version"])
	}
	runs := list(log, "runs")
	driver := object(object(runs[0], "tool"), "driver")
	if len(runs) != 1 || str(driver, "name") != "tierwall" {
		t.Errorf("%d runs, driver %v", len(runs), driver["name"])
	}
	if _, err := url.ParseRequestURI(str(driver, "informationUri")); err != nil {
		t.Error(err)
	}
	var ids []string
	for _, r := range list(driver, "rules") {
		ids = append(ids, str(r, "id"))
		str(object(r, "shortDescription"), "text")
	}
	if len(ids) != len(lint.Codes) || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
		t.Errorf("rules %v", ids)
	}
	results := list(runs[0], "results")
	if len(results) < 20 {
		t.Errorf("%d results", len(results))
	}
	for _, r := range results {
		index, ok := r.(map[string]any)["ruleIndex"].(float64)
		if id := str(r, "ruleId"); !ok || ids[int(index)] != id {
			t.Errorf("rule %s has index %v", id, index)
		}
		if level := str(r, "level"); !slices.Contains([]string{"none", "note", "warning", "error"}, level) {
			t.Errorf("level %s", level)
		}
		str(object(r, "message"), "text")
		for _, l := range list(r, "locations") {
			at := object(l, "physicalLocation")
			if uri := str(object(at, "artifactLocation"), "uri"); uri != "testdata/lint/bad.yaml" {
				t.Errorf("uri %s", uri)
			}
			region := object(at, "region")
			for _, key := range []string{"startLine", "startColumn"} {
				if n, ok := region[key].(float64); !ok || n < 1 {
					t.Errorf("%s is %v", key, region[key])
				}
			}
		}
	}
}

// An empty log is a log, and paths are URIs.
func TestSARIFEdges(t *testing.T) {
	inFolder(t, map[string]string{"a b%.yaml": "a: [", "good.yaml": shop})
	got := runMain(t, "", "lint", "-o", "sarif", "--level", "error", "good.yaml")
	if got.status != exitOK || !strings.Contains(got.out, `"results": []`) {
		t.Errorf("got %+v", got)
	}
	if got = runMain(t, "", "lint", "-o", "sarif", "a b%.yaml"); !strings.Contains(got.out, `"uri": "a%20b%25.yaml"`) {
		t.Errorf("got %s", got.out)
	}
}

// Workflow commands are one line each, whatever the file is called.
func TestGitHubAnnotations(t *testing.T) {
	inFolder(t, map[string]string{"a,b:c%.yaml": "a: ["})
	got := runMain(t, "", "lint", "-o", "github", "a,b:c%.yaml")
	if want := "::error title=unreadable,file=a%2Cb%3Ac%25.yaml,line=1::not valid YAML: "; !strings.HasPrefix(got.out, want) || strings.Count(got.out, "\n") != 1 {
		t.Errorf("got %q, want %q", got.out, want)
	}
}

// Reports in JSON say what they are.
func TestLintReportKind(t *testing.T) {
	got := runMain(t, "", "lint", "-o", "json", filepath.Join("testdata", "lint", "good.yaml"))
	var r lintReport
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || r.APIVersion != "tierwall.io/v1alpha1" || r.Kind != "LintReport" {
		t.Errorf("%v: got %+v", err, r)
	}
}
