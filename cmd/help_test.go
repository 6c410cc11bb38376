package cmd

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// helps calls visit with the help text of every command, by its path.
func helps(t *testing.T, visit func(path, text string)) {
	t.Helper()
	var s strings.Builder
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		s.Reset()
		c.SetOut(&s)
		if err := c.Help(); err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
		}
		visit(c.CommandPath(), s.String())
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, name := range []string{"tierwall", "kubectl tierwall"} {
		root := newRootCommand(name, streams{in: strings.NewReader(""), out: &s, errOut: &s})
		root.InitDefaultCompletionCmd()
		root.InitDefaultHelpCmd()
		walk(root)
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	n := 0
	helps(t, func(path, text string) {
		n++
		for _, line := range strings.Split(text, "\n") {
			if utf8.RuneCountInString(line) > helpWidth {
				t.Errorf("%s --help: a line of %d columns: %s", path, utf8.RuneCountInString(line), line)
			}
		}
	})
	if n < 20 {
		t.Errorf("the help of %d commands", n)
	}
}

func TestEveryCommandHasItsGroup(t *testing.T) {
	root := newRootCommand("tierwall", streams{})
	for _, c := range root.Commands() {
		if _, ok := groupOf[c.Name()]; !ok && c.Name() != "version" && c.Name() != "options" {
			t.Errorf("%s is in no group", c.Name())
		}
	}
	for name := range groupOf {
		if c, _, err := root.Find([]string{name}); err != nil || c == root {
			t.Errorf("groupOf has %s, which is no command", name)
		}
	}
}

func TestFilenameMeansOneThing(t *testing.T) {
	root := newRootCommand("tierwall", streams{})
	usage := ""
	for _, c := range root.Commands() {
		f := c.Flags().ShorthandLookup("f")
		if f == nil {
			continue
		}
		if usage == "" {
			usage = f.Usage
		}
		// Lint says besides that an argument is the same.
		if f.Name != "filename" || f.Usage != usage && c.Name() != "lint" {
			t.Errorf("%s: -f is --%s: %s", c.Name(), f.Name, f.Usage)
		}
	}
}

func TestReflow(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"lines are joined", "a\nb c", "a b c"},
		{"and broken", "aaaa bbbb cccc", "aaaa bbbb\ncccc"},
		{"a word that does not fit", "a bbbbbbbbbbbbbbb c", "a\nbbbbbbbbbbbbbbb\nc"},
		{"paragraphs stay apart", "a\n\nb", "a\n\nb"},
		{"lists stay", "a\n\n  b\n  c\n\nd\ne", "a\n\n  b\n  c\n\nd e"},
		{"runes count, not bytes", "éééé éééé", "éééé éééé"},
		{"nothing", "", ""},
	} {
		if got := reflow(tt.text, 10); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ name, text, want string }{
		{"short", "  a -b c", "  a -b c"},
		{"broken before a flag", "  tierwall x --from a --to b", "  tierwall x --from a \\\n      --to b"},
		{"no flag to break at", "  tierwall xxxxxxxxxxxxxxxxxxxxxxxxxxx", "  tierwall xxxxxxxxxxxxxxxxxxxxxxxxxxx"},
	} {
		if got := breakExamples(tt.text, 25); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
