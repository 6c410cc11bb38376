package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Packages that match run with the race detector, the others without, each once.
func TestRace(t *testing.T) {
	t.Chdir(t.TempDir())
	files := map[string]string{
		"go.mod":            "module example.com/m\n\ngo 1.26\n",
		"a/a.go":            "package a\n",
		"a/race_test.go":    "//go:build race\n\npackage a\n\nimport \"testing\"\n\nfunc TestRaced(t *testing.T) {}\n",
		"a/norace_test.go":  "//go:build !race\n\npackage a\n\nimport \"testing\"\n\nfunc TestPlain(t *testing.T) { t.Error(\"without\") }\n",
		"ab/race_test.go":   "//go:build race\n\npackage ab\n\nimport \"testing\"\n\nfunc TestRaced(t *testing.T) { t.Error(\"with\") }\n",
		"ab/norace_test.go": "//go:build !race\n\npackage ab\n\nimport \"testing\"\n\nfunc TestPlain(t *testing.T) {}\n",
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errOut strings.Builder
	got, err := testModule(".", time.Minute, []string{"./a/..."}, &out, &errOut)
	if err != nil || got != (tally{passed: 2}) {
		t.Errorf("%+v, %v\n%s%s", got, err, &out, &errOut)
	}
}
