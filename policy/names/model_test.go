package names

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// naive is a table without indexes: what it knows is one list of names, and it
// computes everything from that list each time.
type naive struct {
	opts   Options
	refs   map[string]int
	names  map[string]*naiveName
	stamp  int
	before map[string][]netip.Addr // members at the last deltas
}

type naiveName struct {
	addrs map[netip.Addr]*naiveRecord
	of    map[string]int // patterns, with the stamp of the last answer
}

type naiveRecord struct{ since, until int64 }

func newNaive(o Options) *naive {
	return &naive{opts: o.withDefaults(), refs: map[string]int{}, names: map[string]*naiveName{}, before: map[string][]netip.Addr{}}
}

func isWild(p string) bool { return strings.Contains(p, star) }

func (n *naive) matching(name string) (out []string) {
	for _, p := range slices.Sorted(maps.Keys(n.refs)) {
		if slowMatch(strings.Split(p, "."), strings.Split(name, ".")) {
			out = append(out, p)
		}
	}
	return out
}

func (n *naive) next() int { n.stamp++; return n.stamp }

func (n *naive) namesOf(p string) (out []string) {
	for name, e := range n.names {
		if _, ok := e.of[p]; ok {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Compare(n.names[a].of[p], n.names[b].of[p]) })
	return out
}

func (n *naive) use(p string) {
	if n.refs[p]++; n.refs[p] > 1 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		if slices.Contains(n.matching(name), p) {
			n.join(name, p)
		}
	}
}

func (n *naive) release(p string) {
	if n.refs[p] == 0 {
		return
	}
	if n.refs[p]--; n.refs[p] > 0 {
		return
	}
	delete(n.refs, p)
	for _, name := range n.namesOf(p) {
		n.leave(name, p)
	}
}

func (n *naive) leave(name, p string) {
	delete(n.names[name].of, p)
	if len(n.names[name].of) == 0 {
		delete(n.names, name)
	}
}

func (n *naive) inUse(name string) bool {
	for a := range n.names[name].addrs {
		if n.opts.InUse(a) {
			return true
		}
	}
	return false
}

func (n *naive) oldest(p string, may func(string) bool) string {
	for range min(triedForRoom, len(n.namesOf(p))) {
		name := n.namesOf(p)[0]
		if may(name) && !n.inUse(name) {
			return name
		}
		n.names[name].of[p] = n.next()
	}
	return ""
}

func (n *naive) join(name, p string) bool {
	if isWild(p) && len(n.namesOf(p)) >= n.opts.MaxNamesPerWildcard {
		victim := n.oldest(p, func(string) bool { return true })
		if victim == "" {
			return false
		}
		n.leave(victim, p)
	}
	n.names[name].of[p] = n.next()
	return true
}

func (n *naive) exact(name string) bool {
	for p := range n.names[name].of {
		if !isWild(p) {
			return true
		}
	}
	return false
}

func (n *naive) makeRoom() bool {
	var wild []string
	for p := range n.refs {
		if isWild(p) && len(n.namesOf(p)) > 0 {
			wild = append(wild, p)
		}
	}
	slices.SortFunc(wild, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(n.namesOf(b)), len(n.namesOf(a))), cmp.Compare(a, b))
	})
	for _, p := range wild {
		if victim := n.oldest(p, func(name string) bool { return !n.exact(name) }); victim != "" {
			delete(n.names, victim)
			return true
		}
	}
	return false
}

func (n *naive) learn(a Answer, now time.Time) (o Outcome) {
	for i, name := range a.Names {
		patterns := n.matching(name)
		if len(patterns) == 0 || slices.Contains(a.Names[:i], name) {
			continue
		}
		var refused []netip.Addr
		records := map[netip.Addr]int64{}
		var order []netip.Addr
		for _, x := range a.Addrs {
			addr := x.Addr.Unmap()
			if n.opts.Refuse(addr) {
				refused = append(refused, addr)
				continue
			}
			life := min(max(x.TTL, n.opts.MinTTL), n.opts.MaxTTL) + n.opts.ExtraTTL
			if _, ok := records[addr]; !ok {
				order = append(order, addr)
			}
			records[addr] = max(records[addr], now.Unix()+int64(life/time.Second))
		}
		o.Refused, o.Names = refused, append(o.Names, name)
		if len(records) == 0 {
			continue
		}
		if !n.open(name, patterns, &o) {
			o.Full++
			continue
		}
		for _, addr := range order {
			n.add(name, addr, naiveRecord{now.Unix(), records[addr]}, &o)
		}
	}
	return o
}

