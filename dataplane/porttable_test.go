package dataplane

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// TestPortTables holds port tables to trying their rules one by one.
func TestPortTables(t *testing.T) {
	protocols := []model.Protocol{model.TCP, model.UDP, model.ICMPv4, 42}
	looked := 0
	for seed := uint64(1); seed <= 2000; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0x706f727473))
		rules := make([]*flatRule, 1+rng.IntN(20))
		edges := []uint16{0, 1, maxPort - 1, maxPort}
		for i := range rules {
			leaf := &Leaf{Verdict: Verdict(rng.IntN(4)), Origin: Origin{Tier: strconv.Itoa(rng.IntN(10))}, Log: rng.IntN(3) == 0}
			rules[i] = &flatRule{leaf: leaf, rest: randomConds(rng, protocols, &edges), weight: 1}
		}
		table := newPortTable(rules, 0)
		if table == nil {
			t.Fatalf("seed %d: no table", seed)
		}
		for i := 1; i < len(table.Entries); i++ {
			a, b := table.Entries[i-1], table.Entries[i]
			switch {
			case a.Protocol > b.Protocol, a.Protocol == b.Protocol && a.Last+1 != b.First:
				t.Errorf("seed %d: entry %+v follows %+v", seed, b, a)
			case a.Protocol == b.Protocol && equalLeaves(a.Leaf, b.Leaf):
				t.Errorf("seed %d: %+v and %+v should be one", seed, a, b)
			}
		}
		for _, p := range append(protocols, 99) {
			for _, port := range edges {
				f := model.Flow{Protocol: p, DstPort: port}
				if got, want := table.Leaf(&f), tryOne(rules, &f); !equalLeaves(got, want) {
					t.Fatalf("seed %d: %s port %d: %s, want %s", seed, p, port, got.text(), want.text())
				}
				looked++
			}
		}
	}
	if looked < 100_000 {
		t.Errorf("looked up only %d times", looked)
	}
}

// TestPortTablesThatMultiply has rules whose table would be much larger than they are.
func TestPortTablesThatMultiply(t *testing.T) {
	marks := func(n int, v Verdict) (rules []*flatRule) {
		for i := range n {
			conds := []Cond{{Kind: CondProtocol, Protocol: model.TCP}, {Kind: CondDstPorts, Ports: []PortRange{{uint16(i), uint16(40_000 + i)}}}}
			rules = append(rules, &flatRule{rest: conds, leaf: &Leaf{Verdict: v}, weight: 2})
		}
		return rules
	}
	protocols := func(n, more int) (rules []*flatRule) {
		for i := range n {
			rules = append(rules, &flatRule{rest: []Cond{{Kind: CondProtocol, Protocol: model.Protocol(1 + i)}}, leaf: &Leaf{Verdict: Drop}, weight: 1})
		}
		for range more {
			rules = append(rules, &flatRule{leaf: &Leaf{Verdict: Accept}, weight: 1})
		}
		return rules
	}
	for _, tc := range []struct {
		name  string
		rules []*flatRule
		none  bool
	}{
		{"rules that decide", marks(10_000, Accept), false},
		{"few that go on", marks(20, Continue), false},
		{"many that go on", marks(2000, Continue), true},
		{"few protocols", protocols(10, 100), false},
		{"many protocols", protocols(200, 4000), true},
		{"ports of any protocol", []*flatRule{{rest: []Cond{{Kind: CondDstPorts, Ports: []PortRange{{80, 80}}}}, leaf: &Leaf{Verdict: Drop}, weight: 1}}, true},
		{"ports of any protocol but one", []*flatRule{{rest: []Cond{{Kind: CondProtocol, Protocol: model.TCP, Not: true}, {Kind: CondDstPorts, Ports: []PortRange{{80, 80}}}}, leaf: &Leaf{Verdict: Drop}, weight: 1}}, true},
	} {
		if got := newPortTable(tc.rules, 0) == nil; got != tc.none {
			t.Errorf("%s: no table: %v, want %v", tc.name, got, tc.none)
		}
	}
}

func randomConds(rng *rand.Rand, protocols []model.Protocol, edges *[]uint16) (out []Cond) {
	ports := func() []PortRange {
		var out []PortRange
		at := rng.IntN(30)
		for range 1 + rng.IntN(3) {
			first, last := at, at+rng.IntN(20)
			if rng.IntN(10) == 0 {
				last = maxPort
			}
			out = append(out, PortRange{uint16(first), uint16(last)})
			*edges = append(*edges, uint16(first), uint16(last), uint16(max(first, 1)-1), uint16(min(last, maxPort-1)+1))
			if at = last + 2 + rng.IntN(20); at > maxPort {
				break
			}
		}
		return out
	}
	if rng.IntN(6) > 0 {
		out = append(out, Cond{Kind: CondProtocol, Protocol: protocols[rng.IntN(len(protocols))]})
		for range rng.IntN(3) {
			out = append(out, Cond{Kind: CondDstPorts, Not: rng.IntN(2) == 0, Ports: ports()})
		}
	}
	if rng.IntN(4) == 0 {
		out = append(out, Cond{Kind: CondProtocol, Protocol: protocols[rng.IntN(len(protocols))], Not: true})
	}
	return out
}

// tryOne tries rules as a kernel would, and gathers the marks.
func tryOne(rules []*flatRule, f *model.Flow) Leaf {
	var c Compiler
	var before []Mark
	for _, r := range rules {
		l := c.try([]Rule{{Conds: r.rest, Leaf: Leaf{Verdict: Drop}}}, f)
		switch {
		case l.Verdict == Continue:
		case r.leaf.Verdict == Continue:
			before = append(before, Mark{r.leaf.Origin, r.leaf.Log})
		default:
			return r.leaf.after(before)
		}
	}
	return Leaf{Verdict: Continue, Before: before}
}
