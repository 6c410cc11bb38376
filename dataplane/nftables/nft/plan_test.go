package nft

import (
	"fmt"
	"testing"
)

// TestPlanElems compares the elements of a map with what was there before.
func TestPlanElems(t *testing.T) {
	ref := func(s string) *string { return &s }
	for _, c := range []struct {
		name string
		old  *string
		now  string
		is   bool
		want string // what is deleted, and what is added
	}{
		{"new", nil, "jump a", true, "[] [m \"k\" : jump a]"},
		{"the same", ref("jump a"), "jump a", true, "[] []"},
		{"changed", ref("jump a"), "jump b", true, "[m \"k\" : jump a] [m \"k\" : jump b]"},
		{"gone", ref("jump a"), "", false, "[m \"k\" : jump a] []"},
		{"gone and without a verdict", ref(""), "", false, "[m \"k\"] []"},
		{"neither then nor now", nil, "", false, "[] []"},
	} {
		p := &Plan{}
		p.elem(&Set{Name: "m", Types: TypeLink, Verdicts: true}, LinkKey("k"), c.old, c.now, c.is)
		if got := fmt.Sprint(p.DelElems, " ", p.AddElems); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
