package base

import (
	"slices"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
)

// TestHold: what has answers wait judges no packet, and is there only where answers are to wait.
func TestHold(t *testing.T) {
	points := []Point{HoldInput, HoldForward, HoldOutput}
	for name, s := range states() {
		for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
			for _, no := range []bool{false, true} {
				tables := New(s, hostsOf(s), f, Options{NoQueue: no})
				var hooks []Point
				for _, c := range slices.Concat(tables.Raw, tables.Mangle, tables.Filter) {
					if slices.Contains(points, c.Point) {
						hooks = append(hooks, c.Point)
					}
					part := slices.Contains(points, c.Point) || c.Name == "hold"
					for _, r := range c.Rules {
						switch holds := ofHold(&c, &r); {
						case part && !holds:
							t.Errorf("%s: chain %s does %v to packets", name, c.Name, r.Then)
						case holds && !part:
							t.Errorf("%s: chain %s has a rule of those that have answers wait", name, c.Name)
						}
					}
				}
				want := points
				switch {
				case s.Answers == nil || no:
					want = nil
				case !s.Answers.Host:
					want = points[1:]
				}
				if !slices.Equal(hooks, want) {
					t.Errorf("%s, %v: answers wait at %v, want %v", name, f, hooks, want)
				}
			}
		}
	}
}

// ofHold reports whether a rule is one of those that have answers wait.
func ofHold(c *Chain, r *Rule) bool {
	switch r.Then {
	case Queue:
		return c.Name == "hold"
	case Hold, Release:
		return c.Point == HoldOutput && slices.ContainsFunc(r.If, func(t Test) bool { return t.Kind == OutIs && t.Name == "lo" })
	}
	return r.Then == Goto && r.Chain == "hold"
}
