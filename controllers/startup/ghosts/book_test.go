package ghosts

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tierwall/tierwall/policy/model"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func number(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(64 + i>>16), byte(i >> 8), byte(i)})
}

func tell(b *Book) string {
	upserts, deletes := b.Changes()
	var out []string
	for _, u := range upserts {
		out = append(out, fmt.Sprintf("+%s %v", u.Ref(), u.Addrs))
	}
	for _, d := range deletes {
		out = append(out, "-"+d.String())
	}
	return strings.Join(out, "; ")
}

func TestChanges(t *testing.T) {
	b := New("n1")
	want := func(text string) {
		t.Helper()
		if got := tell(b); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	want("")
	p := Pod{Namespace: "a", Name: "p", UID: "u1", Addrs: []netip.Addr{number(2), number(1)}, Grace: time.Second}
	b.Begin(p, now)
	want("+PodGhost/a/p@u1 [100.64.0.1 100.64.0.2]")
	b.Begin(p, now)
	want("")
	b.Own(number(2), true)
	want("+PodGhost/a/p@u1 [100.64.0.1]")
	b.Own(number(3), true)
	want("")
	// An address has one ghost.
	b.Begin(Pod{Namespace: "a", Name: "q", UID: "u2", Addrs: []netip.Addr{number(1)}}, now)
	want("+PodGhost/a/q@u2 [100.64.0.1]; -PodGhost/a/p@u1")
	// What has come and gone is not worth a word.
	b.Begin(Pod{Namespace: "a", Name: "r", UID: "u3", Addrs: []netip.Addr{number(7)}}, now)
	b.Own(number(7), true)
	want("")
	b.Begin(Pod{Namespace: "a", Name: "r", UID: "u3"}, now)
	want("")
	b.Expire(now.Add(Margin))
	want("-PodGhost/a/q@u2")
	if !b.Next().IsZero() || b.Len() != 0 {
		t.Errorf("left are %d, next %v", b.Len(), b.Next())
	}
	var ends []string
	for _, e := range b.Events() {
		ends = append(ends, strings.TrimSpace(fmt.Sprintf("%s %v %s", e.Ref.Name, e.Addrs, e.End)))
	}
	if got, want := strings.Join(ends, ", "), "p@u1 [100.64.0.2 100.64.0.1], p@u1 [100.64.0.2] owned, q@u2 [100.64.0.1], r@u3 [100.64.0.7], r@u3 [100.64.0.7] owned, q@u2 [100.64.0.1] expired"; got != want {
		t.Errorf("events: %s\nwant:   %s", got, want)
	}
}

func TestPatience(t *testing.T) {
	for grace, want := range map[time.Duration]time.Duration{
		-time.Hour: Margin, 0: Margin, 30 * time.Second: time.Minute, 2 * time.Hour: Longest, 1<<63 - 1: Longest,
	} {
		p := Pod{Grace: min(grace, Longest)}
		if got := p.lasts(); got != want {
			t.Errorf("%v: %v, want %v", grace, got, want)
		}
	}
}

// Many ghosts open none of them: those without a name of their own stay denied, too,
// for as long as any could.
func TestCap(t *testing.T) {
	b := New("n1")
	const n = MaxNamed + 500
	for i := range n {
		b.Begin(Pod{Namespace: "a", Name: "p", UID: fmt.Sprint(i), Addrs: []netip.Addr{number(i)}, Sandbox: fmt.Sprint("s", i)}, now)
	}
	upserts, _ := b.Changes()
	if len(upserts) != MaxNamed+1 || b.Len() != n {
		t.Fatalf("%d ghosts with %d addresses, want %d with %d", len(upserts), b.Len(), MaxNamed+1, n)
	}
	all := upserts[len(upserts)-1]
	if r := all.Ref(); r != (model.Ref{Kind: model.KindPodGhost, Name: "more@"}) && upserts[0].Ref().Name != "more@" {
		t.Errorf("the last one is %s", r)
	}
	for i := range n {
		if !b.Has(number(i)) {
			t.Fatalf("%v is open", number(i))
		}
	}
	b.Expire(now.Add(Longest - time.Second))
	if b.Len() != n {
		t.Errorf("%d are left before their time", b.Len())
	}
	b.Expire(now.Add(Longest))
	if b.Len() != MaxNamed { // these run, as the runtime reports
		t.Errorf("%d are left", b.Len())
	}
	b.Own(number(0), true) // one of the names is free
	b.Begin(Pod{Namespace: "a", Name: "q", UID: "x", Addrs: []netip.Addr{number(n)}}, now)
	if got := tell(b); !strings.Contains(got, "+PodGhost/a/q@x") {
		t.Errorf("told: %s", got)
	}
}

// Beyond the last bound those give way that would end first, and no others.
func TestMoreIsBounded(t *testing.T) {
	b := New("n1")
	for i := range MaxNamed {
		b.Begin(Pod{Namespace: "a", Name: "p", UID: fmt.Sprint(i), Addrs: []netip.Addr{number(i)}}, now)
	}
	var list []netip.Addr
	for i := range MaxMore {
		list = append(list, number(1<<17+i))
	}
	b.Begin(Pod{Namespace: "a", Name: "q", UID: "old", Addrs: list, Linked: list[:1]}, now)
	b.Begin(Pod{Namespace: "a", Name: "r", UID: "new", Addrs: []netip.Addr{number(5000)}}, now.Add(time.Second))
	if b.Len() != MaxNamed+MaxMore {
		t.Errorf("%d addresses", b.Len())
	}
	for _, a := range []netip.Addr{list[0], number(5000), number(0)} {
		if !b.Has(a) {
			t.Errorf("%v is open", a)
		}
	}
	if b.Has(list[1]) {
		t.Error("the one that would end first is still there")
	}
}
