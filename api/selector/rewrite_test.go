package selector

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestRewriteKeys(t *testing.T) {
	prefix := func(k string) string { return "ns:" + k }
	fold := func(k string) string { return strings.TrimPrefix(k, "old/") }
	for _, c := range []struct {
		in   string
		f    func(string) string
		want string
	}{
		{"", prefix, "all()"},
		{"a == 'ns:a' && !has(b)", prefix, "ns:a == 'ns:a' && !has(ns:b)"},
		{"global() || a == 'x'", prefix, "global() || ns:a == 'x'"},
		{"old/a == 'x' && b == 'y'", fold, "a == 'x' && b == 'y'"},
		{"old/z == 'x' && b == 'y'", fold, "b == 'y' && z == 'x'"},
		{"old/a == 'x' || a == 'y'", fold, "a in {'x', 'y'}"},
		{"old/a == 'x' && a == 'y'", fold, "!all()"},
		{"has(c) && (old/a == 'x' || a == 'x')", fold, "a == 'x' && has(c)"},
		{"has(a)", func(string) string { return "" }, "has(`\"\"`)"},
	} {
		if s := mustParse(t, c.in).RewriteKeys(c.f); s.String() != c.want {
			t.Errorf("%s becomes %s, want %s", c.in, s, c.want)
		}
	}
}

func TestRewriteKeysLeavesGlobal(t *testing.T) {
	s := Global().RewriteKeys(func(string) string { return "x" })
	if !s.Evaluate(MapLabels{"x": ""}) || s.Evaluate(MapLabels{GlobalKey: ""}) {
		t.Error("global() looks at another label")
	}
}

// Global() is remembered although the canonical form has lost it.
func TestHasGlobalOfWhatWasWritten(t *testing.T) {
	for text, canonical := range map[string]string{
		"all() || global()":                             "all()",
		"global() && !all()":                            "!all()",
		"!global() || global()":                         "all()",
		"a == 'x' || a == 'y' && (b in {} && global())": "a == 'x'",
		"has(a) && !(all() || global())":                "!all()",
	} {
		s := mustParse(t, text)
		if s.String() != canonical || !s.HasGlobal() || !Not(s).HasGlobal() || !And(Has("b"), s).HasGlobal() || !Or(s, All()).HasGlobal() ||
			!s.RewriteKeys(strings.ToUpper).HasGlobal() || !And(s).HasGlobal() {
			t.Errorf("%s forgets global()", text)
		}
		if r := s.ReplaceGlobal(Has("c")); r.HasGlobal() || r.String() != canonical {
			t.Errorf("%s still has global() as %s", text, r)
		}
		if !s.ReplaceGlobal(s).HasGlobal() {
			t.Errorf("%s loses what it is replaced by", text)
		}
	}
	for _, s := range []*Selector{nil, {}, All(), None(), mustParse(t, "has(global) || global == 'global()'"), And(Has("a"), All())} {
		if s.HasGlobal() {
			t.Errorf("%s has global()", s)
		}
	}
}

// A rewritten selector sees under f(key) what the selector saw under key.
func TestRewriteKeysAgainstNaive(t *testing.T) {
	random(t, 2000, func(t *testing.T, r *rand.Rand) {
		e := parseable.expr(r, 4)
		f := func(k string) string { return "ns:" + k }
		if r.IntN(2) == 0 {
			f = func(k string) string { return strings.TrimLeft(k, "abin") } // joins keys
		}
		rewritten := e.build().RewriteKeys(f)
		checkCanonical(t, rewritten)
		for range 20 {
			l, seen := MapLabels{}, MapLabels{}
			for _, k := range parseable.keys {
				if r.IntN(2) == 0 {
					l[f(k)] = parseable.values[r.IntN(len(parseable.values))]
				}
			}
			for _, k := range parseable.keys {
				if v, ok := l[f(k)]; ok {
					seen[k] = v
				}
			}
			// Global() is not rewritten: give it the answer that the naive evaluator sees.
			delete(l, GlobalKey)
			if v, ok := seen[GlobalKey]; ok {
				l[GlobalKey] = v
			}
			if f("x") == "x" && f(GlobalKey) != GlobalKey {
				t.Fatal("unsuitable f")
			}
			if got, want := rewritten.Evaluate(l), e.eval(seen); got != want {
				t.Fatalf("%s on %q: %v, want %v", rewritten, l, got, want)
			}
		}
	})
}

