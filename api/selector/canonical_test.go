package selector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		// Order and duplicates.
		{"has(b) && has(a) && has(b)", "has(a) && has(b)"},
		{"has(b) && (has(a) && (has(c)))", "has(a) && has(b) && has(c)"},
		{"(has(b) || has(a)) && (has(a) || has(b))", "has(a) || has(b)"},
		{"(has(b) || has(a)) && (has(a) || has(b)) && has(c)", "has(c) && (has(a) || has(b))"},
		// Groups that differ in one negation only, or in nesting only, are not the same.
		{"(has(a) || !has(b)) && (has(a) || has(b))", "(has(a) || has(b)) && (has(a) || !has(b))"},
		{"(has(x) || has(b) && (has(c) || has(d)) || has(e) && has(f) && has(g) && has(h) && has(i)) && (has(x) || has(b) && (has(c) || has(d) || has(e) && has(f) && has(g) && has(h) && has(i)))",
			"(has(x) || has(b) && (has(c) || has(d)) || has(e) && has(f) && has(g) && has(h) && has(i)) && (has(x) || has(b) && (has(c) || has(d) || has(e) && has(f) && has(g) && has(h) && has(i)))"},
		// Negation goes to the terms.
		{"!(a == 'x')", "a != 'x'"},
		{"!(a != 'x')", "a == 'x'"},
		{"!(a in {'x','y'})", "a not in {'x', 'y'}"},
		{"!(has(a) && has(b))", "!has(a) || !has(b)"},
		{"!(has(a) || !has(b) && has(c))", "!has(a) && (has(b) || !has(c))"},
		// Constants.
		{"has(a) && all()", "has(a)"},
		{"has(a) || all()", "all()"},
		{"has(a) && !all()", "!all()"},
		{"has(a) || !all()", "has(a)"},
		{"!!all()", "all()"},
		{"a in {}", "!all()"},
		{"a not in {}", "all()"},
		{"a contains ''", "has(a)"},
		{"!(a starts with '')", "!has(a)"},
		{"a ends with ''", "has(a)"},
		// Terms on one label.
		{"a == 'x' || a == 'y'", "a in {'x', 'y'}"},
		{"a == 'x' || a in {'z', 'y'} || has(b)", "a in {'x', 'y', 'z'} || has(b)"},
		{"a != 'x' && a != 'y'", "a not in {'x', 'y'}"},
		{"a in {'x','y'} && a in {'y','z'}", "a == 'y'"},
		{"a in {'x','y'} && a != 'x'", "a == 'y'"},
		{"a in {'x1','y1','x2'} && a starts with 'x' && !(a ends with '2')", "a == 'x1'"},
		{"a == 'x' && a == 'y'", "!all()"},
		{"a == 'x' && a != 'x'", "!all()"},
		{"a == 'x' && !has(a)", "!all()"},
		{"a == 'x' && has(a)", "a == 'x'"},
		{"a contains 'x' && has(a)", "a contains 'x'"},
		{"a contains 'x' && !a contains 'x'", "!all()"},
		{"a contains 'x' && !has(a)", "!all()"},
		{"!a contains 'x' && !has(a)", "!has(a)"},
		{"a != 'x' && !has(a)", "!has(a)"},
		{"a != 'x' && has(a)", "has(a) && a != 'x'"},
		{"has(a) || !has(a)", "all()"},
		{"a == 'x' || a != 'x'", "all()"},
		{"a != 'x' || a != 'y'", "all()"},
		{"a == 'x' || has(a)", "has(a)"},
		{"a == 'x' || !has(a)", "!has(a) || a == 'x'"},
		{"a not in {'x','y'} || a == 'x'", "a != 'y'"},
		{"global() && !global()", "!all()"},
		{"global() || !global() || has(a)", "all()"},
		{"global() && global() && has(a)", "global() && has(a)"},
		// Global() and the label behind it stay apart: global() may yet be replaced.
		{"global() && tierwall.io/namespace == 'x'", "global() && tierwall.io/namespace == 'x'"},
		// What collapses takes part in the group around it.
		{"has(a) && (has(b) && has(c) || !all())", "has(a) && has(b) && has(c)"},
		{"has(a) && (b == 'x' || b == 'y') && b != 'y'", "has(a) && b == 'x'"},
		{"has(a) || (a == 'x' && a == 'y')", "has(a)"},
	} {
		if s := mustParse(t, c.in); s.String() != c.want {
			t.Errorf("%s\nis  %s\nwant %s", c.in, s, c.want)
		}
	}
}

func TestUnwritableStrings(t *testing.T) {
	for _, c := range []struct {
		s    *Selector
		want string
	}{
		{Equal("a", `it's "it"`), "a == `\"it's \\\"it\\\"\"`"},
		{Equal("a", "\x1b[31m"), "a == `\"\\x1b[31m\"`"},
		{In("a", "\xff", "b"), "a in {'b', `\"\\xff\"`}"},
		{Contains("a", "x\ny"), "a contains `\"x\\ny\"`"},
		{Has("ns:a"), "has(ns:a)"},
		{Equal(":kind", "pod"), ":kind == 'pod'"},
		{Has(""), "has(`\"\"`)"},
		{Has("a b"), "has(`\"a b\"`)"},
		{Has("a) && has(b"), "has(`\"a) && has(b\"`)"},
	} {
		if c.s.String() != c.want {
			t.Errorf("%s, want %s", c.s, c.want)
		}
		if _, err := Parse(c.s.String()); err == nil {
			t.Errorf("%s can be parsed", c.s)
		}
	}
}

