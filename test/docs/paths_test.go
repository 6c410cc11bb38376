package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// codeSpan is `code` in a line of Markdown.
	codeSpan = regexp.MustCompile("`([^`]+)`")
	// sourcePath is a path in the repository.
	sourcePath = regexp.MustCompile(`^(api|policy|dataplane|controllers|lab|cmd|test|config|docs|hack)(/[\w.-]+)*$`)
	sourceFile = regexp.MustCompile(`^[\w.]+\.go$`)
	identifier = regexp.MustCompile(`^[A-Za-z]\w*$`)
)

// TestPaths holds the pages for contributors to the tree: paths exist; a file without a
// folder stands beside the path before it; and a name behind a comma and a file,
// "`file.go`, `name`", is declared in that file.
func TestPaths(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	for _, page := range []string{"CONTRIBUTING.md", "docs/architecture.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, line := range strings.Split(string(text), "\n") {
			last, end := "", 0
			for _, m := range codeSpan.FindAllStringSubmatchIndex(line, -1) {
				span, between := line[m[2]:m[3]], line[end:m[0]]
				end = m[1]
				switch {
				case sourcePath.MatchString(span):
					last = span
				case sourceFile.MatchString(span) && last != "":
					last = filepath.Join(folder(last), span)
				case identifier.MatchString(span) && between == ", " && strings.HasSuffix(last, ".go"):
					if data, err := os.ReadFile(last); err == nil && !declares(data, span) {
						t.Errorf("%s:%d: %s declares no %s", page, i+1, last, span)
					}
					continue
				default:
					continue
				}
				n++
				if _, err := os.Stat(last); err != nil {
					t.Errorf("%s:%d: %v", page, i+1, err)
				}
			}
		}
		if n < 10 {
			t.Errorf("%s names only %d paths", page, n)
		}
	}
}

// declares reports whether a Go file declares a function, method, type, variable,
// constant or field of a name.
func declares(source []byte, name string) bool {
	return regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |var |const |\t)` + name + `\b`).Match(source)
}

// TestFoundByName holds the architecture's list to the behaviours that have to be found
// by their name.
func TestFoundByName(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "## Found by name\n")
	list, _, _ = strings.Cut(list, "\n## ")
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]*\w) \| (.*) \|$`).FindAllStringSubmatch(list, -1) {
		rows[m[1]] = m[2]
	}
	delete(rows, "behaviour")
	for _, behaviour := range []string{
		"Pass from the last tier", "order: nil comes last, ties", "failsafe ports", "named ports", "an unknown pod address is denied",
		"host endpoint of an interface", "preDNAT", "connections cut on a policy change", "deletion of a tier waits", "Enforced 12/12",
		"Calico's default-allow profile", "rate limit of log lines", "the runtime's bounded wait", "repair after a flush by another program",
		"one bad object isolated",
	} {
		if first, _, _ := strings.Cut(strings.TrimPrefix(rows[behaviour], "`"), "`"); !sourcePath.MatchString(first) {
			t.Errorf("%s: no path in %q", behaviour, rows[behaviour])
		}
		delete(rows, behaviour)
	}
	if len(rows) > 0 {
		t.Errorf("not in this test's list: %v", rows)
	}
}

// folder is a path's folder, or the path itself if it is one.
func folder(path string) string {
	if strings.HasSuffix(path, ".go") {
		return filepath.Dir(path)
	}
	return path
}
