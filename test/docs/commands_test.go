package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/cmd"
)

// shellBlock is a block of commands; the indent is that of a list.
var shellBlock = regexp.MustCompile("(?s)\n( *)```(sh|console)\n(.*?\n) *```")

// stands are the folders that pages speak of as the reader's own, and what stands
// for them here. Pages of testdata/docs have files of their own.
var stands = map[string]string{
	"my-manifests": "config/samples", "my-changed-manifests": "after", "policies": "config/samples", "tests": "config/samples/tests",
	"/tmp/base/policies": "config/samples", "before": "config/samples", "change.yaml": "config/samples/20-security", "enforce.yaml": "config/samples/10-tierwall",
}

// pageCommand is a command of Tierwall on a page.
type pageCommand struct {
	page, line string
	args       []string
	output     []string // that the page shows; nil: none
}

// pageCommands finds the commands in the blocks of a page.
func pageCommands(t *testing.T, page string) []pageCommand {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []pageCommand
	for _, m := range shellBlock.FindAllStringSubmatch("\n"+string(text), -1) {
		var open *pageCommand
		lines := strings.Split(strings.ReplaceAll(m[3], "\\\n", " "), "\n")
		for _, line := range lines[:len(lines)-1] {
			line = strings.TrimPrefix(line, m[1])
			command, typed := strings.CutPrefix(line, "$ ")
			if m[2] == "console" && !typed {
				if open != nil {
					open.output = append(open.output, line)
				}
				continue
			}
			open = nil
			for _, part := range strings.FieldsFunc(command, func(r rune) bool { return r == '|' || r == ';' || r == '&' }) {
				args := words(part)
				if len(args) > 0 && args[0] == "kubectl" && len(args) > 1 && args[1] == "tierwall" {
					args = args[1:]
				}
				if len(args) > 3 && slices.Equal(args[:3], []string{"go", "run", "."}) {
					args = args[2:]
					args[0] = "tierwall"
				}
				if len(args) == 0 || strings.TrimPrefix(args[0], "./") != "tierwall" {
					continue
				}
				args[0] = "tierwall"
				out = append(out, pageCommand{page: page, line: strings.TrimSpace(part), args: args})
				open = &out[len(out)-1]
			}
		}
	}
	return out
}

// words splits a command as a shell does: quotes, comments and redirections.
func words(command string) []string {
	var out []string
	for _, w := range regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(command, -1) {
		switch {
		case strings.HasPrefix(w, "#"), strings.HasPrefix(w, ">"):
			return out
		default:
			out = append(out, strings.Trim(w, `'"`))
		}
	}
	return out
}

// needsCluster reports whether a command reads a live cluster.
func (c *pageCommand) needsCluster() bool {
	has := func(flags ...string) bool {
		return slices.ContainsFunc(c.args, func(a string) bool { return slices.Contains(flags, a) })
	}
	switch c.args[1] {
	case "status":
		return true
	case "flows", "audit":
		return !has("--records", "--address")
	case "unused", "recommend":
		return !has("-f") || !has("--records", "--address")
	case "explain", "effective", "render", "matrix", "who-can", "what-can", "report":
		return !has("-f") || has("--from-cluster")
	case "diff":
		return has("-f") || has("--from-cluster")
	case "lint":
		return len(c.args) == 2
	case "test":
		return has("--from-cluster")
	}
	return false
}

// service reports whether a command runs until it is ended, or programs a kernel.
func (c *pageCommand) service() bool {
	return slices.Contains([]string{"agent", "manager", "demo", "ui"}, c.args[1])
}

