package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/test/oracle"
)

// tableCopy is what a table held.
type tableCopy struct {
	addrs   map[netip.Addr]string
	blocks  string
	classed bool
	linear  bool
	classes map[uint32]string
}

func copyTable(s *TableState) tableCopy {
	out := tableCopy{addrs: map[netip.Addr]string{}, linear: s.Linear()}
	for a, r := range s.EachAddr() {
		out.addrs[a] = r.ID
	}
	for _, b := range s.Blocks {
		out.blocks += fmt.Sprintf("%s-%s %s\n", b.First, b.Last, b.Rest.ID)
	}
	if out.classed = s.Classed(); out.classed {
		out.classes = map[uint32]string{}
		for n, r := range s.EachClass() {
			out.classes[n] = r.ID
		}
	}
	return out
}

// tablesWorld is a world that changes, and what its compiler's tables held.
type tablesWorld struct {
	stream *oracle.Stream
	ix     *index.Index
	// learner is what is known of names.
	learner oracle.Learner
	c       *Compiler
	sets    map[string]*index.Set
	before  map[string]tableCopy
	// classes are those that the Changes so far lead to.
	classes map[netip.Addr]uint32
	// turned are the tables that became linear in the last step, or ceased to be.
	turned map[string]bool
	// most is how many groups asked for one number at once.
	most int
}

// TestTables holds tables, after each of many changes, to what the members of
// their sets make of them, and Changes to what has changed.
func TestTables(t *testing.T) {
	var counts struct{ addrs, blocks, fresh, gone, around, classed, reformed, classes, numbers, crowded, linear, turned int }
	for seed := uint64(1); seed <= 150 && !t.Failed(); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0x7461626c6573))
		w := tablesWorld{
			stream: oracle.Random(rng, oracle.Config{Policies: 1 + rng.IntN(5), Shared: rng.IntN(4) == 0}),
			ix:     index.New(index.Options{}), sets: map[string]*index.Set{}, classes: map[netip.Addr]uint32{},
		}
		o := Options{Linear: -1, Classed: 1 + rng.IntN(5), homes: uint32(seed % 4)}
		if seed%3 == 0 {
			o.Budget, o.NodeBudget, o.Spread = 1+rng.IntN(40), -1, -1
			if seed%2 == 0 {
				o.NodeBudget = 1 + rng.IntN(80)
			}
		}
		w.c = NewCompiler(o)
		for range 80 {
			ch, err := w.step(1 + rng.IntN(3))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			counts.classes += len(ch.Classes)
			for _, tc := range ch.Tables {
				counts.addrs += len(tc.Addrs)
				counts.numbers += len(tc.Classes)
				if tc.Reformed {
					counts.reformed++
				}
				if tc.State.Classed() {
					counts.classed++
				}
				if tc.State.Linear() {
					counts.linear++
				}
				if tc.Reformed && w.turned[tc.State.Table.ID] {
					counts.turned++
				}
				switch {
				case tc.New:
					counts.fresh++
				case tc.Gone:
					counts.gone++
				case tc.Blocks:
					counts.blocks++
				}
				if tc.State.around != nil {
					counts.around++
				}
			}
		}
		for _, o := range w.stream.Objects() {
			if r, ok := convert.RefOf(o); ok {
				w.ix.Delete(r)
			}
		}
		if w.most > 1 {
			counts.crowded++
		}
		w.c.Apply(w.ix.Flush())
		if err := w.c.checkEmpty(); err != nil {
			t.Fatalf("seed %d: with everything deleted: %v", seed, err)
		}
	}
	t.Logf("%+v", counts)
	if counts.addrs < 500 || counts.blocks < 100 || counts.fresh < 1000 || counts.gone < 1000 || counts.around < 1000 ||
		counts.classed < 500 || counts.reformed < 50 || counts.classes < 500 || counts.numbers < 200 || counts.crowded < 20 || counts.linear < 300 || counts.turned < 50 {
		t.Errorf("the worlds have gone blind: %+v", counts)
	}
}

