package oracle

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestSelector tries the interpreter's own reading of the selector language.
func TestSelector(t *testing.T) {
	l := labels{values: map[string]string{"app": "web", "tier.x/y-z_1": "", "tierwall.io/namespace": "a"}}
	for text, want := range map[string]bool{
		"":                                       true,
		"all()":                                  true,
		"global()":                               false,
		"!global()":                              true,
		"has(app)":                               true,
		" ! has( none ) ":                        true,
		"app == 'web'":                           true,
		`app=="web"`:                             true,
		"app != 'web'":                           false,
		"none != 'web'":                          true,
		"none == ''":                             false,
		"tier.x/y-z_1 == ''":                     true,
		"app in {'x', \"web\"}":                  true,
		"app not in {'x','web'}":                 false,
		"none not in { 'x' }":                    true,
		"app contains 'e'":                       true,
		"app starts with 'we'":                   true,
		"app ends  with 'we'":                    false,
		"none starts with ''":                    false,
		"!app == 'x' && app == 'x'":              false, // ! binds tightest
		"app == 'x' && none == 'x' || has(app)":  true,
		"has(app) || app == 'x' && app == 'x'":   true, // then &&, then ||
		"(has(app) || app == 'x') && app == 'x'": false,
		"!(app == 'x') && !!has(app)":            true,
		"projectcalico.org/namespace == 'a'":     true,
		"all == 'x' || has == 'x' || in != 'x'":  true, // words are keys where a key is due
	} {
		e, err := parseSelector(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := e.match(l); got != want {
			t.Errorf("%q is %v", text, got)
		}
	}
	for _, text := range []string{
		"app", "app =", "app ==", "app == web", "app == 'web", "has(app", "has()", "all(x)", "some()", "(all()", "all())",
		"&& all()", "all() &&", "all() all()", "app in", "app in {}", "app in {'x'", "app in {'x',}", "app not {'x'}",
		"app starts 'x'", "!", "app = 'x'", "all() & all()", "app == 'x' 'y'",
	} {
		if _, err := parseSelector(text); err == nil {
			t.Errorf("%q is understood", text)
		}
	}
}

// TestRandomRepeats: a seed is a world, or no failure could be looked at again.
func TestRandomRepeats(t *testing.T) {
	for seed := range uint64(20) {
		a := Random(rand.New(rand.NewPCG(seed, 1)), Config{Invalid: 0.4})
		b := Random(rand.New(rand.NewPCG(seed, 1)), Config{Invalid: 0.4})
		for range 100 {
			if x, y := a.Next(), b.Next(); !reflect.DeepEqual(x, y) {
				t.Fatalf("seed %d: %v and %v", seed, x, y)
			}
		}
		if x, y := a.Flows(50), b.Flows(50); !reflect.DeepEqual(x, y) {
			t.Fatalf("seed %d: flows differ", seed)
		}
	}
}
