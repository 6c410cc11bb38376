package names

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

var start = time.Unix(1_700_000_000, 0)

func pat(t testing.TB, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func answer(ttl time.Duration, names []string, addrs ...string) Answer {
	a := Answer{Names: names}
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, Address{netip.MustParseAddr(s), ttl})
	}
	return a
}

func one(name string, addrs ...string) Answer { return answer(time.Minute, []string{name}, addrs...) }

func wantMembers(t *testing.T, tab *Table, p Pattern, want string) {
	t.Helper()
	if got := fmt.Sprint(tab.Members(p)); got != want {
		t.Errorf("members of %s: %s, want %s", p, got, want)
	}
}

// TestChain: any name of the chain counts, each for itself.
func TestChain(t *testing.T) {
	tab := New(Options{})
	asked, alias, below := pat(t, "shop.example"), pat(t, "*.cdn.example"), pat(t, "other.example")
	for _, p := range []Pattern{asked, alias, below} {
		tab.Use(p)
	}
	o := tab.Learn(answer(time.Minute, []string{"shop.example", "shop.edge.example", "e7.cdn.example"}, "192.0.2.1", "2001:db8::1"), start)
	if fmt.Sprint(o.Names) != "[shop.example e7.cdn.example]" || o.Added != 4 {
		t.Errorf("%+v", o)
	}
	wantMembers(t, tab, asked, "[192.0.2.1 2001:db8::1]")
	wantMembers(t, tab, alias, "[192.0.2.1 2001:db8::1]")
	wantMembers(t, tab, below, "[]")
	if got := tab.Sources(Pattern{}, netip.MustParseAddr("192.0.2.1")); len(got) != 2 || got[0].Name != "e7.cdn.example" || got[1].Name != "shop.example" ||
		!got[0].Since.Equal(start) || !got[0].Until.Equal(start.Add(3*time.Minute)) {
		t.Errorf("%+v", got)
	}
	if got := tab.Sources(alias, netip.MustParseAddr("192.0.2.1")); len(got) != 1 || got[0].Name != "e7.cdn.example" {
		t.Errorf("%+v", got)
	}
	if got := tab.Sources(below, netip.MustParseAddr("192.0.2.1")); got != nil {
		t.Errorf("%+v", got)
	}
	if got := fmt.Sprint(tab.PatternsOf("e7.cdn.example"), tab.PatternsOf("none")); got != "[*.cdn.example] []" {
		t.Error(got)
	}
}

func TestTTL(t *testing.T) {
	for _, c := range []struct {
		ttl, lives time.Duration
		opts       Options
	}{
		{0, 130 * time.Second, Options{}},
		{60 * time.Second, 180 * time.Second, Options{}},
		{24 * time.Hour, time.Hour + 120*time.Second, Options{}},
		{0, time.Second, Options{MinTTL: time.Second, ExtraTTL: -1}},
		{0, 0, Options{MinTTL: -1, ExtraTTL: -1}},
		{-time.Hour, 130 * time.Second, Options{}},
	} {
		tab, p := New(c.opts), pat(t, "a.example")
		tab.Use(p)
		tab.Learn(answer(c.ttl, []string{"a.example"}, "192.0.2.1"), start)
		if at, ok := tab.Due(); !ok || !at.Equal(start.Add(c.lives)) {
			t.Errorf("%v: due %v", c.ttl, at)
		}
		tab.Expire(start.Add(c.lives - time.Second))
		if c.lives > 0 {
			wantMembers(t, tab, p, "[192.0.2.1]")
		}
		tab.Expire(start.Add(c.lives))
		wantMembers(t, tab, p, "[]")
		if _, ok := tab.Due(); ok {
			t.Error("something is due")
		}
	}
}

// TestLongerNeverShorter: an answer with a smaller TTL takes nothing back.
func TestLongerNeverShorter(t *testing.T) {
	tab, p := New(Options{}), pat(t, "a.example")
	tab.Use(p)
	tab.Learn(answer(time.Hour, []string{"a.example"}, "192.0.2.1"), start)
	tab.Learn(answer(0, []string{"a.example"}, "192.0.2.1"), start.Add(time.Minute))
	tab.Expire(start.Add(time.Hour))
	wantMembers(t, tab, p, "[192.0.2.1]")
}