func TestReplaceGlobal(t *testing.T) {
	outside := Not(Has("tierwall.io/namespace"))
	for _, c := range []struct {
		in   string
		with *Selector
		want string
	}{
		{"has(a)", outside, "has(a)"},
		{"global()", outside, "!has(tierwall.io/namespace)"},
		{"!global()", outside, "has(tierwall.io/namespace)"},
		{"global() || a == 'x'", outside, "a == 'x' || !has(tierwall.io/namespace)"},
		{"has(a) && global()", All(), "has(a)"},
		{"has(a) && global()", None(), "!all()"},
		{"has(a) && global()", nil, "has(a)"},
		{"has(a) && !global()", Or(Has("b"), Has("c")), "has(a) && !has(b) && !has(c)"},
		{"has(a) && global()", Or(Has("b"), Has("c")), "has(a) && (has(b) || has(c))"},
		{"has(a) && global()", And(Has("b"), Has("c")), "has(a) && has(b) && has(c)"},
		{"has(a) && global()", Global(), "global() && has(a)"},
	} {
		s := mustParse(t, c.in)
		if got := s.ReplaceGlobal(c.with); got.String() != c.want {
			t.Errorf("%s with %s is %s, want %s", c.in, c.with, got, c.want)
		}
		if s.HasGlobal() != strings.Contains(c.in, "global()") {
			t.Errorf("HasGlobal of %s is %v", c.in, s.HasGlobal())
		}
	}
}

// Operations leave their operands alone, and so may share what is in them.
func TestOperandsStay(t *testing.T) {
	random(t, 500, func(t *testing.T, r *rand.Rand) {
		var selectors []*Selector
		var before [][]node
		for range 4 {
			s := arbitrary.expr(r, 3).build()
			n := append([]node(nil), s.tree()...)
			for i := range n {
				n[i].values = append([]string(nil), n[i].values...)
			}
			selectors, before = append(selectors, s), append(before, n)
		}
		And(selectors...)
		Or(selectors...)
		for i, s := range selectors {
			Not(s)
			s.ReplaceGlobal(selectors[0])
			s.RewriteKeys(func(string) string { return "a" })
			s.Constraints()
			if compareTrees(s.tree(), before[i]) != 0 {
				t.Errorf("%s has changed", s)
			}
		}
	})
	values := []string{"y", "x", "y"}
	In("a", values...)
	NotIn("a", values...)
	if strings.Join(values, "") != "yxy" {
		t.Error("a constructor has changed its argument")
	}
}

func TestConjuncts(t *testing.T) {
	if got := All().Conjuncts(); len(got) != 0 {
		t.Errorf("conjuncts of all(): %v", got)
	}
	random(t, 500, func(t *testing.T, r *rand.Rand) {
		s := arbitrary.expr(r, 3).build()
		conjuncts := s.Conjuncts()
		if !And(conjuncts...).Same(s) {
			t.Errorf("%s has conjuncts %v", s, conjuncts)
		}
		for _, c := range conjuncts {
			checkCanonical(t, c)
			if len(conjuncts) > 1 && c.HasGlobal() != strings.Contains(c.String(), "global()") {
				t.Errorf("HasGlobal of the conjunct %s of %s is %v", c, s, c.HasGlobal())
			}
			if c.tree()[0].op == opAnd {
				t.Errorf("%s has conjunct %s", s, c)
			}
		}
	})
}
