package selector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestConstraints(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"all()", ""},
		{"a == 'x'", "a=[x]"},
		{"a in {'y', 'x'}", "a=[x y]"},
		{"a != 'x'", ""},
		{"has(a)", "a"},
		{"!has(a)", ""},
		{"a contains 'x'", "a"},
		{"a starts with 'x'", "a"},
		{"a ends with 'x'", "a"},
		{"!a ends with 'x'", ""},
		{"global()", ""},
		{"!global()", "tierwall.io/namespace"},
		{"b == 'x' && a == 'y' && c != 'z'", "a=[y] b=[x]"},
		{"has(a) && (a == 'x' || a == 'y')", "a=[x y]"},
		{"a == 'x' || b == 'x'", ""},
		{"a == 'x' || all()", ""},
		{"a == 'x' && has(b) || a == 'y' && has(c)", "a=[x y]"},
		{"a == 'x' && b == '1' || a == 'x' && b in {'1', '2'}", "a=[x] b=[1 2]"},
		{"a == 'x' && b == '1' || a == 'y' && has(b)", "a=[x y] b"},
		{"a == 'x' && !has(b) || a == 'y' && has(b)", "a=[x y]"},
		{"a in {'x','y'} && (a == 'x' && has(b) || a == 'z' && has(c))", "a=[x]"},
		{"a in {'x','y'} && (a contains 'x' && has(b) || a contains 'y')", "a=[x y]"},
		{"a contains 'x' && (a == 'x' && has(b) || a == 'y')", "a=[x y]"},
		// A branch that cannot match weakens nothing.
		{"a == 'x' && has(b) || a == 'q' && (a == 'r' && has(c) || a == 's')", "a=[x] b"},
		{"!(a != 'x' || !has(b))", "a=[x] b"},
		{"!all()", "never"},
		{"a == 'x' && (a == 'y' && has(b) || a == 'z')", "never"},
		{"a == 'x' && (a == 'y' && has(b) || a == 'z') && has(c)", "never"},
		{"has(a) && (a == 'x' && (a == 'y' && has(b) || a == 'z') || a == 'q' && (a == 'y' && has(b) || a == 'z'))", "never"},
	} {
		s := mustParse(t, c.in)
		var got []string
		for _, k := range s.Constraints() {
			if k.Values == nil {
				got = append(got, k.Key)
			} else {
				got = append(got, fmt.Sprintf("%s=%v", k.Key, k.Values))
			}
		}
		if s.MatchesNothing() {
			got = append(got, "never")
		}
		if text := string(appendText(nil, s.tree())); text != s.String() {
			t.Errorf("constraints have changed %s to %s", s, text)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("constraints of %s: %s, want %s", c.in, text, c.want)
		}
	}
}

// Wherever a selector matches, its constraints hold.
func TestConstraintsAreNecessary(t *testing.T) {
	constrained, never := 0, 0
	random(t, 5000, func(t *testing.T, r *rand.Rand) {
		v := parseable
		e := v.expr(r, 4)
		if r.IntN(4) == 0 {
			// Operands that constrain one label and may exclude each other.
			a := func() expr {
				return labelExpr{"in", "a", []string{v.values[1+r.IntN(4)], v.values[1+r.IntN(4)]}}
			}
			e = andExpr{[]expr{a(), orExpr{[]expr{
				andExpr{[]expr{a(), v.label(r)}}, andExpr{[]expr{a(), v.label(r)}}}}}}
		}
		s := e.build()
		constraints := s.Constraints()
		if len(constraints) > 0 {
			constrained++
		}
		if s.MatchesNothing() && s != None() {
			never++
		}
		if !slices.IsSortedFunc(constraints, func(a, b Constraint) int { return strings.Compare(a.Key, b.Key) }) {
			t.Errorf("%s: constraints out of order: %v", s, constraints)
		}
		for i, c := range constraints {
			if i > 0 && constraints[i-1].Key == c.Key || !slices.IsSorted(c.Values) || c.Values != nil && len(c.Values) == 0 {
				t.Errorf("%s: constraints %v", s, constraints)
			}
		}
		for range 40 {
			l := v.labels(r)
			match := e.eval(l)
			if match && s.MatchesNothing() || !match && s.MatchesAll() {
				t.Errorf("%s on %q is %v", s, l, match)
			}
			for _, c := range constraints {
				v, ok := l[c.Key]
				if match && (!ok || c.Values != nil && !slices.Contains(c.Values, v)) {
					t.Errorf("%s matches %q against its constraint %v", s, l, c)
				}
			}
		}
	})
	if constrained < 1000 || never < 20 {
		t.Errorf("%d selectors have constraints, %d match nothing for them", constrained, never)
	}
}
