package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/cmd"
	"github.com/tierwall/tierwall/policy/lint"
)

// excerpt is a command in an HTML comment and the code block below it.
var excerpt = regexp.MustCompile("(?s)<!-- (tierwall [^>]*) -->\n```\n(.*?)\n```")

// link is the target of a Markdown link.
var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "CONTRIBUTING.md", "config/samples/README.md", "test/scenarios/README.md"}
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(found, docs...)
}

// TestExcerpts runs the commands whose output the pages show. The lines of a
// block must come in the output, in that order; a line with an ellipsis stands
// for any number of lines.
func TestExcerpts(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	n := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range excerpt.FindAllStringSubmatch(string(text), -1) {
			n++
			var out, errOut bytes.Buffer
			if status := cmd.Main(strings.Fields(m[1]), strings.NewReader(""), &out, &errOut); status == 2 {
				t.Errorf("%s: %s: exit status 2: %s", page, m[1], errOut.String())
				continue
			}
			holds(t, page+": "+m[1], strings.Split(m[2], "\n"), out.String())
		}
	}
	if n < 3 {
		t.Errorf("found %d excerpts, want at least 3", n)
	}
}

// TestLinks follows the links between the pages.
func TestLinks(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	n := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			n++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			}
		}
	}
	if n < 10 {
		t.Errorf("found %d links, want at least 10", n)
	}
}

// lintExample is a code of docs/lint.md, its example and the line about it.
var lintExample = regexp.MustCompile("(?s)\n### ([a-z-]+)\n(.*?)\n```yaml\n(.*?\n)```\n\n```\n(.*?)\n```")

// TestLintPage holds docs/lint.md to the linter: every code is there, with an example
// of which the linter says what the page shows.
func TestLintPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "lint.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range lintExample.FindAllStringSubmatch("\n"+string(text), -1) {
		code, about, example, want := m[1], m[2], m[3], m[4]
		if documented[code] {
			t.Errorf("%s: duplicate section", code)
		}
		documented[code] = true
		var out, errOut bytes.Buffer
		cmd.Main([]string{"tierwall", "lint", "-"}, strings.NewReader(example), &out, &errOut)
		if !strings.HasSuffix(want, "("+code+")") || !strings.Contains("\n"+out.String(), "\n"+want+"\n") {
			t.Errorf("%s: the page has\n%s\nand the linter says\n%s%s", code, want, out.String(), errOut.String())
		}
		severity := regexp.MustCompile(`^stdin[:0-9]*: ([a-z]+):`).FindStringSubmatch(want)
		severities, _, _ := strings.Cut(strings.TrimSpace(about), ".")
		if len(severity) != 2 || !strings.Contains(strings.ToLower(severities), severity[1]) {
			t.Errorf("%s: the page says %q of %q", code, severities, want)
		}
	}
	for _, c := range lint.Codes {
		if !documented[c.Name] {
			t.Errorf("%s is not documented", c.Name)
		}
		delete(documented, c.Name)
	}
	for code := range documented {
		t.Errorf("there is no code %s", code)
	}
}
