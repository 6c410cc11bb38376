package selector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The naive evaluator: an expression is a tree that knows how to say itself in
// the language, how to build itself with constructors, and what it means. It
// shares no code with the package.

type expr interface {
	eval(labels map[string]string) bool
	// say writes the expression as text. Tight says that it must bind like a term.
	say(r *rand.Rand, tight bool) string
	build() *Selector
}

type (
	allExpr    struct{}
	globalExpr struct{}
	labelExpr  struct {
		kind   string // has == != in, not in, contains, starts with, ends with
		key    string
		values []string
	}
	notExpr struct{ of expr }
	andExpr struct{ of []expr }
	orExpr  struct{ of []expr }
)

func (allExpr) eval(map[string]string) bool { return true }

func (globalExpr) eval(labels map[string]string) bool {
	_, there := labels["tierwall.io/namespace"]
	return !there
}

func (e labelExpr) eval(labels map[string]string) bool {
	v, there := labels[e.key]
	switch e.kind {
	case "has":
		return there
	case "==":
		return there && v == e.values[0]
	case "!=":
		return !there || v != e.values[0]
	case "in":
		return there && slices.Contains(e.values, v)
	case "not in":
		return !there || !slices.Contains(e.values, v)
	case "contains":
		return there && strings.Contains(v, e.values[0])
	case "starts with":
		return there && strings.HasPrefix(v, e.values[0])
	case "ends with":
		return there && strings.HasSuffix(v, e.values[0])
	}
	panic(e.kind)
}

func (e notExpr) eval(labels map[string]string) bool { return !e.of.eval(labels) }

func (e andExpr) eval(labels map[string]string) bool {
	for _, o := range e.of {
		if !o.eval(labels) {
			return false
		}
	}
	return true
}

func (e orExpr) eval(labels map[string]string) bool {
	for _, o := range e.of {
		if o.eval(labels) {
			return true
		}
	}
	return false
}

// gap is white space that may be left out.
func gap(r *rand.Rand) string {
	return []string{"", "", " ", " ", "  ", "\n\t"}[r.IntN(6)]
}

func sayValue(r *rand.Rand, v string) string {
	if strings.Contains(v, "'") || !strings.Contains(v, `"`) && r.IntN(2) == 0 {
		return `"` + v + `"`
	}
	return "'" + v + "'"
}

func (allExpr) say(r *rand.Rand, _ bool) string { return "all" + gap(r) + "(" + gap(r) + ")" }

func (globalExpr) say(r *rand.Rand, _ bool) string { return "global" + gap(r) + "(" + gap(r) + ")" }

func (e labelExpr) say(r *rand.Rand, _ bool) string {
	switch e.kind {
	case "has":
		return "has(" + gap(r) + e.key + gap(r) + ")"
	case "==", "!=":
		return e.key + gap(r) + e.kind + gap(r) + sayValue(r, e.values[0])
	case "in", "not in":
		kind := e.kind
		if r.IntN(3) == 0 {
			kind = strings.ReplaceAll(kind, " ", "")
		}
		var vs []string
		for _, v := range e.values {
			vs = append(vs, gap(r)+sayValue(r, v)+gap(r))
		}
		end := ""
		if len(vs) > 0 && r.IntN(4) == 0 {
			end = "," + gap(r)
		}
		return e.key + " " + kind + gap(r) + "{" + strings.Join(vs, ",") + end + "}"
	}
	return e.key + " " + strings.ReplaceAll(e.kind, " ", gap(r)) + gap(r) + sayValue(r, e.values[0])
}

func (e notExpr) say(r *rand.Rand, _ bool) string { return "!" + gap(r) + e.of.say(r, true) }

func (e andExpr) say(r *rand.Rand, tight bool) string { return sayGroup(r, "&&", e.of, tight) }

func (e orExpr) say(r *rand.Rand, tight bool) string { return sayGroup(r, "||", e.of, tight) }