// TestInUse: a connection keeps its address, and no longer than it lasts.
func TestInUse(t *testing.T) {
	busy := true
	a, p := netip.MustParseAddr("192.0.2.1"), pat(t, "a.example")
	tab := New(Options{InUse: func(x netip.Addr) bool { return busy && x == a }})
	tab.Use(p)
	tab.Learn(one("a.example", "192.0.2.1", "192.0.2.2"), start)
	now := start.Add(time.Hour)
	tab.Expire(now)
	wantMembers(t, tab, p, "[192.0.2.1]")
	if at, _ := tab.Due(); !at.Equal(now.Add(KeepInUse)) {
		t.Errorf("asked again at %v", at)
	}
	busy = false
	tab.Expire(now.Add(KeepInUse))
	wantMembers(t, tab, p, "[]")
}

func TestRefused(t *testing.T) {
	internal := netip.MustParsePrefix("10.0.0.0/8")
	tab, p := New(Options{Refuse: internal.Contains}), pat(t, "a.example")
	tab.Use(p)
	o := tab.Learn(one("a.example", "10.0.0.1", "192.0.2.1", "::ffff:10.0.0.2", "::ffff:192.0.2.2"), start)
	if fmt.Sprint(o.Refused) != "[10.0.0.1 10.0.0.2]" {
		t.Errorf("%+v", o)
	}
	wantMembers(t, tab, p, "[192.0.2.1 192.0.2.2]")
	if o := tab.Learn(one("unknown.example", "10.0.0.1"), start); o.Names != nil || o.Refused != nil {
		t.Errorf("an answer that concerns nobody: %+v", o)
	}
}

// TestRotation: of 500 addresses that come 8 at a time none is lost before its time.
func TestRotation(t *testing.T) {
	tab, p := New(Options{}), pat(t, "s3.example")
	tab.Use(p)
	now := start
	for i := range 63 {
		a := Answer{Names: []string{"s3.example"}}
		for j := range 8 {
			n := (i*8 + j) % 500
			a.Addrs = append(a.Addrs, Address{netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), time.Second})
		}
		tab.Learn(a, now)
		tab.Expire(now)
		now = now.Add(2 * time.Second)
	}
	if n := len(tab.Members(p)); n != 500 {
		t.Errorf("%d members", n)
	}
}

// TestSharedAddress: an address of two names goes with the last of them.
func TestSharedAddress(t *testing.T) {
	tab, p := New(Options{}), pat(t, "*.example")
	tab.Use(p)
	tab.Learn(answer(10*time.Second, []string{"a.example"}, "192.0.2.1"), start)
	tab.Learn(answer(time.Minute, []string{"b.example"}, "192.0.2.1"), start)
	if d := tab.Deltas(); len(d) != 1 || fmt.Sprint(d[0].Added) != "[192.0.2.1]" {
		t.Errorf("%+v", d)
	}
	tab.Expire(start.Add(131 * time.Second))
	if d := tab.Deltas(); d != nil {
		t.Errorf("%+v", d)
	}
	tab.Expire(start.Add(181 * time.Second))
	if d := tab.Deltas(); len(d) != 1 || fmt.Sprint(d[0].Removed) != "[192.0.2.1]" || d[0].Added != nil {
		t.Errorf("%+v", d)
	}
}