// open makes a name ready for addresses.
func (n *naive) open(name string, patterns []string, o *Outcome) bool {
	e := n.names[name]
	if e == nil {
		n.names[name] = &naiveName{addrs: map[netip.Addr]*naiveRecord{}, of: map[string]int{}}
		for _, p := range patterns {
			n.join(name, p)
		}
		if len(n.names[name].of) == 0 {
			delete(n.names, name)
		} else if len(n.names) > n.opts.MaxNames && !n.makeRoom() {
			delete(n.names, name)
		}
		if n.names[name] == nil {
			return false
		}
	} else {
		for _, p := range patterns {
			if _, ok := e.of[p]; !ok && !n.join(name, p) {
				o.Full++
			}
		}
	}
	e = n.names[name]
	for _, p := range slices.Sorted(maps.Keys(e.of)) {
		e.of[p] = n.next()
	}
	return true
}

func (n *naive) add(name string, a netip.Addr, r naiveRecord, o *Outcome) {
	e := n.names[name]
	if old := e.addrs[a]; old != nil {
		old.until = max(old.until, r.until)
		return
	}
	if len(e.addrs) >= n.opts.MaxAddressesPerName {
		var victim netip.Addr
		for _, x := range slices.SortedFunc(maps.Keys(e.addrs), netip.Addr.Compare) {
			if !n.opts.InUse(x) && (!victim.IsValid() || e.addrs[x].until < e.addrs[victim].until) {
				victim = x
			}
		}
		if !victim.IsValid() {
			o.Full++
			return
		}
		delete(e.addrs, victim)
	}
	e.addrs[a] = &r
	o.Added++
}

func (n *naive) expire(now time.Time) {
	for name, e := range n.names {
		for a, r := range e.addrs {
			if r.until > now.Unix() {
				continue
			}
			if n.opts.InUse(a) {
				r.until = now.Unix() + int64(KeepInUse/time.Second)
			} else {
				delete(e.addrs, a)
			}
		}
		if len(e.addrs) == 0 {
			delete(n.names, name)
		}
	}
}

func (n *naive) members(p string) (out []netip.Addr) {
	seen := map[netip.Addr]bool{}
	for _, e := range n.names {
		if _, ok := e.of[p]; ok {
			for a := range e.addrs {
				seen[a] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), netip.Addr.Compare)
}

func (n *naive) deltas() (out []Delta) {
	all := maps.Clone(n.before)
	for p := range n.refs {
		all[p] = nil
	}
	for _, p := range slices.Sorted(maps.Keys(all)) {
		d, was, is := Delta{Pattern: Pattern{p}}, n.before[p], n.members(p)
		for _, a := range is {
			if !slices.Contains(was, a) {
				d.Added = append(d.Added, a)
			}
		}
		for _, a := range was {
			if !slices.Contains(is, a) {
				d.Removed = append(d.Removed, a)
			}
		}
		slices.SortFunc(d.Removed, netip.Addr.Compare)
		if n.before[p] = is; len(is) == 0 {
			delete(n.before, p)
		}
		if len(d.Added)+len(d.Removed) > 0 {
			out = append(out, d)
		}
	}
	return out
}

// additions are deltas without what has gone, which is left for later.
func (n *naive) additions() (out []Delta) {
	for _, d := range n.deltas() {
		p := d.Pattern.String()
		n.before[p] = append(slices.Clone(n.before[p]), d.Removed...)
		if d.Removed = nil; len(d.Added) > 0 {
			out = append(out, d)
		}
	}
	return out
}

func (n *naive) known() (out []Known) {
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		e := n.names[name]
		for _, a := range slices.SortedFunc(maps.Keys(e.addrs), compare16) {
			out = append(out, Known{name, a, time.Unix(e.addrs[a].since, 0).UTC(), time.Unix(e.addrs[a].until, 0).UTC()})
		}
	}
	return out
}

func compare16(a, b netip.Addr) int { return slices.Compare(a.AsSlice(), b.AsSlice()) }

// TestModel holds the table to the naive one over random traces.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { traceModel(t, seed, 400) })
	}
}

