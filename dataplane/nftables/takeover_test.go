package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/test/worlds"
)

// TestRepair lets somebody else change the table, in every way that comes to
// mind, and holds Sync to putting it right without throwing away what stands.
func TestRepair(t *testing.T) {
	ctx := context.Background()
	inKernel(t, func(l *lab.Lab) {
		f := worlds.New(7, worlds.Options{Linear: -1})
		_, s := f.Step(150)
		b, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		var program, pod, table, class string
		for name, c := range b.world.Chains {
			if strings.HasPrefix(name, "p-") && len(c.Rules) > 1 {
				program = name
			}
		}
		for _, e := range s.Compiled.Endpoints() {
			if e.Host == nil && e.Addrs[0].Is4() {
				pod = e.Addrs[0].String()
			}
		}
		for name := range b.world.Ruleset.Sets {
			if strings.HasPrefix(name, "t-") && strings.HasSuffix(name, "-a") && len(b.world.Ruleset.Sets[name].Elems) > 0 {
				table = name
			}
		}
		for key := range b.world.Ruleset.Sets[mapClasses+"4"].Elems {
			if a, ok := netip.AddrFromSlice([]byte(key)); ok {
				class = a.String()
			}
		}
		if program == "" || pod == "" || table == "" || class == "" {
			t.Fatalf("the world has gone blind: program %q, pod %q, table %q, address with a class %q", program, pod, table, class)
		}
		for name, sabotage := range map[string]struct {
			script  string
			rebuild bool
		}{
			"table deleted":             {"delete table inet tierwall", false},
			"ruleset flushed":           {"flush ruleset", false},
			"all rules flushed":         {"flush table inet tierwall", false},
			"a rule inserted":           {"insert rule inet tierwall forward accept", false},
			"a rule appended":           {"add rule inet tierwall " + program + " accept", false},
			"a program flushed":         {"flush chain inet tierwall " + program, false},
			"a pod taken away":          {"delete element inet tierwall pods4 { " + pod + " }", false},
			"a verdict changed":         {"flush map inet tierwall ingress4; add element inet tierwall ingress4 { " + pod + " : accept }", false},
			"a table emptied":           {"flush map inet tierwall " + table, false},
			"classes emptied":           {"flush map inet tierwall classes4", false},
			"a class changed":           {"delete element inet tierwall classes4 { " + class + " }; add element inet tierwall classes4 { " + class + " : 1:2 }", false},
			"a class added":             {"add element inet tierwall classes4 { 198.51.100.9 : 1:2 }", false},
			"classes that are marks":    {"delete table inet tierwall; add table inet tierwall; add map inet tierwall classes4 { type ipv4_addr : mark; }", true},
			"classes that are a set":    {"delete table inet tierwall; add table inet tierwall; add set inet tierwall classes4 { type ipv4_addr; }", true},
			"an address added":          {"add element inet tierwall pods4 { 198.51.100.7 }", false},
			"a block added":             {"add element inet tierwall podcidrs4 { 198.51.100.0/24 }", false},
			"a chain added":             {"add chain inet tierwall mine; add rule inet tierwall mine drop; add rule inet tierwall nd6 jump mine", false},
			"a base chain added":        {"add chain inet tierwall mine { type filter hook input priority 9; policy drop; }", false},
			"a set added":               {"add set inet tierwall mine { type ipv4_addr; elements = { 192.0.2.1 } }", false},
			"a base chain's policy":     {"chain inet tierwall forward { policy drop; }", true},
			"a base chain elsewhere":    {"flush chain inet tierwall output; delete chain inet tierwall output; add chain inet tierwall output { type filter hook output priority 77; }", true},
			"a base chain deleted":      {"flush chain inet tierwall forward; delete chain inet tierwall forward", false},
			"a base chain made regular": {"flush chain inet tierwall forward; delete chain inet tierwall forward; add chain inet tierwall forward", true},
			"the table put to sleep":    {"add table inet tierwall { flags dormant; }", true},
		} {
			before := b.Stats()
			cmd := l.Command("n1", "nft", "-f", "-")
			cmd.Stdin = strings.NewReader(strings.ReplaceAll(sabotage.script, "; ", "\n"))
			if strings.Contains(sabotage.script, "{ type") || strings.Contains(sabotage.script, "policy drop") || strings.Contains(sabotage.script, "dormant") {
				cmd.Stdin = strings.NewReader(sabotage.script)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: cannot be done: %v %s", name, err, out)
				continue
			}
			if b.same(s) == nil && !sabotage.rebuild {
				t.Errorf("%s: not noticed", name)
			}
			if err := b.Sync(ctx, s); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := b.same(s); err != nil {
				t.Errorf("%s: not repaired: %v", name, err)
			}
			after := b.Stats()
			if n := after.Transactions + after.MemberTransactions - before.Transactions - before.MemberTransactions; n != 1 {
				t.Errorf("%s: %d transactions", name, n)
			}
			if got := after.Rebuilds > before.Rebuilds; got != sabotage.rebuild {
				t.Errorf("%s: rebuilt: %v", name, got)
			}
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Error(err)
		}
		if out, err := l.Command("n1", "nft", "list", "ruleset").Output(); err != nil || len(out) > 0 {
			t.Errorf("after Cleanup: %s %v", out, err)
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Errorf("a second Cleanup: %v", err)
		}
	})
}

