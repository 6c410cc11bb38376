package iptables

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
)

// TestChangeOfVariant moves a node from one variant to the other: the rules of
// the first are gone when those of the second hold, and its sets with them.
func TestChangeOfVariant(t *testing.T) {
	ctx := context.Background()
	inEach(t, func(t *testing.T, v Variant) {
		other := Legacy + NFT - v
		if _, ok := installed(other); !ok {
			t.Fatalf("variant %s is not installed", other)
		}
		s := stateOf(goldens["host-early"]())
		if err := newBackend(t, v).Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		b := newBackend(t, other)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		if err := b.same(s); err != nil {
			t.Error(err)
		}
		if left := do(t, v, "IPTABLES -S; IP6TABLES -S; IPTABLES -t raw -S; IPTABLES -t mangle -S"); strings.Contains(left, "TW-") {
			t.Errorf("variant %s holds %s", v, left)
		}
		if err := b.Cleanup(ctx); err != nil {
			t.Error(err)
		}
	})
}

// TestCleanupWithoutCommands holds Cleanup to saying so when rules are left that
// it cannot remove, and to destroying no set that they ask for.
func TestCleanupWithoutCommands(t *testing.T) {
	ctx := context.Background()
	inEach(t, func(t *testing.T, v Variant) {
		s := stateOf(goldens["native"]())
		b := newBackend(t, v)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		path := os.Getenv("PATH")
		t.Setenv("PATH", t.TempDir())
		if err := Cleanup(ctx); !errors.Is(err, errBusy) {
			t.Errorf("%v, want %v", err, errBusy)
		}
		t.Setenv("PATH", path)
		if err := b.Sync(ctx, s); err != nil {
			t.Fatal(err)
		}
		if err := b.same(s); err != nil {
			t.Error(err)
		}
		if err := Cleanup(ctx); err != nil {
			t.Error(err)
		}
		t.Setenv("PATH", t.TempDir())
		if err := Cleanup(ctx); err != nil {
			t.Errorf("where there is nothing: %v", err)
		}
	})
}

// TestDetect holds detection to the kubelet's hint, and to the command iptables without one.
func TestDetect(t *testing.T) {
	inEach(t, func(t *testing.T, v Variant) {
		if c, err := detect(Auto); err != nil || c.variant != plain() {
			t.Errorf("without a hint: %v %v, want %s", c.variant, err, plain())
		}
		for _, hint := range hints {
			for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
				of, _ := installed(v)
				for _, step := range []string{"-N", "-X"} {
					if out, err := exec.Command(of.name(f, ""), "-t", tableMangle, step, hint).CombinedOutput(); err != nil {
						t.Fatalf("%v %s", err, out)
					}
					if c, err := detect(Auto); step == "-N" && (err != nil || c.variant != v) {
						t.Errorf("the hint %s for %s is in %s: %v %v", hint, f, v, c.variant, err)
					}
				}
			}
		}
	})
	t.Setenv("PATH", t.TempDir())
	for _, v := range []Variant{Auto, Legacy, NFT} {
		if _, err := New(Options{Variant: v}); err == nil || !strings.Contains(err.Error(), "installed") {
			t.Errorf("variant %s without commands: %v", v, err)
		}
	}
}

// recording is a kernel that writes down what it is told, and refuses what it is told to.
type recording struct {
	steps  []string
	refuse string
}

var _ kernel = (*recording)(nil)

func (r *recording) step(text string) error {
	r.steps = append(r.steps, text)
	if r.refuse != "" && strings.HasPrefix(text, r.refuse) {
		return errRefused
	}
	return nil
}

type refusal struct{}

func (refusal) Error() string { return "not today" }

var errRefused = refusal{}

func (r *recording) rules(context.Context, dataplane.Family) (map[string]*tableShape, error) {
	return map[string]*tableShape{}, nil
}
func (r *recording) sets() (map[string]*ipset, error) { return map[string]*ipset{}, nil }
func (r *recording) restore(_ context.Context, f dataplane.Family, text string) error {
	return r.step("restore " + f.String() + "\n" + text)
}
func (r *recording) createSet(s *ipset) error                   { return r.step("create " + s.name) }
func (r *recording) changeSet(s *ipset, _ []elem, _ bool) error { return r.step("change " + s.name) }
func (r *recording) settle()                                    { _ = r.step("settle") }
func (r *recording) destroySet(name string) error               { return r.step("destroy " + name) }