func traceModel(t *testing.T, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 0))
	used := map[netip.Addr]bool{}
	refused := netip.MustParsePrefix("10.0.0.0/29")
	o := Options{
		MaxNames: 3 + r.IntN(12), MaxAddressesPerName: 1 + r.IntN(6), MaxNamesPerWildcard: 1 + r.IntN(6),
		MinTTL: 5 * time.Second, MaxTTL: 60 * time.Second, ExtraTTL: time.Duration(r.IntN(20)-1) * time.Second,
		Refuse: refused.Contains, InUse: func(a netip.Addr) bool { return used[a] },
	}
	patterns := strings.Fields("a.x b.x c.a.x *.x *.a.x a.*.x *.y a.y *.b.y *.*.x")
	labels := strings.Fields("a b c d e")
	name := func() string {
		var s string
		for range 1 + r.IntN(3) {
			s += labels[r.IntN(len(labels))] + "."
		}
		return s + []string{"x", "y", "z"}[r.IntN(3)]
	}
	address := func() netip.Addr {
		if r.IntN(3) == 0 {
			return netip.AddrFrom16([16]byte{0x20, 1, 15: byte(r.IntN(12))})
		}
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(24))})
	}
	tab, model, now := New(o), newNaive(o), time.Unix(1_000_000, 0)
	for step := range steps {
		switch what := r.IntN(20); {
		case what < 3:
			p := patterns[r.IntN(len(patterns))]
			tab.Use(Pattern{p})
			model.use(p)
		case what < 5:
			p := patterns[r.IntN(len(patterns))]
			tab.Release(Pattern{p})
			model.release(p)
		case what < 7:
			used[address()] = r.IntN(2) == 0
		case what < 10:
			now = now.Add(time.Duration(r.IntN(20)) * time.Second)
			tab.Expire(now)
			model.expire(now)
		case what < 11:
			if got, want := fmt.Sprint(tab.Deltas()), fmt.Sprint(model.deltas()); got != want {
				t.Fatalf("step %d: deltas\n got %s\nwant %s", step, got, want)
			}
			if tab.Gone() != 0 {
				t.Fatalf("step %d: %d addresses have gone after all deltas", step, tab.Gone())
			}
		case what < 12:
			if got, want := fmt.Sprint(tab.Additions()), fmt.Sprint(model.additions()); got != want {
				t.Fatalf("step %d: additions\n got %s\nwant %s", step, got, want)
			}
		default:
			var a Answer
			for range 1 + r.IntN(3) {
				a.Names = append(a.Names, name())
			}
			for range r.IntN(6) {
				a.Addrs = append(a.Addrs, Address{address(), time.Duration(r.IntN(90)) * time.Second})
			}
			if got, want := fmt.Sprint(tab.Learn(a, now)), fmt.Sprint(model.learn(a, now)); got != want {
				t.Fatalf("step %d: learn %v\n got %s\nwant %s", step, a, got, want)
			}
		}
		if got, want := fmt.Sprint(tab.Names()), fmt.Sprint(model.known()); got != want {
			t.Fatalf("step %d: names\n got %s\nwant %s", step, got, want)
		}
		for _, p := range patterns {
			if got, want := fmt.Sprint(tab.Members(Pattern{p})), fmt.Sprint(model.members(p)); got != want && model.refs[p] > 0 {
				t.Fatalf("step %d: members of %s\n got %s\nwant %s", step, p, got, want)
			}
		}
		check(t, tab)
	}
	for _, p := range tab.Patterns() {
		for range model.refs[p.String()] {
			tab.Release(p)
		}
	}
	if s := tab.Size(); s != (Size{}) || len(tab.agenda) != 0 || len(tab.trie.root.next) != 0 {
		t.Errorf("something is left: %+v", s)
	}
}

// check looks at what must hold between the parts of a table.
func check(t *testing.T, tab *Table) {
	t.Helper()
	if len(tab.names) > tab.opts.MaxNames || len(tab.agenda) != len(tab.names) {
		t.Fatalf("%d names, %d on the agenda, bound %d", len(tab.names), len(tab.agenda), tab.opts.MaxNames)
	}
	for i, e := range tab.agenda {
		if e.index != i || len(e.records) == 0 || len(e.records) > tab.opts.MaxAddressesPerName {
			t.Fatalf("%s: index %d at %d, %d records", e.name, e.index, i, len(e.records))
		}
		for _, r := range e.records {
			if r.until < e.due {
				t.Fatalf("%s is due at %d, a record at %d", e.name, e.due, r.until)
			}
		}
	}
	gone := 0
	for p := range tab.changed {
		for _, came := range p.pending {
			if !came {
				gone++
			}
		}
	}
	if gone != tab.gone {
		t.Fatalf("%d addresses have gone, counted as %d", gone, tab.gone)
	}
	for _, p := range tab.patterns {
		if p.order.Len() > tab.opts.MaxNamesPerWildcard {
			t.Fatalf("%s has %d names", p, p.order.Len())
		}
	}
}
