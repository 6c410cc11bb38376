package watch

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs the test on a thread of a network namespace of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("network namespaces need root: %v", err)
	}
}

func nft(script string) error {
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(script)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// world is the tables of the test: the one that is watched, and its namesakes.
const world = `
add table inet mine
add set inet mine s { type ipv4_addr; }
add chain inet mine c
add table inet other
add chain inet other c
add table ip mine
add chain ip mine c
`

func TestWatch(t *testing.T) {
	inNamespace(t)
	if err := nft(world); err != nil {
		t.Fatal(err)
	}
	w, err := New("mine")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	changes, over := make(chan struct{}, 100), make(chan error, 1)
	go func() { over <- w.Watch(ctx, func() { changes <- struct{}{} }) }()

	run := func(script string) {
		t.Helper()
		if err := nft(script); err != nil {
			t.Fatal(err)
		}
	}
	own := func(script string) {
		t.Helper()
		if err := w.Own(func() error { return nft(script) }); err != nil {
			t.Fatal(err)
		}
	}
	// Each of these is news, and only these: what must not be stands before each.
	for _, script := range []string{
		"add element inet mine s { 10.0.0.1 }",
		"delete element inet mine s { 10.0.0.1 }",
		"add rule inet mine c counter",
		"add rule inet mine c accept\nflush chain inet mine c",
		"delete table inet mine",
		"add table inet mine\nadd chain inet mine d",
		"flush ruleset",
	} {
		own("add rule inet mine c accept\nflush chain inet mine c\nadd element inet mine s { 10.0.0.9 }\ndelete element inet mine s { 10.0.0.9 }")
		run("add rule inet other c accept\nadd rule ip mine c accept")
		run(script)
		<-changes
		own(world)
	}
	// Several transactions of our own, and another's right before ours.
	if err := w.Own(func() error {
		run("add rule inet mine c accept")
		return nft("add rule inet mine c drop")
	}); err != nil {
		t.Fatal(err)
	}
	run("add rule inet mine c accept")
	own("add rule inet mine c drop")
	<-changes
	// One transaction of our own, and another's beside it; then two of our own.
	for most := range 3 {
		if err := w.OwnUpTo(func() (int, error) {
			run("add rule inet mine c accept")
			run("add rule inet other c accept")
			return most, nft("add rule inet mine c drop")
		}); err != nil {
			t.Fatal(err)
		}
		if most < 2 {
			<-changes
		}
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if len(changes) > 0 {
		t.Errorf("%d changes too many", len(changes))
	}
	own("add rule inet mine c drop") // after the end it writes all the same
}

// TestScopes holds the watcher of some chains to telling of these, and of the
// table as a whole, and of nothing else.
func TestScopes(t *testing.T) {
	inNamespace(t)
	w, err := NewScoped(
		Scope{unix.NFPROTO_IPV4, "mine", func(c string) bool { return c == "c" }},
		Scope{Family: unix.NFPROTO_IPV6, Table: "whole"})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		script string
		news   int
	}{
		{"add table ip mine", 1},
		{"add chain ip mine c", 1},
		{"add chain ip mine d", 0},
		{"add rule ip mine d accept\nadd set ip mine s { type ipv4_addr; }", 0},
		{"add table ip6 mine\nadd chain ip6 mine c\nadd rule ip6 mine c accept", 0},
		{"add table inet mine\nadd chain inet mine c", 0},
		{"add rule ip mine c counter", 1},
		{"insert rule ip mine c accept\nadd rule ip mine d accept", 1},
		{"flush chain ip mine c", 1},
		{"flush chain ip mine d\ndelete chain ip mine d", 0},
		{"delete chain ip mine c", 1},
		{"delete table ip mine", 1},
		{"add table ip6 whole", 1},
		{"add set ip6 whole s { type ipv4_addr; }", 1},
		{"flush ruleset", 1},
	} {
		if err := nft(step.script); err != nil {
			t.Fatal(err)
		}
		if n, lost := w.drain(); n != step.news || lost {
			t.Errorf("%q: %d transactions, want %d (lost %v)", step.script, n, step.news, lost)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{24, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 1, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		(&Watcher{scopes: []Scope{{familyInet, "mine", func(c string) bool { return c == "c" }}}}).read(b)
	})
}
