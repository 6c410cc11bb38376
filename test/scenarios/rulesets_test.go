package scenarios

import (
	"bytes"
	"context"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/budget"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
)

var update = flag.Bool("update", false, "write the rulesets of the scenarios anew")

// rulesetFile is the ruleset of one node of a scenario, beside its test.
func rulesetFile(test *manifests.Test, node string) string {
	return filepath.Join(filepath.Dir(test.Object.File), node+".nft")
}

// TestRulesets holds the ruleset that each node of each scenario gets to the file
// that stands beside the test, to be read and reviewed; -update writes them. nft
// must take each of them.
func TestRulesets(t *testing.T) {
	tests, err := manifests.FindTests([]string{"."}, manifests.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, rendered := map[string]bool{}, map[string]string{}
	for i := range tests {
		test := &tests[i]
		t.Run(test.Name, func(t *testing.T) {
			w := readWorld(t, test)
			spec, _, err := lab.FromObjects(w.objects)
			if err != nil {
				t.Fatal(err)
			}
			for _, node := range nodesOf(&spec) {
				file := rulesetFile(test, node)
				files[file] = true
				rendered[file] = w.render(node)
				compareFile(t, file, rendered[file])
			}
		})
	}
	// Of some scenarios alone nothing can be said of files that none has.
	if !strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		noStrays(t, files)
	}
	t.Run("accepted by nft", func(t *testing.T) { checkWithNft(t, rendered) })
}

// noStrays holds the folder to the files that scenarios have.
func noStrays(t *testing.T, files map[string]bool) {
	t.Helper()
	old, err := filepath.Glob("*/*.nft")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range old {
		if files[file] {
			continue
		}
		if !*update {
			t.Errorf("%s: no scenario has this node: run the test with -update", file)
		} else if err := os.Remove(file); err != nil {
			t.Error(err)
		}
	}
}

// render is what the agent of a node would program.
func (w *world) render(node string) string {
	ix := index.New(index.Options{Local: func(n string) bool { return n == node }})
	for _, o := range w.placed() {
		if m, _, _ := convert.Object(o); m != nil {
			ix.Upsert(m)
		}
	}
	compiler := dataplane.NewCompiler(dataplane.Options{})
	compiler.Apply(ix.Flush())
	budget.Apply(ix, nil)
	compiler.Apply(ix.Flush())
	return nftables.Render(dataplane.NewState(ix, node, compiler), nftables.Options{})
}

func compareFile(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile(file)
	switch {
	case err == nil && string(want) == got:
		return
	case *update:
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	case err != nil:
		t.Errorf("%v: run the test with -update, and read what it writes", err)
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	line := func(list []string) string {
		if i < len(list) {
			return list[i]
		}
		return "(the end)"
	}
	t.Errorf("%s:%d: the ruleset has changed: run the test with -update, and read the difference\ngot  %s\nwant %s", file, i+1, line(g), line(w))
}

// checkWithNft has nft check rulesets against a kernel, in a network namespace
// that has no others.
func checkWithNft(t *testing.T, rulesets map[string]string) {
	needLab(t)
	const node = "node"
	l, err := lab.New(context.Background(), lab.Spec{Nodes: []lab.Node{{Name: node, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	check := func(text string) error {
		c := l.Command(node, "nft", "-c", "-f", "-")
		c.Stdin = bytes.NewBufferString(text)
		out, err := c.CombinedOutput()
		return errorText(err, out)
	}
	for file, text := range rulesets {
		if err := check(text); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if check("table inet t {\n\tchain c {\n\t\tjump nowhere\n\t}\n}\n") == nil {
		t.Error("nft takes a jump to a chain that is not there: it checks nothing")
	}
}
