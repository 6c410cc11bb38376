package selector

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "all()", "!global() || a starts  with \"x\"", fiveTerms, fiveLookUps,
		"a in {'x', \"y\",} && !(b not in {} || c contains '' && !!has(d))",
		"!(has(a) || has(b) && !(has(c) || !(has(d) && e ends with 'x')))",
		"a == 'x' && a != 'y' || has(a) && !has(a)", "not in {'in'}", "a == ‘x’", "((", "a == '\xff'",
		strings.Repeat("!(has(a) && ", 20) + "has(b)" + strings.Repeat(")", 20),
	} {
		f.Add(seed, uint64(1))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		s, err := Parse(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Pos < 1 || e.Pos > len(text)+1 || e.Pos > MaxLength+1 {
				t.Fatalf("%#v", err)
			}
			if msg := err.Error(); len(msg) > 300 || !utf8.ValidString(msg) || badValueByte(msg) >= 0 {
				t.Fatalf("%q", msg)
			}
			return
		}
		checkCanonical(t, s)
		if strings.Contains(strings.Join(s.Keys(), ""), ":") {
			t.Fatalf("%s has a key with a colon", s)
		}
		again := s
		if len(s.String()) <= MaxLength {
			if again, err = Parse(s.String()); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			if !again.Same(s) {
				t.Fatalf("%s\nis reparsed as\n%s", s, again)
			}
		}

		// Labels that come near to matching, from the selector's own strings.
		keys, values := s.Keys(), []string{"", "x"}
		for _, n := range s.tree() {
			for _, v := range n.values {
				values = append(values, v, v+"x")
			}
		}
		r := rand.New(rand.NewPCG(seed, 2))
		constraints, never, not := s.Constraints(), s.MatchesNothing(), Not(s)
		for range 20 {
			l := MapLabels{}
			for _, k := range keys {
				if r.IntN(3) > 0 {
					l[k] = values[r.IntN(len(values))]
				}
			}
			match := s.Evaluate(l)
			if again.Evaluate(l) != match || not.Evaluate(l) == match || match && never {
				t.Fatalf("%s on %q: %v", s, l, match)
			}
			for _, c := range constraints {
				if v, ok := l[c.Key]; match && (!ok || c.Values != nil && !contains(c.Values, v)) {
					t.Fatalf("%s matches %q against %v", s, l, c)
				}
			}
		}
	})
}

// FuzzGrammar spells random expressions and compares with the naive evaluator.
func FuzzGrammar(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		e := parseable.expr(r, 5)
		text := e.say(r, false)
		if len(text) > MaxLength {
			return
		}
		s := mustParse(t, text)
		for range 20 {
			if l := parseable.labels(r); s.Evaluate(l) != e.eval(l) {
				t.Fatalf("%s on %q: %v", text, l, s.Evaluate(l))
			}
		}
	})
}
