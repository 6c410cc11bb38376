package iptables

import (
	"context"
	"testing"
	"time"

	"k8s.io/utils/clock"
)

// unnoticed are sabotages of TestRepair that are left to the comparison: they
// open nothing.
var unnoticed = map[string]map[Variant]bool{
	"a jump from elsewhere": {NFT: true},
	"a set of our name":     {Legacy: true, NFT: true},
}

// TestWatcher holds the watcher to noticing what others do to rules and sets, to
// being silent about our own changes and others' own affairs, and to noticing
// the same thing again after a repair.
func TestWatcher(t *testing.T) {
	inEach(t, func(t *testing.T, v Variant) {
		ctx, cancel := context.WithCancel(context.Background())
		s := stateOf(goldens["host-early"]())
		b := newBackend(t, v)
		w, err := b.NewWatcher(clock.RealClock{})
		if err != nil {
			t.Fatal(err)
		}
		changes, over := make(chan struct{}, 100), make(chan error, 1)
		go func() { over <- w.Watch(ctx, func() { changes <- struct{}{} }) }()
		sync := func() {
			t.Helper()
			if err := w.Own(func() error { return b.Sync(ctx, s) }); err != nil {
				t.Fatal(err)
			}
		}
		sync()
		worst := time.Duration(0)
		for _, name := range sortedKeys(sabotages) {
			times := 1
			switch {
			case unnoticed[name][v]:
				times = 0
			case name == "all flushed", name == "members removed":
				times = 3
			}
			for range times {
				do(t, v, sabotages[name])
				start := time.Now()
				select {
				case <-changes:
					worst = max(worst, time.Since(start))
				case <-time.After(10 * time.Second):
					t.Errorf("%s: not noticed", name)
				}
				sync()
				if err := b.same(s); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				for len(changes) > 0 { // a script is several transactions
					<-changes
				}
			}
		}
		t.Logf("noticed after %s at worst", worst)
		// What somebody else does while we write.
		if err := w.Own(func() error {
			defer do(t, v, "IPTABLES -D INPUT 1; IP6TABLES -D FORWARD 1")
			return b.Sync(ctx, stateOf(goldens["table"]()))
		}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changes:
		case <-time.After(10 * time.Second):
			t.Error("a change while we write is not noticed")
		}
		for err := b.same(s); err != nil; err = b.same(s) {
			sync()
		}
		for len(changes) > 0 {
			<-changes
		}
		// Others' own affairs, and changes of ours.
		do(t, v, "IPTABLES -N MINE; IPTABLES -A MINE -j RETURN; IP6TABLES -t mangle -N MINE; ipset create mine hash:ip; ipset add mine 192.0.2.7; IPTABLES -t nat -A OUTPUT -j RETURN")
		other := stateOf(goldens["table"]())
		if err := w.Own(func() error { return b.Sync(ctx, other) }); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		clear(w.seen)
		w.look()
		told := w.told
		w.mu.Unlock()
		if len(changes) > 0 || told != "" {
			t.Errorf("told of what is no news: %s", told)
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if err := w.Own(func() error { return b.Sync(context.Background(), s) }); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
}