// step makes some changes at once and checks what comes of them.
func (w *tablesWorld) step(events int) (*Change, error) {
	for range events {
		ev := w.stream.Next()
		if o, _, known := convert.Object(ev.Object); known && o != nil && !ev.Delete {
			w.ix.Upsert(o)
		} else if r, ok := convert.RefOf(ev.Object); ok {
			w.ix.Delete(r)
		}
	}
	w.ix.ApplyNames(w.learner.Deltas(w.ix, w.stream.Answers()))
	d := w.ix.Flush()
	ch := w.c.Apply(d)
	for _, sd := range d.Sets {
		if w.sets[sd.Set.ID()] = sd.Set; sd.Gone {
			delete(w.sets, sd.Set.ID())
		}
	}
	now, sizes, linear := map[string]tableCopy{}, map[*tableRec]int{}, map[*tableRec]int{}
	w.turned = map[string]bool{}
	for id, rec := range w.c.tables {
		now[id] = copyTable(rec.state)
		if b, was := w.before[id]; was && b.linear != now[id].linear {
			w.turned[id] = true
		}
		e := expect(rec.state, w.sets)
		sizes[rec], linear[rec] = e.size(), e.linearSize()
		if rec.state.Linear() {
			continue
		}
		if err := checkTable(rec.state, e, now[id]); err != nil {
			return nil, fmt.Errorf("table %s: %w", id, err)
		}
	}
	if err := w.c.checkForms(w.before, sizes, linear); err != nil {
		return nil, err
	}
	for id, s := range w.sets {
		if got := w.c.Members(w.c.sets[id].set); !slices.Equal(got, s.Members()) {
			return nil, fmt.Errorf("set %s holds %v, want %v", s, got, s.Members())
		}
	}
	err := errors.Join(checkChange(ch, w.before, now), w.checkClasses(ch))
	w.before = now
	return ch, err
}

// checkForms holds which tables are linear to their sizes.
func (c *Compiler) checkForms(before map[string]tableCopy, sizes, linear map[*tableRec]int) error {
	tables := slices.SortedFunc(maps.Keys(sizes), func(a, b *tableRec) int {
		return cmp.Or(cmp.Compare(bits.Len(uint(sizes[a])), bits.Len(uint(sizes[b]))), cmp.Compare(a.state.Table.ID, b.state.Table.ID))
	})
	sum := 0
	for _, t := range tables {
		part := 1
		if before[t.state.Table.ID].linear {
			part = 2
		}
		limit := c.limitOf(t.state.Table) / part
		want := c.opts.Budget > 0 && sizes[t] > max(limit, linear[t])
		if !want && c.opts.Budget > 0 && sizes[t] > min(limit, c.freeOf(t.state.Table)) {
			sum += sizes[t]
			want = c.opts.NodeBudget > 0 && sum > c.opts.NodeBudget/part && linear[t] < sizes[t]
		}
		if _, waits := c.waiting[t]; t.state.Linear() != (want || waits) {
			return fmt.Errorf("table %s of size %d is linear: %v", t.state.Table.ID, sizes[t], t.state.Linear())
		}
	}
	return nil
}