// checkCanonical checks that the tree has the form that canonical.go describes.
func checkCanonical(t *testing.T, s *Selector) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s", s, fmt.Sprintf(format, args...))
	}
	nodes := s.tree()
	var check func(i int, parent op) int
	check = func(i int, parent op) int {
		n := nodes[i]
		if !n.group() {
			if n.size != 1 {
				fail("leaf of size %d", n.size)
			}
			if n.op == opAll && parent != 0 {
				fail("constant as operand")
			}
			if n.op == opIn && (len(n.values) == 0 || !slices.IsSorted(n.values) || len(slices.Compact(slices.Clone(n.values))) != len(n.values)) {
				fail("values %q", n.values)
			}
			return i + 1
		}
		if n.negated || n.op == parent {
			fail("group %v in %v", n, parent)
		}
		operands, last := 0, span{}
		end := i + int(n.size)
		for j := i + 1; j < end; operands++ {
			next := check(j, n.op)
			if next != j+int(nodes[j].size) {
				fail("size %d of node %d", nodes[j].size, j)
			}
			if operands > 0 && compareTrees(nodes[last.from:last.to], nodes[j:next]) >= 0 {
				fail("operands out of order at node %d", j)
			}
			last = span{int32(j), int32(next)}
			j = next
		}
		if operands < 2 {
			fail("%d operands", operands)
		}
		return end
	}
	if end := check(0, 0); end != len(nodes) {
		fail("%d nodes, the root has %d", len(nodes), end)
	}
	if again := s.rebuild(false, nil); again.String() != s.String() || !slices.EqualFunc(again.tree(), nodes, func(a, b node) bool {
		return compareTrees([]node{a}, []node{b}) == 0
	}) {
		fail("canonicalised again it is %s", again)
	}
}

// However an expression is spelled or built, its canonical form is the same.
func TestCanonicalFormIsOne(t *testing.T) {
	random(t, 3000, func(t *testing.T, r *rand.Rand) {
		e := parseable.expr(r, 4)
		built := e.build()
		checkCanonical(t, built)
		text := e.say(r, false)
		if len(text) > MaxLength {
			return
		}
		if parsed := mustParse(t, text); !parsed.Same(built) {
			t.Errorf("%s\nparsed %s\nbuilt  %s", text, parsed, built)
		}
		if len(built.String()) <= MaxLength {
			if again := mustParse(t, built.String()); !again.Same(built) {
				t.Errorf("%s\nreparsed %s", built, again)
			}
		}
	})
}

func TestLaws(t *testing.T) {
	random(t, 1000, func(t *testing.T, r *rand.Rand) {
		a, b, c := arbitrary.expr(r, 3).build(), arbitrary.expr(r, 3).build(), arbitrary.expr(r, 2).build()
		for _, law := range []struct {
			name        string
			left, right *Selector
		}{
			{"&& commutes", And(a, b), And(b, a)},
			{"|| commutes", Or(a, b), Or(b, a)},
			{"&& associates", And(a, b, c), And(And(a, b), c)},
			{"|| associates", Or(a, b, c), Or(a, Or(b, c))},
			{"&& is idempotent", And(a, a), a},
			{"|| is idempotent", Or(a, a), a},
			{"double negation", Not(Not(a)), a},
			{"not and", Not(And(a, b)), Or(Not(a), Not(b))},
			{"not or", Not(Or(a, b)), And(Not(a), Not(b))},
			{"all is neutral", And(a, All()), a},
			{"none is neutral", Or(a, None()), a},
			{"all absorbs", Or(a, All()), All()},
			{"none absorbs", And(a, None()), None()},
		} {
			if !law.left.Same(law.right) {
				t.Errorf("%s\na is %s\nb is %s\nc is %s\nleft  %s\nright %s", law.name, a, b, c, law.left, law.right)
			}
		}
	})
}

// Equal texts must mean equal selectors, whatever strings are in them.
func TestTextIdentifies(t *testing.T) {
	seen := map[string]*Selector{}
	random(t, 20000, func(t *testing.T, r *rand.Rand) {
		s := arbitrary.expr(r, 1).build()
		other, ok := seen[s.String()]
		if !ok {
			seen[s.String()] = s
			return
		}
		if compareTrees(s.tree(), other.tree()) != 0 {
			t.Errorf("two selectors print as %s", s)
		}
	})
	if len(seen) < 3000 {
		t.Errorf("only %d distinct selectors", len(seen))
	}
	for _, r := range strings.Join(texts(seen), "") {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\uFFFD' {
			t.Fatalf("%q is printed", r)
		}
	}
}

func texts(m map[string]*Selector) []string {
	var s []string
	for text := range m {
		s = append(s, text)
	}
	return s
}

// Trees that are far deeper than text may be.
func TestDeepTrees(t *testing.T) {
	s := Has("k0")
	for i := range 2000 {
		if i%2 == 0 {
			s = And(s, Has(fmt.Sprint("k", i+1)))
		} else {
			s = Or(s, Has(fmt.Sprint("k", i+1)))
		}
	}
	checkCanonical(t, s)
	if !s.Evaluate(MapLabels{"k1998": "", "k1999": ""}) || s.Evaluate(MapLabels{"k1998": ""}) {
		t.Error("evaluation of a deep tree")
	}
	if !Not(Not(s)).Same(s) {
		t.Error("negation of a deep tree")
	}
	if c := s.Constraints(); len(c) != 0 {
		t.Errorf("constraints %v", c)
	}
	if _, err := Parse(s.String()); err == nil {
		t.Error("text of a deep tree can be parsed")
	}
}