// TestRefusingKernel holds the backend to going on after the kernel has
// refused, as soon as it takes transactions again.
func TestRefusingKernel(t *testing.T) {
	ctx := context.Background()
	inKernel(t, func(*lab.Lab) {
		f := worlds.New(5, worlds.Options{Linear: 2})
		_, s := f.Step(60)
		b, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		real := b.kernel
		b.kernel = &refusing{kernel: real}
		failed := 0
		for range 30 {
			ch, next := f.Step(2)
			if b.Apply(ctx, ch, next) != nil {
				failed++
			}
		}
		if failed == 0 {
			t.Fatal("nothing has failed")
		}
		b.kernel = real
		ch, s := f.Step(1)
		if err := b.Apply(ctx, ch, s); err != nil {
			t.Fatal(err)
		}
		if err := b.same(s); err != nil {
			t.Fatal(err)
		}
	})
}

type refusing struct{ kernel }

func (*refusing) Commit(*nft.Plan) error        { return errors.New("not today") }
func (*refusing) Slice(*nft.Backlog, int) error { return errors.New("not today") }

// TestNoNft: nobody needs the command nft.
func TestNoNft(t *testing.T) {
	inKernel(t, func(*lab.Lab) {
		t.Setenv("PATH", t.TempDir())
		f := worlds.New(6, worlds.Options{Linear: 2})
		_, s := f.Step(60)
		b, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Sync(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		if err := b.same(s); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRenderedText has nft take what Render prints, and holds what nft makes of
// it to what Sync makes.
func TestRenderedText(t *testing.T) {
	ctx := context.Background()
	inKernel(t, func(l *lab.Lab) {
		b, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		classed := 0
		for _, seed := range worlds.Seeds(t, 24) {
			f := worlds.New(seed+700, worlds.Options{})
			_, s := f.Step(80)
			path := filepath.Join(t.TempDir(), "ruleset.nft")
			if err := os.WriteFile(path, []byte(Render(s, Options{})), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := l.Command("n1", "nft", "-f", path).CombinedOutput(); err != nil {
				t.Fatalf("seed %d: %v\n%s\n%s", seed, err, out, Render(s, Options{}))
			}
			byNft := listing(t, l)
			if strings.Contains(strings.Join(byNft, ""), "meta priority vmap") {
				classed++
			}
			if err := b.Cleanup(ctx); err != nil {
				t.Fatal(err)
			}
			if err := b.Sync(ctx, s); err != nil {
				t.Fatal(err)
			}
			sameLines(t, fmt.Sprint("seed ", seed), listing(t, l), byNft)
			if err := b.Cleanup(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if classed == 0 && !worlds.One() {
			t.Error("no world has classed tables")
		}
	})
}
