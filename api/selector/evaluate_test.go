package selector

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEvaluate(t *testing.T) {
	for _, c := range []struct {
		selector   string
		match, not []MapLabels
	}{
		{"", []MapLabels{nil, {}, {"a": "x"}}, nil},
		{"all()", []MapLabels{nil, {"a": "x"}}, nil},
		{"!all()", nil, []MapLabels{nil, {"a": "x"}}},
		{"a == 'x'", []MapLabels{{"a": "x"}, {"a": "x", "b": "y"}}, []MapLabels{nil, {"a": "X"}, {"a": ""}, {"a": "xx"}, {"b": "x"}}},
		{"a != 'x'", []MapLabels{nil, {"a": "y"}, {"a": ""}}, []MapLabels{{"a": "x"}}},
		{"a == ''", []MapLabels{{"a": ""}}, []MapLabels{nil, {"a": "x"}}},
		{"a != ''", []MapLabels{nil, {"a": "x"}}, []MapLabels{{"a": ""}}},
		{"a in {'x', 'y'}", []MapLabels{{"a": "x"}, {"a": "y"}}, []MapLabels{nil, {"a": "z"}}},
		{"a not in {'x', 'y'}", []MapLabels{nil, {"a": "z"}}, []MapLabels{{"a": "x"}, {"a": "y"}}},
		{"a in {'1','2','3','4','5','6','7','8','9'}", []MapLabels{{"a": "1"}, {"a": "5"}, {"a": "9"}}, []MapLabels{nil, {"a": "0"}, {"a": "10"}, {"a": ""}}},
		{"a not in {'1','2','3','4','5','6','7','8','9'}", []MapLabels{nil, {"a": "0"}, {"a": ""}}, []MapLabels{{"a": "1"}, {"a": "5"}, {"a": "9"}}},
		{"has(a)", []MapLabels{{"a": ""}, {"a": "x"}}, []MapLabels{nil, {"A": "x"}}},
		{"a contains 'bc'", []MapLabels{{"a": "abcd"}, {"a": "bc"}}, []MapLabels{nil, {"a": "b"}, {"a": "cb"}}},
		{"!(a contains 'bc')", []MapLabels{nil, {"a": "b"}}, []MapLabels{{"a": "bc"}}},
		{"a starts with 'ab'", []MapLabels{{"a": "ab"}, {"a": "abc"}}, []MapLabels{nil, {"a": "a"}, {"a": "xab"}}},
		{"a ends with 'ab'", []MapLabels{{"a": "ab"}, {"a": "xab"}}, []MapLabels{nil, {"a": "b"}, {"a": "abx"}}},
		{"global()", []MapLabels{nil, {"a": "x"}}, []MapLabels{{"tierwall.io/namespace": ""}, {"tierwall.io/namespace": "shop"}}},
		{"!global()", []MapLabels{{"tierwall.io/namespace": "shop"}}, []MapLabels{nil}},
		{"has(a) && has(b) || has(c)", []MapLabels{{"c": ""}, {"a": "", "b": ""}}, []MapLabels{nil, {"a": ""}, {"b": ""}}},
		{"has(a) && (has(b) || has(c))", []MapLabels{{"a": "", "c": ""}, {"a": "", "b": ""}}, []MapLabels{nil, {"c": ""}, {"a": ""}, {"b": "", "c": ""}}},
		{"!(has(a) || has(b))", []MapLabels{nil, {"c": ""}}, []MapLabels{{"a": ""}, {"b": ""}}},
	} {
		s := mustParse(t, c.selector)
		for _, l := range c.match {
			if !s.Evaluate(l) {
				t.Errorf("%s does not match %v", c.selector, l)
			}
		}
		for _, l := range c.not {
			if s.Evaluate(l) {
				t.Errorf("%s matches %v", c.selector, l)
			}
		}
	}
}

// getter hides that labels are a map.
type getter struct{ Labels }

func TestEvaluateAgainstNaive(t *testing.T) {
	matched, total := 0, 0
	random(t, 5000, func(t *testing.T, r *rand.Rand) {
		v := parseable
		if r.IntN(2) == 0 {
			v = arbitrary
		}
		e := v.expr(r, 4)
		s := e.build()
		for range 30 {
			l := v.labels(r)
			want := e.eval(l)
			if s.Evaluate(l) != want || s.Evaluate(getter{l}) != want || Not(s).Evaluate(l) == want {
				t.Errorf("%s on %q: %v, want %v", s, l, s.Evaluate(l), want)
			}
			total++
			if want {
				matched++
			}
		}
	})
	if matched < total/4 || matched > total*3/4 {
		t.Errorf("%d of %d match: the random expressions tell little", matched, total)
	}
}

// What Keys leaves out has no influence.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"all()", nil},
		{"b == 'x' && has(a) || !(b contains 'y')", []string{"a", "b"}},
		{"global() && has(z)", []string{"tierwall.io/namespace", "z"}},
	} {
		if got := mustParse(t, c.in).Keys(); !slices.Equal(got, c.want) {
			t.Errorf("keys of %s: %q, want %q", c.in, got, c.want)
		}
	}
	random(t, 500, func(t *testing.T, r *rand.Rand) {
		s := parseable.expr(r, 3).build()
		keys := s.Keys()
		for range 10 {
			a, b := parseable.labels(r), parseable.labels(r)
			for _, k := range keys {
				delete(b, k)
				if v, ok := a[k]; ok {
					b[k] = v
				}
			}
			if s.Evaluate(a) != s.Evaluate(b) {
				t.Errorf("%s has keys %q but tells %q from %q", s, keys, a, b)
			}
		}
	})
}

func TestNil(t *testing.T) {
	for _, s := range []*Selector{nil, {}, All()} {
		if !s.Evaluate(nil) || !s.MatchesAll() || s.MatchesNothing() || s.String() != "all()" || s.HasGlobal() ||
			len(s.Constraints()) != 0 || len(s.Keys()) != 0 || !s.Same(nil) || Not(s) != None() || And(s, Has("a")).String() != "has(a)" ||
			!Or(Has("a"), s).MatchesAll() || !And(s).MatchesAll() || !s.RewriteKeys(nil).MatchesAll() || !s.ReplaceGlobal(nil).MatchesAll() {
			t.Errorf("%#v does not behave as all()", s)
		}
	}
	if And() != All() || Or() != None() || None().Evaluate(MapLabels{"a": "x"}) {
		t.Error("groups without operands")
	}
	if Has("a").Evaluate(nil) || !Not(Has("a")).Evaluate(nil) || !Global().Evaluate(nil) {
		t.Error("nil labels")
	}
}

func TestEvaluateAllocatesNothing(t *testing.T) {
	s := mustParse(t, fiveLookUps+" || (a in {'1','2','3','4','5','6','7','8','9'} && b ends with 'x' && c contains 'y' && global())")
	l := MapLabels{"app": "shop", "a": "9", "b": "x", "c": "y"}
	var labels Labels = getter{l}
	if !s.Evaluate(l) {
		t.Fatal("must match")
	}
	if n := testing.AllocsPerRun(100, func() { s.Evaluate(l); s.Evaluate(labels) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
