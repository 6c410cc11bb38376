package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/test/oracle"
)

// tableCopy is what a table held.
type tableCopy struct {
	addrs  map[netip.Addr]string
	blocks string
}

func copyTable(s *TableState) tableCopy {
	out := tableCopy{addrs: map[netip.Addr]string{}}
	for a, r := range s.EachAddr() {
		out.addrs[a] = r.ID
	}
	for _, b := range s.Blocks {
		out.blocks += fmt.Sprintf("%s-%s %s\n", b.First, b.Last, b.Rest.ID)
	}
	return out
}

// TestTables holds tables, after each of many changes, to what the members of
// their sets make of them, and Changes to what has changed.
func TestTables(t *testing.T) {
	var counts struct{ changes, addrs, blocks, fresh, gone, around int }
	for seed := uint64(1); seed <= 120 && !t.Failed(); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0x7461626c6573))
		stream := oracle.Random(rng, oracle.Config{Policies: 1 + rng.IntN(5), Shared: rng.IntN(4) == 0})
		ix := policy.New(policy.Options{})
		c := NewCompiler(Options{Linear: -1})
		sets := map[string]*policy.Set{}
		before := map[string]tableCopy{}
		for range 80 {
			for range 1 + rng.IntN(3) {
				ev := stream.Next()
				if o, _, known := convert.Object(ev.Object); known && o != nil && !ev.Delete {
					ix.Upsert(o)
				} else if r, ok := convert.RefOf(ev.Object); ok {
					ix.Delete(r)
				}
			}
			d := ix.Flush()
			ch := c.Apply(d)
			for _, sd := range d.Sets {
				if sets[sd.Set.ID()] = sd.Set; sd.Gone {
					delete(sets, sd.Set.ID())
				}
			}
			now := map[string]tableCopy{}
			for id, rec := range c.tables {
				now[id] = copyTable(rec.state)
				if err := c.checkTable(rec.state, sets, now[id]); err != nil {
					t.Fatalf("seed %d: table %s: %v", seed, id, err)
				}
				if rec.state.around != nil {
					counts.around++
				}
			}
			for id, s := range sets {
				if rec := c.sets[id]; !slices.Equal(c.Members(rec.set), s.Members()) {
					t.Fatalf("seed %d: set %s holds %v, want %v", seed, s, c.Members(rec.set), s.Members())
				}
			}
			if err := checkChange(ch, before, now); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, tc := range ch.Tables {
				counts.changes++
				counts.addrs += len(tc.Addrs)
				switch {
				case tc.New:
					counts.fresh++
				case tc.Gone:
					counts.gone++
				case tc.Blocks:
					counts.blocks++
				}
			}
			before = now
		}
		for _, o := range stream.Objects() {
			if r, ok := convert.RefOf(o); ok {
				ix.Delete(r)
			}
		}
		c.Apply(ix.Flush())
		if err := c.checkEmpty(); err != nil {
			t.Fatalf("seed %d: with everything deleted: %v", seed, err)
		}
	}
	t.Logf("%+v", counts)
	if counts.addrs < 500 || counts.blocks < 100 || counts.fresh < 1000 || counts.gone < 1000 || counts.around < 1000 {
		t.Errorf("the worlds have gone blind: %+v", counts)
	}
}

// checkEmpty says if a Compiler keeps something of endpoints and policies that are gone.
func (c *Compiler) checkEmpty() error {
	held := map[string]int{
		"tables": len(c.tables), "programs": len(c.programs), "effective policies": len(c.policies), "endpoints": len(c.ends),
		"policies": len(c.flat), "sets": len(c.sets), "literal sets": len(c.literals), "lists of blocks": len(c.blocks),
		"numbered sets": len(c.numbered) - len(c.freeNumbers), "IPv4 classes": len(c.spaces[0].classes), "IPv6 classes": len(c.spaces[1].classes),
		"IPv4 addresses": len(c.spaces[0].numbers.(*numbers[[4]byte]).of), "IPv6 addresses": len(c.spaces[1].numbers.(*numbers[[16]byte]).of),
	}
	for what, n := range held {
		if n > 0 {
			return fmt.Errorf("%d %s are left", n, what)
		}
	}
	return nil
}