// checkClasses holds classes to what the Changes so far have told, to the places
// that addresses have in tables, and to numbers being told apart.
func (w *tablesWorld) checkClasses(ch *Change) error {
	for _, cc := range ch.Classes {
		if w.classes[cc.Addr] == cc.Class {
			return fmt.Errorf("%s is said to be of another class than %d, and is not", cc.Addr, cc.Class)
		}
		if w.classes[cc.Addr] = cc.Class; cc.Class == 0 {
			delete(w.classes, cc.Addr)
		}
	}
	held := maps.Collect(w.c.Classes(IPv4))
	maps.Insert(held, w.c.Classes(IPv6))
	if !maps.Equal(held, w.classes) {
		return fmt.Errorf("classes are %v, told of %v", held, w.classes)
	}
	for id, rec := range w.c.tables {
		s := rec.state
		if want := !s.Linear() && s.around == nil && s.Len() >= w.c.opts.Classed; s.Classed() != want {
			return fmt.Errorf("table %s of %d addresses is classed: %v", id, s.Len(), s.Classed())
		}
		if !s.Classed() {
			continue
		}
		classes := map[uint32]string{}
		for a, r := range s.EachAddr() {
			if got := s.AtClass(held[a]); !sameRest(got, r) {
				return fmt.Errorf("table %s: %s of class %d leads to %v, want %s", id, a, held[a], got, r.ID)
			}
			classes[held[a]] = r.ID
		}
		for a, n := range held {
			if FamilyOf(a) == s.family && !sameRest(s.AtClass(n), s.At(a)) {
				return fmt.Errorf("table %s: %s of class %d leads to %v", id, a, n, s.AtClass(n))
			}
		}
		if got := copyTable(s).classes; !maps.Equal(got, classes) {
			return fmt.Errorf("table %s has classes %v, want %v", id, got, classes)
		}
	}
	asked := map[Family]map[uint32]bool{IPv4: {}, IPv6: {}}
	for _, rec := range w.c.tables {
		for _, sr := range rec.state.sets {
			asked[rec.state.family][sr.number] = asked[rec.state.family][sr.number] || rec.state.Classed()
		}
	}
	for _, space := range w.c.spaces {
		homes := map[uint32]int{}
		for n, g := range space.groups.byNumber {
			if g.number != n || n == 0 || n > maxClass || space.groups.byContent[g.content] != g {
				return fmt.Errorf("class %d is %+v", n, g)
			}
			for _, set := range g.sets {
				if !asked[space.family][set] {
					return fmt.Errorf("class %d depends on set %d, which no classed table asks for", n, set)
				}
			}
			homes[g.home]++
			w.most = max(w.most, homes[g.home])
		}
		if len(space.groups.byContent) != len(space.groups.byNumber) {
			return fmt.Errorf("%d classes, %d numbers", len(space.groups.byContent), len(space.groups.byNumber))
		}
	}
	return nil
}

// checkEmpty says if a Compiler keeps something of endpoints and policies that are gone.
func (c *Compiler) checkEmpty() error {
	held := map[string]int{
		"tables": len(c.tables), "waiting tables": len(c.waiting), "programs": len(c.programs), "effective policies": len(c.policies), "endpoints": len(c.ends),
		"policies": len(c.flat), "sets": len(c.sets), "literal sets": len(c.literals), "lists of blocks": len(c.blocks),
		"numbered sets": len(c.numbered) - len(c.freeNumbers), "IPv4 classes": len(c.spaces[0].classes), "IPv6 classes": len(c.spaces[1].classes),
		"IPv4 classes of tables": len(c.spaces[0].groups.byNumber), "IPv6 classes of tables": len(c.spaces[1].groups.byContent),
		"IPv4 addresses": len(c.spaces[0].numbers.(*numbers[[4]byte]).of), "IPv6 addresses": len(c.spaces[1].numbers.(*numbers[[16]byte]).of),
	}
	for what, n := range held {
		if n > 0 {
			return fmt.Errorf("%d %s are left", n, what)
		}
	}
	return nil
}

// expected is what a table is to hold, by what the core says its sets hold.
type expected struct {
	table   *Table
	singles map[netip.Addr][]uint16 // numbers of the sets that an address is itself in
	blocks  [][]netip.Prefix        // by number
}

func expect(s *TableState, sets map[string]*index.Set) *expected {
	e := &expected{table: s.Table, singles: map[netip.Addr][]uint16{}, blocks: make([][]netip.Prefix, len(s.Table.Sets))}
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
				e.singles[p.Addr()] = append(e.singles[p.Addr()], uint16(n))
			default:
				e.blocks[n] = append(e.blocks[n], p)
			}
		}
	}
	return e
}

// size is how large the table would be, each combination of sets that is there
// counted once.
func (e *expected) size() int {
	sum, seen := 0, map[string]bool{}
	add := func(numbers []uint16) {
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
		if key := fmt.Sprint(numbers); !seen[key] {
			seen[key] = true
			sum += max(e.table.weight(numbers), 1)
		}
	}
	add(nil)
	for a, own := range e.singles {
		add(append(e.blocksAround(a), own...))
	}
	for n := range e.blocks {
		for _, p := range e.blocks[n] {
			for _, a := range []netip.Addr{p.Addr(), LastAddr(p).Next()} {
				if a.IsValid() {
					add(e.blocksAround(a))
				}
			}
		}
	}
	return sum
}

