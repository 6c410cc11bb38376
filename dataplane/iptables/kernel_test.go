package iptables

import (
	"context"
	"testing"

	"github.com/tierwall/tierwall/test/worlds"
)

// TestKernel holds the kernel's own list to what random worlds ask for, change by change.
func TestKernel(t *testing.T) {
	ctx := context.Background()
	inEach(t, func(t *testing.T, v Variant) {
		var sum Stats
		for _, seed := range worlds.Seeds(t, 8) {
			f := worlds.New(seed, worlds.Options{})
			_, s := f.Step(40)
			b := newBackend(t, v)
			// The rules of the world before are there still.
			if err := b.Sync(ctx, s); err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, Render(s, Options{}))
			}
			for step := range 12 {
				ch, s := f.Step(1 + f.Rand.IntN(4))
				if err := b.Apply(ctx, ch, s); err != nil {
					t.Fatalf("seed %d step %d: %v\n%s", seed, step, err, Render(s, Options{}))
				}
				if err := b.same(s); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
			}
			again := newBackend(t, v)
			_, s = f.Step(0)
			if err := again.Sync(ctx, s); err != nil {
				t.Fatal(err)
			}
			if st := again.Stats(); st.Restores+st.SetsCreated+st.ElementsChanged > 0 {
				t.Fatalf("seed %d: a restart with nothing to change wrote: %+v", seed, st)
			}
			sum.Restores += b.stats.Restores
			sum.SetsCreated += b.stats.SetsCreated
			sum.ElementsChanged += b.stats.ElementsChanged
			sum.ElementsOnly += b.stats.ElementsOnly
		}
		t.Logf("%+v", sum)
		if sum.Restores == 0 || sum.SetsCreated == 0 || sum.ElementsOnly == 0 {
			t.Errorf("%+v", sum)
		}
		b := newBackend(t, v)
		if err := b.Cleanup(ctx); err != nil {
			t.Fatal(err)
		}
		have, _, err := b.read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, tables := range have.tables {
			for name, table := range tables {
				if len(table.chains)+len(table.jumps) > 0 {
					t.Errorf("after Cleanup: table %s: %v %v", name, table.chains, table.jumps)
				}
			}
		}
		if len(have.sets) > 0 {
			t.Errorf("after Cleanup: sets %v", have.sets)
		}
	})
}
