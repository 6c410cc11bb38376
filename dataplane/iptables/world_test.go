package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
)

func TestMain(m *testing.M) {
	if err := lab.Reexec(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(variants()) == 0 {
		fmt.Fprintln(os.Stderr, "these tests need the commands iptables and ip6tables: install the package iptables")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// variants are those whose commands are there.
func variants() []Variant {
	var out []Variant
	for _, v := range []Variant{Legacy, NFT} {
		if _, ok := installed(v); ok {
			out = append(out, v)
		}
	}
	return out
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

// inEach runs a test for each variant, in a kernel of its own.
func inEach(t *testing.T, f func(t *testing.T, v Variant)) {
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) { inKernel(t, func(*lab.Lab) { f(t, v) }) })
	}
}

func newBackend(t *testing.T, v Variant) *Backend {
	t.Helper()
	b, err := New(Options{Variant: v})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// same says how the kernel differs from what a State asks for.
func (b *Backend) same(s *dataplane.State) error {
	have, _, err := b.read(context.Background())
	if err != nil {
		return err
	}
	for name := range b.litter {
		delete(have.sets, name)
	}
	p := planOf(have, generate(s, b.opts, nameAmong(have.sets)))
	if p.empty() {
		return nil
	}
	return fmt.Errorf("create %v, destroy %v, restore\n%s\n%s", p.create, p.destroy, p.restore[dataplane.IPv4], p.restore[dataplane.IPv6])
}