func TestUseAndRelease(t *testing.T) {
	tab, wild, exact := New(Options{}), pat(t, "*.example"), pat(t, "a.example")
	tab.Use(wild)
	tab.Learn(one("a.example", "192.0.2.1"), start)
	tab.Use(exact) // what is known already is its own
	wantMembers(t, tab, exact, "[192.0.2.1]")
	tab.Use(wild)
	tab.Release(wild)
	wantMembers(t, tab, wild, "[192.0.2.1]")
	tab.Release(wild)
	tab.Release(wild) // nothing happens
	wantMembers(t, tab, wild, "[]")
	wantMembers(t, tab, exact, "[192.0.2.1]")
	if d := tab.Deltas(); len(d) != 1 || d[0].Pattern != exact {
		t.Errorf("%+v", d)
	}
	tab.Release(exact)
	tab.Use(exact) // forgotten meanwhile
	if d := tab.Deltas(); len(d) != 1 || fmt.Sprint(d[0].Removed) != "[192.0.2.1]" {
		t.Errorf("%+v", d)
	}
	tab.Use(Pattern{})
	tab.Release(Pattern{})
	if got := fmt.Sprint(tab.Patterns()); got != "[a.example]" {
		t.Error(got)
	}
}

func TestRestore(t *testing.T) {
	old, p := New(Options{}), pat(t, "*.example")
	old.Use(p)
	old.Learn(one("a.example", "192.0.2.1", "2001:db8::1"), start)
	old.Learn(answer(time.Hour, []string{"b.example"}, "192.0.2.2"), start)
	tab, now := New(Options{Refuse: func(a netip.Addr) bool { return a == netip.MustParseAddr("2001:db8::1") }}), start.Add(time.Minute)
	tab.Use(p)
	for _, k := range old.Names() {
		tab.Restore(k, now)
	}
	tab.Restore(Known{Name: "c.example", Addr: netip.MustParseAddr("192.0.2.3"), Since: start, Until: now}, now)
	tab.Restore(Known{Name: "c.other", Addr: netip.MustParseAddr("192.0.2.3"), Since: start, Until: now.Add(time.Hour)}, now)
	tab.Restore(Known{Name: "d.example", Addr: netip.MustParseAddr("192.0.2.4"), Since: now.Add(time.Hour), Until: now.Add(1000 * time.Hour)}, now)
	tab.Restore(Known{Name: "e.example", Until: now.Add(time.Hour)}, now)
	var got []string
	for _, k := range tab.Names() {
		got = append(got, fmt.Sprintf("%s %s %v %v", k.Name, k.Addr, k.Since.Sub(start), k.Until.Sub(start)))
	}
	want := "[a.example 192.0.2.1 0s 3m0s b.example 192.0.2.2 0s 1h2m0s d.example 192.0.2.4 1m0s 1h3m0s]"
	if fmt.Sprint(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// TestFlood: a million random names below a wildcard, which somebody asks for, change
// nothing for the names of other patterns.
func TestFlood(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	tab := New(Options{InUse: func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.7") }})
	exact, quiet, flooded := pat(t, "api.example"), pat(t, "*.quiet.example"), pat(t, "*.evil.example")
	for _, p := range []Pattern{exact, quiet, flooded} {
		tab.Use(p)
	}
	tab.Learn(answer(time.Hour, []string{"api.example"}, "192.0.2.1"), start)
	for i := range 100 {
		tab.Learn(answer(time.Hour, []string{fmt.Sprintf("n%d.quiet.example", i)}, fmt.Sprintf("192.0.2.%d", 100+i)), start)
	}
	tab.Learn(answer(time.Hour, []string{"used.evil.example"}, "198.51.100.7"), start)
	for i := range n {
		name := fmt.Sprintf("r%d.evil.example", i)
		a := netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
		if o := tab.Learn(Answer{Names: []string{name}, Addrs: []Address{{a, time.Minute}}}, start); o.Added != 1 {
			t.Fatalf("%s was not learnt: %+v", name, o) // whoever asks is served
		}
		if i%10_000 == 0 {
			tab.Deltas()
		}
	}
	if s := tab.Size(); s.Names != 1+100+DefaultMaxNamesPerWildcard {
		t.Errorf("%+v", s)
	}
	wantMembers(t, tab, exact, "[192.0.2.1]")
	if got := len(tab.Members(quiet)); got != 100 {
		t.Errorf("%d members of %s", got, quiet)
	}
	if !slices.Contains(tab.Members(flooded), netip.MustParseAddr("198.51.100.7")) {
		t.Error("an address in use was forgotten")
	}
	runtime.KeepAlive(tab)
}

// TestManyWildcards: with more wildcards than the table has room for, names that rules
// spell out stay.
func TestManyWildcards(t *testing.T) {
	tab := New(Options{MaxNames: 500, MaxNamesPerWildcard: 100})
	var exact []Pattern
	for i := range 200 {
		p := pat(t, fmt.Sprintf("e%d.example", i))
		exact = append(exact, p)
		tab.Use(p)
		tab.Learn(one(p.String(), "192.0.2.1"), start)
	}
	for i := range 20 {
		tab.Use(pat(t, fmt.Sprintf("*.w%d.example", i)))
		for j := range 1000 {
			tab.Learn(one(fmt.Sprintf("n%d.w%d.example", j, i), "192.0.2.9"), start)
		}
	}
	if s := tab.Size(); s.Names != 500 {
		t.Errorf("%+v", s)
	}
	for _, p := range exact {
		wantMembers(t, tab, p, "[192.0.2.1]")
	}
	for i := range 300 {
		tab.Use(pat(t, fmt.Sprintf("f%d.example", i)))
		tab.Learn(one(fmt.Sprintf("f%d.example", i), "192.0.2.1"), start)
	}
	tab.Use(pat(t, "g.example"))
	if o := tab.Learn(one("g.example", "192.0.2.1"), start); o.Full != 1 || o.Added != 0 {
		t.Errorf("more names than there is room for: %+v", o)
	}
}

// fill learns 100 addresses for each of n names, of the patterns that are given by number.
func fill(tab *Table, n int, six bool, name func(int) string) {
	for i := range n {
		a := Answer{Names: []string{name(i)}}
		for j := range 100 {
			v := i*100 + j
			x := netip.AddrFrom4([4]byte{byte(v>>24) + 1, byte(v >> 16), byte(v >> 8), byte(v)})
			if six {
				x = netip.AddrFrom16([16]byte{0x20, 1, 12: byte(v >> 24), 13: byte(v >> 16), 14: byte(v >> 8), 15: byte(v)})
			}
			a.Addrs = append(a.Addrs, Address{x, time.Minute})
		}
		tab.Learn(a, start)
		if i%100 == 0 {
			tab.Deltas()
		}
	}
	tab.Deltas()
}

// BenchmarkMemory reports what 10,000 names of 100 addresses take.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		name string
		wild bool
	}{{"exact", false}, {"wildcards", true}} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				tab := New(Options{})
				name := func(i int) string { return fmt.Sprintf("name-%d.w%d.example.com", i, i%10) }
				for i := range 10_000 {
					if !c.wild {
						tab.Use(pat(b, name(i)))
					} else if i < 10 {
						tab.Use(pat(b, fmt.Sprintf("*.w%d.example.com", i)))
					}
				}
				fill(tab, 10_000, true, name)
				runtime.GC()
				runtime.ReadMemStats(&after)
				if s := tab.Size(); s.Addresses != 1_000_000 {
					b.Fatalf("%+v", s)
				}
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
			}
		})
	}
}

// BenchmarkLearn is an answer of 8 addresses, with a chain of 3 names, among 10,000 patterns.
func BenchmarkLearn(b *testing.B) {
	for name, fresh := range map[string]bool{"known": false, "fresh": true} {
		b.Run(name, func(b *testing.B) {
			tab := New(Options{})
			for i := range 10_000 {
				tab.Use(pat(b, fmt.Sprintf("n%d.example.com", i)))
			}
			tab.Use(pat(b, "*.cdn.example.net"))
			answers := make([]Answer, 10_000)
			for i := range answers {
				answers[i].Names = []string{fmt.Sprintf("n%d.example.com", i), "x.edge.example.org", fmt.Sprintf("e%d.cdn.example.net", i)}
				for j := range 8 {
					answers[i].Addrs = append(answers[i].Addrs, Address{netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), time.Minute})
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				k := 0
				if fresh {
					k = i % len(answers)
				}
				tab.Learn(answers[k], start.Add(time.Duration(i)*time.Millisecond))
				if i++; i%16 == 0 {
					tab.Deltas()
				}
			}
		})
	}
}
