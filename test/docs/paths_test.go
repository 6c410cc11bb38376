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
// "`file.go`, `name`", is in that file.
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
					if data, err := os.ReadFile(last); err == nil && !regexp.MustCompile(`\b`+span+`\b`).Match(data) {
						t.Errorf("%s:%d: %s has no %s", page, i+1, last, span)
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

// folder is a path's folder, or the path itself if it is one.
func folder(path string) string {
	if strings.HasSuffix(path, ".go") {
		return filepath.Dir(path)
	}
	return path
}