// checkTable computes a table anew, address by address, from what the core says
// its sets hold.
func (c *Compiler) checkTable(s *TableState, sets map[string]*policy.Set, held tableCopy) error {
	singles := map[netip.Addr][]uint16{}
	blocks := make([][]netip.Prefix, len(s.Table.Sets))
	for n, set := range s.Table.Sets {
		nets := set.Nets
		if set.IsCore() {
			for _, m := range sets[set.ID].Members() {
				nets = append(nets, m.Prefix)
			}
		}
		for _, p := range nets {
			switch {
			case FamilyOf(p.Addr()) != s.family:
			case p.IsSingleIP():
				singles[p.Addr()] = append(singles[p.Addr()], uint16(n))
			default:
				blocks[n] = append(blocks[n], p)
			}
		}
	}
	around := func(a netip.Addr) (out []uint16) {
		for n := range blocks {
			if slices.ContainsFunc(blocks[n], func(p netip.Prefix) bool { return p.Contains(a) }) {
				out = append(out, uint16(n))
			}
		}
		return out
	}
	want := map[netip.Addr]string{}
	for a, own := range singles {
		numbers := slices.Concat(own, around(a))
		slices.Sort(numbers)
		r := s.Table.rest(slices.Compact(numbers))
		if r.ID != s.Table.rest(around(a)).ID {
			want[a] = r.ID
		}
		if got := s.Rest(a).ID; got != r.ID {
			return fmt.Errorf("%s leads to %s, want %s", a, got, r.ID)
		}
	}
	if fmt.Sprint(held.addrs) != fmt.Sprint(want) { // maps are printed in order
		return fmt.Errorf("addresses %v, want %v", held.addrs, want)
	}
	rests := map[string]bool{s.Empty.ID: true}
	for a := range singles {
		if r := s.At(a); (r == nil) != (want[a] == "") || r != nil && r.ID != want[a] {
			return fmt.Errorf("%s is at %v, want %q", a, r, want[a])
		}
		if r := s.At(a); r != nil {
			rests[r.ID] = true
		}
	}
	if s.Len() != len(want) {
		return fmt.Errorf("%d addresses, want %d", s.Len(), len(want))
	}
	if s.At(netip.Addr{}) != nil {
		return fmt.Errorf("no address has an entry")
	}
	at := func(a netip.Addr) error {
		if want := s.Table.rest(around(a)).ID; singles[a] == nil && s.Rest(a).ID != want {
			return fmt.Errorf("%s leads to %s, want %s", a, s.Rest(a).ID, want)
		}
		return nil
	}
	for i, b := range s.Blocks {
		rests[b.Rest.ID] = true
		if i > 0 && !s.Blocks[i-1].Last.Less(b.First) {
			return fmt.Errorf("blocks out of order at %s", b.First)
		}
		if b.Rest.ID != s.Table.rest(around(b.First)).ID || b.Rest.ID == s.Empty.ID {
			return fmt.Errorf("%s-%s leads to %s", b.First, b.Last, b.Rest.ID)
		}
	}
	for n := range blocks { // the edges of all blocks, from both sides
		for _, p := range blocks[n] {
			for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), lastAddr(p), lastAddr(p).Next()} {
				if a.IsValid() {
					if err := at(a); err != nil {
						return err
					}
				}
			}
		}
	}
	if got := s.Rests(); len(got) != len(rests) {
		return fmt.Errorf("%d rests, want %d", len(got), len(rests))
	}
	return nil
}

// checkChange compares what a Change says of tables to what they held before and hold now.
func checkChange(ch *Change, before, now map[string]tableCopy) error {
	told := map[string]TableChange{}
	for _, tc := range ch.Tables {
		told[tc.State.Table.ID] = tc
	}
	for id := range before {
		if _, ok := now[id]; !ok && !told[id].Gone {
			return fmt.Errorf("table %s is gone, and nothing says so", id)
		}
	}
	for id, n := range now {
		tc := told[id]
		b, was := before[id]
		if tc.New == was || tc.Gone {
			return fmt.Errorf("table %s: change %+v, was there: %v", id, tc, was)
		}
		if !was {
			continue
		}
		var changed []netip.Addr
		for a := range b.addrs {
			if n.addrs[a] != b.addrs[a] {
				changed = append(changed, a)
			}
		}
		for a := range n.addrs {
			if b.addrs[a] == "" {
				changed = append(changed, a)
			}
		}
		slices.SortFunc(changed, netip.Addr.Compare)
		if !slices.Equal(tc.Addrs, changed) {
			return fmt.Errorf("table %s: addresses %v changed, told of %v", id, changed, tc.Addrs)
		}
		if tc.Blocks != (b.blocks != n.blocks) {
			return fmt.Errorf("table %s: blocks changed: %v", id, tc.Blocks)
		}
	}
	return nil
}