func sayGroup(r *rand.Rand, op string, of []expr, tight bool) string {
	var s []string
	for _, o := range of {
		_, or := o.(orExpr)
		s = append(s, o.say(r, op == "&&" && or))
	}
	text := strings.Join(s, gap(r)+op+gap(r))
	if tight || r.IntN(6) == 0 {
		return "(" + gap(r) + text + gap(r) + ")"
	}
	return text
}

func (allExpr) build() *Selector { return All() }

func (globalExpr) build() *Selector { return Global() }

func (e labelExpr) build() *Selector {
	switch e.kind {
	case "has":
		return Has(e.key)
	case "==":
		return Equal(e.key, e.values[0])
	case "!=":
		return NotEqual(e.key, e.values[0])
	case "in":
		return In(e.key, e.values...)
	case "not in":
		return NotIn(e.key, e.values...)
	case "contains":
		return Contains(e.key, e.values[0])
	case "starts with":
		return StartsWith(e.key, e.values[0])
	}
	return EndsWith(e.key, e.values[0])
}

func (e notExpr) build() *Selector { return Not(e.of.build()) }

func (e andExpr) build() *Selector { return And(buildEach(e.of)...) }

func (e orExpr) build() *Selector { return Or(buildEach(e.of)...) }

func buildEach(of []expr) []*Selector {
	var s []*Selector
	for _, o := range of {
		s = append(s, o.build())
	}
	return s
}

// vocabulary is what random expressions and labels are made of. Few keys and
// values, so that operands meet.
type vocabulary struct{ keys, values []string }

var (
	parseable = vocabulary{
		keys:   []string{"a", "b", "in", "not", "has", "all", "starts", "x.io/y-z_0", "tierwall.io/namespace"},
		values: []string{"", "x", "y", "xy", "x-y", "it's", `"q"`, "ü", "`", `\`},
	}
	// Such as only constructors can bring in.
	arbitrary = vocabulary{
		keys:   append([]string{"ns:a", ":kind", "", "a b", "é", "has(a)", "a'", "`a`", "a == 'x'", `"a"`, `a"`, "\x00", "\xff"}, parseable.keys...),
		values: append([]string{`'"`, "`\"'\"`", "\x1b[31m", "\xff", "'\\x1b", `it's "q"`, "x', 'y", "\u0085"}, parseable.values...),
	}
)

func (v vocabulary) label(r *rand.Rand) expr {
	kinds := []string{"has", "==", "==", "!=", "in", "not in", "contains", "starts with", "ends with"}
	e := labelExpr{kind: kinds[r.IntN(len(kinds))], key: v.keys[r.IntN(len(v.keys))]}
	n := 1
	switch e.kind {
	case "has":
		n = 0
	case "in", "not in":
		n = r.IntN(5)
		if r.IntN(10) == 0 {
			n += 20
		}
	}
	for range n {
		e.values = append(e.values, v.values[r.IntN(len(v.values))])
	}
	return e
}

func (v vocabulary) expr(r *rand.Rand, depth int) expr {
	if depth == 0 || r.IntN(4) == 0 {
		switch r.IntN(12) {
		case 0:
			return allExpr{}
		case 1:
			return globalExpr{}
		}
		return v.label(r)
	}
	var of []expr
	for range 1 + r.IntN(4) {
		of = append(of, v.expr(r, depth-1))
	}
	switch r.IntN(3) {
	case 0:
		return notExpr{of[0]}
	case 1:
		return andExpr{of}
	}
	return orExpr{of}
}

func (v vocabulary) labels(r *rand.Rand) MapLabels {
	l := MapLabels{}
	for _, k := range v.keys {
		if r.IntN(2) == 0 {
			l[k] = v.values[r.IntN(len(v.values))]
		}
	}
	return l
}

// random runs a test with reproducible randomness; a failure names the seed.
func random(t *testing.T, rounds int, test func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			test(t, rand.New(rand.NewPCG(seed, 1)))
		})
		if t.Failed() {
			return
		}
	}
}

func mustParse(t testing.TB, text string) *Selector {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return s
}