// linearSize is how large the table would be with its sets in the kernel.
func (e *expected) linearSize() int {
	size := e.table.size
	for _, numbers := range e.singles {
		slices.Sort(numbers)
		size += len(slices.Compact(slices.Clone(numbers)))
	}
	for _, nets := range e.blocks {
		slices.SortFunc(nets, netip.Prefix.Compare)
		size += len(slices.Compact(slices.Clone(nets)))
	}
	return size
}

// blocksAround returns the numbers of the sets with blocks around an address.
func (e *expected) blocksAround(a netip.Addr) (numbers []uint16) {
	for n := range e.blocks {
		if slices.ContainsFunc(e.blocks[n], func(p netip.Prefix) bool { return p.Contains(a) }) {
			numbers = append(numbers, uint16(n))
		}
	}
	return numbers
}

// around returns the ID of the rest for the blocks around an address, and with
// own numbers that of its own.
func (e *expected) around(a netip.Addr, own ...uint16) string {
	numbers := append(e.blocksAround(a), own...)
	slices.Sort(numbers)
	return e.table.rest(slices.Compact(numbers)).ID
}

// checkTable computes a table anew, address by address.
func checkTable(s *TableState, e *expected, held tableCopy) error {
	want := map[netip.Addr]string{}
	rests := map[string]bool{s.Empty.ID: true}
	for a, own := range e.singles {
		id := e.around(a, own...)
		if id != e.around(a) {
			want[a], rests[id] = id, true
		}
		if got := s.Rest(a).ID; got != id {
			return fmt.Errorf("%s leads to %s, want %s", a, got, id)
		}
		if r := s.At(a); (r == nil) != (want[a] == "") || r != nil && r.ID != want[a] {
			return fmt.Errorf("%s is at %v, want %q", a, r, want[a])
		}
	}
	if !maps.Equal(held.addrs, want) || s.Len() != len(want) {
		return fmt.Errorf("%d addresses %v, want %v", s.Len(), held.addrs, want)
	}
	if s.At(netip.Addr{}) != nil {
		return errors.New("no address has an entry")
	}
	for i, b := range s.Blocks {
		rests[b.Rest.ID] = true
		if i > 0 && !s.Blocks[i-1].Last.Less(b.First) {
			return fmt.Errorf("blocks out of order at %s", b.First)
		}
		if b.Rest.ID != e.around(b.First) || b.Rest.ID == s.Empty.ID {
			return fmt.Errorf("%s-%s leads to %s", b.First, b.Last, b.Rest.ID)
		}
	}
	if got := s.Rests(); len(got) != len(rests) {
		return fmt.Errorf("%d rests, want %d", len(got), len(rests))
	}
	return e.checkEdges(s)
}

// checkEdges looks at both sides of the edges of all blocks.
func (e *expected) checkEdges(s *TableState) error {
	for n := range e.blocks {
		for _, p := range e.blocks[n] {
			for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), LastAddr(p), LastAddr(p).Next()} {
				if !a.IsValid() || e.singles[a] != nil {
					continue
				}
				if got, want := s.Rest(a).ID, e.around(a); got != want {
					return fmt.Errorf("%s leads to %s, want %s", a, got, want)
				}
			}
		}
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
		if b.linear || n.linear {
			if tc.Reformed != (b.linear != n.linear) {
				return fmt.Errorf("table %s: linear %v, was %v, told %v", id, n.linear, b.linear, tc.Reformed)
			}
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
		if tc.Reformed != (b.classed != n.classed) {
			return fmt.Errorf("table %s: classed %v, was %v, told %v", id, n.classed, b.classed, tc.Reformed)
		}
		for number := range n.classes {
			if b.classed && n.classes[number] != b.classes[number] && !slices.Contains(tc.Classes, number) {
				return fmt.Errorf("table %s: nothing is told of class %d", id, number)
			}
		}
		for number := range b.classes {
			if n.classed && n.classes[number] == "" && !slices.Contains(tc.Classes, number) {
				return fmt.Errorf("table %s: nothing is told of class %d, which is gone", id, number)
			}
		}
		if tc.Blocks != (b.blocks != n.blocks) {
			return fmt.Errorf("table %s: blocks changed: %v", id, tc.Blocks)
		}
	}
	return nil
}