// folderOf makes what a page's commands find around them.
func folderOf(t *testing.T, repo, page string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "config", "samples"), os.DirFS(filepath.Join(repo, "config", "samples"))); err != nil {
		t.Fatal(err)
	}
	if filepath.Base(filepath.Dir(page)) == "scenarios" {
		if err := os.CopyFS(filepath.Join(dir, "test", "scenarios"), os.DirFS(filepath.Dir(page))); err != nil {
			t.Fatal(err)
		}
	}
	own := filepath.Join(repo, "test", "docs", "testdata", strings.TrimSuffix(filepath.Base(page), ".md"))
	if _, err := os.Stat(own); err == nil {
		if err := os.CopyFS(dir, os.DirFS(own)); err != nil {
			t.Fatal(err)
		}
	}
	// What diff compares with: the samples, with one policy narrower and one wider.
	after := filepath.Join(dir, "after")
	if err := os.CopyFS(after, os.DirFS(filepath.Join(repo, "config", "samples"))); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][3]string{
		{"40-teams/shop.yaml", "operator: In, values: [catalog, cart, checkout]", "operator: In, values: [catalog, cart]"},
		{"20-security/20-block-known-bad.yaml", "  - action: Deny\n    source:", "  - action: Deny\n    protocol: TCP\n    source:"},
	} {
		path := filepath.Join(after, change[0])
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), change[1]) {
			t.Fatalf("%s has no %q", change[0], change[1])
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), change[1], change[2], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for name, target := range stands {
		if _, err := os.Lstat(name); err != nil && !filepath.IsAbs(name) {
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
}

// TestPageCommands runs every command of Tierwall in every page, and holds what it
// prints to what the page shows. A command that reads a live cluster has to get as
// far as asking for one; services and what programs a kernel have to accept their
// flags. Both are listed.
func TestPageCommands(t *testing.T) {
	repo, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(repo)
	run, listed := 0, 0
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			commands := pageCommands(t, page)
			folderOf(t, repo, page)
			for _, c := range commands {
				if len(c.args) < 2 {
					t.Errorf("%s: no command", c.line)
					continue
				}
				args := slices.Clone(c.args)
				for i, a := range args {
					if to, ok := stands[strings.TrimSuffix(a, "/")]; ok && filepath.IsAbs(a) {
						args[i] = to
					}
				}
				if c.service() {
					args = append(args, "--help")
				}
				var out, errOut bytes.Buffer
				status := cmd.Main(args, strings.NewReader(""), &out, &errOut)
				switch {
				case c.needsCluster():
					listed++
					t.Logf("needs a cluster: %s", c.line)
					if status != 2 || !strings.Contains(errOut.String(), "no kubeconfig found") {
						t.Errorf("%s: status %d, want that it asks for a cluster: %s", c.line, status, errOut.String())
					}
				case c.service():
					listed++
					t.Logf("not run, but for its flags: %s", c.line)
					if status != 0 {
						t.Errorf("%s: status %d: %s", c.line, status, errOut.String())
					}
				case c.output != nil:
					run++
					holds(t, c.line, c.output, out.String()+errOut.String())
				default:
					run++
					// What a pipe would have brought is empty.
					if status == 2 && !slices.Contains(args, "-") {
						t.Errorf("%s: status 2: %s", c.line, errOut.String())
					}
					if status == 1 && args[1] == "test" {
						t.Errorf("%s: a test fails:\n%s", c.line, out.String())
					}
				}
			}
		})
	}
	t.Logf("%d commands run, %d not run or not to their end", run, listed)
	if run < 20 || listed < 10 {
		t.Errorf("%d commands run, %d listed: are they still found?", run, listed)
	}
}

// TestPageFixture: the policy test of the page is the one that its commands run.
func TestPageFixture(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	fixture, err := os.ReadFile("testdata/policy-tests/tests/test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```yaml\n"+string(fixture)+"```") {
		t.Error("docs/policy-tests.md shows another test than testdata/policy-tests/tests/test.yaml")
	}
}

// holds compares the lines of a page with those of an output: they come in this
// order, and a line with an ellipsis stands for any number of lines.
func holds(t *testing.T, command string, shown []string, output string) {
	t.Helper()
	got := strings.Split(output, "\n")
	gap := true // the block may start anywhere
	for _, want := range shown {
		if strings.TrimSpace(want) == "…" {
			gap = true
			continue
		}
		i := 0
		for gap && i < len(got) && got[i] != want {
			i++
		}
		if i >= len(got) || got[i] != want {
			t.Errorf("%s: the output does not have this line here:\n%s\nit is\n%s", command, want, output)
			return
		}
		got, gap = got[i+1:], false
	}
}
