package manifests

import (
	"slices"
	"testing"
)

func TestKindsNamed(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                  nil,
		"kind: Pod\n":                       {"Pod"},
		"a: b\nkind: PolicyTset":            {"PolicyTset"},
		"  - Kind : 'policytest'\r\n":       {"policytest"},
		`{"apiVersion":"v1","kind":"List"}`: {"List"},
		"kind: A\n---\nkind: B\nKIND: A\n":  {"A", "B"},
		"mankind: x\nkind_: y\nkinds: z\n":  nil,
		"kind:\n  Pod\n":                    nil,
		"# of a kind\nkind: kind: C\n":      {"kind", "C"},
	} {
		if got := kindsNamed([]byte(text)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
