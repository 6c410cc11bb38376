package dataplane

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/oracle"
)

// TestPrograms holds compiled programs, kept up to date change by change, to
// the core's own evaluation on random worlds: with tables for everything, for
// nothing, where they pay, and with budgets so small that they are linear every now and then. TIERWALL_SEED runs one world alone.
func TestPrograms(t *testing.T) {
	first, last := uint64(1), uint64(400)
	if s := os.Getenv("TIERWALL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, last = n, n
	}
	var counts struct{ flows, tables, classed, linear, ports, accepted, dropped int }
	for seed := first; seed <= last && !t.Failed(); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0x636f6d70696c65))
		stream := oracle.Random(rng, oracle.Config{Policies: 1 + rng.IntN(6), Shared: rng.IntN(5) == 0})
		ix, learner := index.New(index.Options{}), oracle.Learner{}
		compilers := []*Compiler{
			NewCompiler(Options{Linear: -1, Classed: 1 + rng.IntN(4), homes: uint32(rng.IntN(4))}),
			NewCompiler(Options{Linear: 2, Classed: 1}), NewCompiler(Options{Linear: 1000}),
			NewCompiler(Options{Linear: -1, Classed: 2, Budget: 1 + rng.IntN(10), NodeBudget: 1 + rng.IntN(20), Spread: -1}),
		}
		for range 60 + rng.IntN(60) {
			ev := stream.Next()
			if r, ok := convert.RefOf(ev.Object); ok && ev.Delete {
				ix.Delete(r)
			} else if o, _, known := convert.Object(ev.Object); known && o != nil {
				ix.Upsert(o)
			} else if ok {
				ix.Delete(r)
			}
			if rng.IntN(3) > 0 {
				continue
			}
			ix.ApplyNames(learner.Deltas(ix, stream.Answers()))
			d := ix.Flush()
			for _, c := range compilers {
				c.Apply(d)
			}
		}
		for range 2 { // names that have come into use are known in the second
			d := ix.Flush()
			for _, c := range compilers {
				c.Apply(d)
			}
			ix.ApplyNames(learner.Deltas(ix, stream.Answers()))
		}
		d := ix.Flush()
		for _, c := range compilers {
			c.Apply(d)
		}
		scratch := index.New(index.Options{})
		for _, o := range stream.Objects() {
			if m, _, _ := convert.Object(o); m != nil {
				scratch.Upsert(m)
			}
		}
		scratch.ApplyNames(learner.All())
		whole := scratch.Flush()
		for i, c := range compilers {
			fresh := NewCompiler(c.opts)
			fresh.Apply(whole)
			if err := sameTables(c, fresh); err != nil {
				t.Errorf("seed %d, compiler %d: %v", seed, i, err)
			}
			counts.tables += len(c.tables)
			for _, tr := range c.tables {
				if tr.state.Classed() {
					counts.classed++
				}
				if tr.state.Linear() {
					counts.linear++
					continue
				}
				for _, r := range tr.state.rests {
					if r.Ports != nil {
						counts.ports++
					}
				}
			}
		}
		for _, f := range stream.Flows(60) {
			f.Src, f.Dst = f.Src.Unmap(), f.Dst.Unmap()
			if f.Src.Is4() != f.Dst.Is4() {
				continue
			}
			counts.flows++
			for _, ref := range ix.Endpoints() {
				e := ix.Effective(ref)
				for _, st := range e.Stages() {
					want := verdict.Evaluate(st, &f)
					for i, c := range compilers {
						p := c.policies[e].Program(st.Stage, st.Direction, FamilyOf(f.Src))
						got := c.Decide(p, &f)
						if err := sameVerdict(got, want); err != nil {
							t.Errorf("seed %d, compiler %d: %s %s %s, flow %+v: %v\n%s", seed, i, ref, st.Stage, st.Direction, f, err, p)
							return
						}
						if got.Verdict == Accept {
							counts.accepted++
						} else {
							counts.dropped++
						}
					}
				}
			}
		}
	}
	t.Logf("%+v", counts)
	if last > first && (counts.tables < 1000 || counts.classed < 500 || counts.linear < 300 || counts.ports < 1000 || counts.accepted < 1000 || counts.dropped < 1000) {
		t.Errorf("the worlds have gone blind: %+v", counts)
	}
}

func sameVerdict(got Leaf, want model.Verdict) error {
	action := model.NoAction
	switch got.Verdict {
	case Accept:
		action = model.Allow
	case Drop:
		action = model.Deny
	}
	if action != want.Action {
		return fmt.Errorf("%s, want %s by %s rule %s", got.text(), want.Action, want.Policy, want.Rule)
	}
	if want.Reason == model.ReasonDefault {
		if got.Origin != (Origin{}) {
			return fmt.Errorf("decided by %s, want by default", got.Origin)
		}
		return nil
	}
	if o := got.Origin; o.Tier != want.Tier || o.Policy != want.Policy || o.Rule != want.Rule {
		return fmt.Errorf("decided by %s, want by %s rule %s in tier %s", o, want.Policy, want.Rule, want.Tier)
	}
	return nil
}

// sameTables compares what two compilers hold.
func sameTables(a, b *Compiler) error {
	count := func(c *Compiler) [8]int {
		return [8]int{len(c.tables), len(c.programs), len(c.literals), len(c.sets), len(c.ends), len(c.flat), len(c.blocks), len(c.spaces[0].classes) + len(c.spaces[1].classes)}
	}
	if x, y := count(a), count(b); x != y {
		return fmt.Errorf("%v tables, programs, literal sets, sets, endpoints, policies, lists of blocks and classes, from scratch %v", x, y)
	}
	for id, pa := range a.programs {
		if pb := b.programs[id]; pb == nil || pa.program.String() != pb.program.String() {
			return fmt.Errorf("program %s is\n%s\nfrom scratch another", id, pa.program)
		}
	}
	for id, ta := range a.tables {
		tb := b.tables[id]
		if tb == nil {
			return fmt.Errorf("table %s is not there from scratch", id)
		}
		if x, y := dump(ta.state), dump(tb.state); x != y {
			return fmt.Errorf("table %s holds\n%s\nfrom scratch\n%s", id, x, y)
		}
	}
	for _, f := range families {
		if x, y := maps.Collect(a.Classes(f)), maps.Collect(b.Classes(f)); !maps.Equal(x, y) {
			return fmt.Errorf("classes are\n%v\nfrom scratch\n%v", x, y)
		}
	}
	return nil
}

func dump(s *TableState) string {
	addrs := make([]netip.Addr, 0, s.Len())
	for a := range s.EachAddr() {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	if s.Linear() {
		return "linear"
	}
	out := fmt.Sprintf("empty %s classed %v", s.Empty.ID, s.Classed())
	for _, a := range addrs {
		out += fmt.Sprintf("\n%s %s", a, s.At(a).ID)
	}
	for _, b := range s.Blocks {
		out += fmt.Sprintf("\n%s-%s %s", b.First, b.Last, b.Rest.ID)
	}
	return out
}
