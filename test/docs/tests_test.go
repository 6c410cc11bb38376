package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTests: the tests that pages name are there, so that what a page says is held to
// by something. `T/…` is a case of TestTenantsObjects, by the begin of its name.
func TestNamedTests(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	functions, files := map[string]bool{}, map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			functions[m[1]] = true
		}
		files[filepath.Base(path)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile(filepath.Join("policy", "verdict", "tenants_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`(Test[A-Z]\\w*|[a-z_]+_test\\.go|T/[^`]+)`").FindAllStringSubmatch(string(text), -1) {
			found++
			name := m[1]
			switch prefix, isCase := strings.CutPrefix(name, "T/"); {
			case name == "T/…": // how cases are named
			case isCase && !strings.Contains(string(cases), "{\""+strings.TrimSuffix(strings.TrimSuffix(prefix, "…"), " ")):
				t.Errorf("%s: there is no case %s", page, name)
			case !isCase && !functions[name] && !files[name]:
				t.Errorf("%s: there is no test %s", page, name)
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d tests in the pages", found)
	}
}
