package iptables

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/lab"
	"github.com/tierwall/tierwall/test/oracle"
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
	have, err := b.read(context.Background())
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

// feed is a random world as one node's agent sees it.
type feed struct {
	rng      *rand.Rand
	stream   *oracle.Stream
	ix       *policy.Index
	compiler *dataplane.Compiler
}

var linears = []int{-1, 2, dataplane.DefaultLinear}

func newFeed(seed uint64, config func(*rand.Rand) oracle.Config) *feed {
	rng := rand.New(rand.NewPCG(seed, 0x69707461626c6573))
	f := &feed{rng: rng, stream: oracle.Random(rng, config(rng)), ix: policy.New(policy.Options{})}
	f.compiler = dataplane.NewCompiler(dataplane.Options{Linear: linears[seed%3]})
	return f
}

func anyWorld(rng *rand.Rand) oracle.Config {
	return oracle.Config{Policies: 1 + rng.IntN(6), Shared: rng.IntN(5) == 0}
}

// step makes some events and returns what changed.
func (f *feed) step(n int) (*dataplane.Change, *dataplane.State) {
	for range n {
		ev := f.stream.Next()
		if r, ok := convert.RefOf(ev.Object); ok && ev.Delete {
			f.ix.Delete(r)
		} else if o, _, known := convert.Object(ev.Object); known && o != nil {
			f.ix.Upsert(o)
		} else if ok {
			f.ix.Delete(r)
		}
	}
	return f.compiler.Apply(f.ix.Flush()), dataplane.NewState(f.ix, "", f.compiler)
}

// nodeState is what a node's own agent makes of the world.
func (f *feed) nodeState(node string, linear int) *dataplane.State {
	ix := policy.New(policy.Options{Local: func(n string) bool { return n == node || n == "" && node == lab.DefaultNode }})
	var endpoints []*model.Endpoint
	for _, o := range f.stream.Objects() {
		m, _, _ := convert.Object(o)
		if m == nil {
			continue
		}
		ix.Upsert(m)
		if e, ok := m.(*model.Endpoint); ok && e.Host == nil && e.Node != node {
			endpoints = append(endpoints, e)
		}
	}
	c := dataplane.NewCompiler(dataplane.Options{Linear: linear})
	c.Apply(ix.Flush())
	s := dataplane.NewState(ix, node, c)
	for _, e := range endpoints {
		for _, a := range e.Addrs {
			if slices.ContainsFunc(s.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
				s.Foreign = append(s.Foreign, a)
			}
		}
	}
	slices.SortFunc(s.Foreign, netip.Addr.Compare)
	return s
}

// seeds of random worlds; TIERWALL_SEED runs one alone.
func seeds(t *testing.T, n uint64) []uint64 {
	if s := os.Getenv("TIERWALL_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	var out []uint64
	for seed := uint64(1); seed <= n; seed++ {
		out = append(out, seed)
	}
	return out
}
