package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/test/worlds"
)

func TestMain(m *testing.M) {
	if err := lab.Reexec(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if _, err := exec.LookPath("nft"); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need the command nft: install the package nftables:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// inKernel runs a test with a network namespace of its own.
func inKernel(t *testing.T, f func(l *lab.Lab)) {
	t.Helper()
	l, err := lab.New(context.Background(), lab.Spec{Nodes: []lab.Node{{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Do("n1", func() error { f(l); return nil }); err != nil {
		t.Fatal(err)
	}
}

// same says how the kernel differs from what a State asks for.
func (b *Backend) same(s *dataplane.State) error {
	want := newWorld(s, b.opts)
	have, err := b.kernel.Read(want.Ruleset)
	if err != nil {
		return err
	}
	p := have.Plan(want.Ruleset)
	if p.Empty() {
		return nil
	}
	var text strings.Builder
	for _, c := range p.FillChains {
		fmt.Fprintf(&text, "chain %s is not: %v\n", c.Name, c.Rules)
	}
	for _, e := range p.AddElems {
		fmt.Fprintf(&text, "missing: %s\n", e)
	}
	for _, e := range p.DelElems {
		fmt.Fprintf(&text, "too many: %s\n", e)
	}
	return fmt.Errorf("rebuild %v, new table %v, +%d -%d chains, +%d -%d sets, +%d -%d counters\n%s", p.Rebuild, p.NewTable,
		len(p.AddChains), len(p.DelChains), len(p.AddSets), len(p.DelSets), len(p.AddCounters), len(p.DelCounters), &text)
}

// TestKernel holds the kernel's own list to what random worlds ask for, change by change.
func TestKernel(t *testing.T) {
	ctx := context.Background()
	inKernel(t, func(*lab.Lab) {
		var sum Stats
		classed, crossed := 0, 0
		for _, seed := range worlds.Seeds(t, 20) {
			f := worlds.New(seed, worlds.Options{})
			_, s := f.Step(40)
			b, err := New(Options{})
			if err != nil {
				t.Fatal(err)
			}
			if seed%2 == 0 { // many transactions in the place of one
				b.kernel.(*nft.Conn).Piece = 2000
			}
			// The table of the world before is there still.
			if err := b.Sync(ctx, s); err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, Render(s, Options{}))
			}
			for step := range 20 {
				ch, s := f.Step(1 + f.Rand.IntN(4))
				was := copyOf(b.world.Ruleset)
				if err := b.Apply(ctx, ch, s); err != nil {
					t.Fatalf("seed %d step %d: %v\nfrom\n%s\nto\n%s", seed, step, err, was, Render(s, Options{}))
				}
				if err := b.same(s); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				crossed += reformed(was, b.world.Ruleset)
				if b.world.Ruleset.Sets[mapClasses+"4"] != nil {
					classed++
				}
			}
			again, _ := New(Options{})
			if err := again.Sync(ctx, f.State()); err != nil {
				t.Fatal(err)
			}
			if again.Stats() != (Stats{}) {
				t.Fatalf("seed %d: a restart with nothing to change wrote: %+v", seed, again.Stats())
			}
			sum.Transactions += b.stats.Transactions
			sum.MemberTransactions += b.stats.MemberTransactions
			sum.Rebuilds += b.stats.Rebuilds
		}
		t.Logf("%+v, %d with classed tables, %d tables reformed", sum, classed, crossed)
		if sum.Rebuilds > 0 || (classed < 50 || crossed < 5) && !worlds.One() || sum.Transactions == 0 || sum.MemberTransactions == 0 && !worlds.One() {
			t.Errorf("%+v", sum)
		}
	})
}
