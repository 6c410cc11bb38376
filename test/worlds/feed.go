package worlds

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// Feed is a random world as one node's agent sees it, with its index and its
// compiler. It depends on nothing but its seed and options.
type Feed struct {
	Rand     *rand.Rand
	Stream   *oracle.Stream
	Index    *index.Index
	Compiler *dataplane.Compiler
	// Links are the nodes' interfaces, where the world is a lab's.
	Links []*model.Links
	// own are addresses that only a node's own agent knows to be the node's.
	own map[netip.Addr]bool

	node    string
	options dataplane.Options
}

// Options of a Feed. The zero value means a node to which all endpoints belong.
type Options struct {
	// Node is the agent's own; empty: all endpoints are local.
	Node string
	// Linear of the compiler's options; 0: one of three by the seed.
	Linear int
	// Distinct: no two pods ever have the same address.
	Distinct bool
	// Guards: Tierwall/default may set guards.
	Guards bool
}

// New returns the feed of a seed. Its world is empty at first.
func New(seed uint64, o Options) *Feed {
	if o.Linear == 0 {
		o.Linear = []int{-1, 2, dataplane.DefaultLinear}[seed%3]
	}
	rng := rand.New(rand.NewPCG(seed, 0x6e6674))
	// Worlds are small: in two of three tables are classed as they are in large ones.
	f := &Feed{Rand: rng, node: o.Node, options: dataplane.Options{Linear: o.Linear, Classed: []int{0, 1, 3}[seed/3%3]}}
	if seed%2 == 1 { // and in one of two there is room for hardly any
		f.options.Budget, f.options.NodeBudget, f.options.Spread = 1, 1, -1
	}
	config := oracle.Config{Policies: 1 + rng.IntN(6), Shared: rng.IntN(5) == 0 && !o.Distinct, Guards: o.Guards}
	f.Stream = oracle.Random(rng, config)
	f.Index = index.New(index.Options{Local: func(n string) bool { return o.Node == "" || n == o.Node }})
	f.Compiler = dataplane.NewCompiler(f.options)
	return f
}

// Step makes some events, and returns what changed and what holds then.
func (f *Feed) Step(events int) (*dataplane.Change, *dataplane.State) {
	return f.StepPart(events, index.Part{})
}

// StepPart is Step, but for what the Index leaves to a later one.
func (f *Feed) StepPart(events int, p index.Part) (*dataplane.Change, *dataplane.State) {
	for range events {
		ev := f.Stream.Next()
		if r, ok := convert.RefOf(ev.Object); ok && ev.Delete {
			f.Index.Delete(r)
		} else if o, _, known := convert.Object(ev.Object); known && o != nil {
			f.Index.Upsert(o)
		} else if ok {
			f.Index.Delete(r)
		}
	}
	return f.Compiler.Apply(f.Index.FlushPart(p)), f.State()
}

// State is what the feed's kernel should hold now.
func (f *Feed) State() *dataplane.State { return dataplane.NewState(f.Index, f.node, f.Compiler) }

// NodeState is what a node's own agent makes of the world as it is now.
func (f *Feed) NodeState(node string) *dataplane.State {
	ix := index.New(index.Options{Local: func(n string) bool { return n == node || n == "" && node == lab.DefaultNode }})
	indexes.Add(ix, f.Stream.Objects())
	for _, l := range f.Links {
		if l.Node == node {
			ix.Upsert(l)
		}
	}
	c := dataplane.NewCompiler(f.options)
	c.Apply(ix.Flush())
	s := dataplane.NewState(ix, node, c)
	for _, r := range ix.Endpoints() {
		e, ok := ix.Endpoint(r)
		if !ok || e.Host != nil || e.Node == node {
			continue
		}
		for _, a := range e.Addrs {
			if slices.ContainsFunc(s.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
				s.Foreign = append(s.Foreign, a)
			}
		}
	}
	slices.SortFunc(s.Foreign, netip.Addr.Compare)
	return s
}

// One says whether one world is run alone, so that what many worlds together must
// show is not to be asked of it.
func One() bool { return os.Getenv("TIERWALL_SEED") != "" }

// Seeds are those of the first n worlds, or that of the one to run alone.
func Seeds(t testing.TB, n uint64) []uint64 {
	t.Helper()
	if One() {
		return []uint64{number(t, "TIERWALL_SEED", 0)}
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i) + 1
	}
	return out
}

// number reads a number from the environment.
func number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
