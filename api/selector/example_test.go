package selector_test

import (
	"fmt"

	"github.com/tierwall/tierwall/api/selector"
)

func Example() {
	s, err := selector.Parse(`tier in {"web", "api"} && !has(quarantine)`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s)
	fmt.Println(s.Evaluate(selector.MapLabels{"tier": "api"}))
	fmt.Println(s.Evaluate(selector.MapLabels{"tier": "api", "quarantine": "yes"}))
	// Output:
	// !has(quarantine) && tier in {'api', 'web'}
	// true
	// false
}

func ExampleParse_error() {
	_, err := selector.Parse(`app == 'shop' && tier == web`)
	fmt.Println(err)
	// Output:
	// at 26: expected a value in quotes after '==', found "web"; write 'web'
}

// Spelling makes no difference to the canonical text.
func ExampleSelector_String() {
	for _, text := range []string{`app == 'a' || app == "b"`, `app in {'b', 'a'}`, `!(app != 'b' && !(app == 'a'))`} {
		s, _ := selector.Parse(text)
		fmt.Println(s)
	}
	// Output:
	// app in {'a', 'b'}
	// app in {'a', 'b'}
	// app in {'a', 'b'}
}

// Scope is added to the tree, with keys that no text can contain.
func ExampleSelector_RewriteKeys() {
	namespaces, _ := selector.Parse(`team == 'checkout'`)
	pods, _ := selector.Parse(`app == 'shop' || app == 'cart'`)
	scoped := selector.And(
		namespaces.RewriteKeys(func(key string) string { return "ns:" + key }),
		pods,
	)
	fmt.Println(scoped)
	// Output:
	// app in {'cart', 'shop'} && ns:team == 'checkout'
}

func ExampleSelector_ReplaceGlobal() {
	s, _ := selector.Parse(`global() || team == 'checkout'`)
	fmt.Println(s.ReplaceGlobal(selector.Not(selector.Has(selector.GlobalKey))))
	// Output:
	// team == 'checkout' || !has(tierwall.io/namespace)
}

// An index looks up the labels that a selector needs before it evaluates.
func ExampleSelector_Constraints() {
	s, _ := selector.Parse(`has(team) && (app == 'shop' && zone == 'eu' || app == 'cart') && env != 'test'`)
	for _, c := range s.Constraints() {
		fmt.Println(c.Key, c.Values)
	}
	// Output:
	// app [cart shop]
	// team []
}
