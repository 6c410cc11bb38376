package diff

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// Every packet whose fate differs lies in exactly one reported change, which
// names what decided, and no other packet lies in any.
func TestCompareAgainstSinglePackets(t *testing.T) {
	worlds := 300
	if testing.Short() {
		worlds = 30
	}
	kinds := map[Kind]int{}
	self := map[Kind]int{}
	for seed := range uint64(worlds) {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 7)), oracle.Config{Links: seed%2 == 0})
		for range 120 {
			stream.Next()
		}
		a := indexes.Of(stream.Objects())
		flows := stream.Flows(150)
		for range 1 + seed%8 {
			stream.Next()
		}
		b := indexes.Of(stream.Objects())
		flows = append(flows, stream.Flows(150)...)
		flows = append(flows, toItself(a, b, flows)...)
		checkFlows(t, seed, a, b, flows, kinds, self)
		if t.Failed() {
			return
		}
	}
	for _, k := range []Kind{Lost, Gained, Redecided, Added, Removed} {
		if kinds[k] == 0 {
			t.Errorf("no packet was %s: the test tests nothing", k)
		}
	}
	for _, k := range []Kind{Lost, Gained, Redecided} {
		if self[k] == 0 && !testing.Short() {
			t.Errorf("no packet of a pod to itself was %s: the test tests nothing", k)
		}
	}
	t.Log(kinds, self)
}

// toItself makes flows of every pod to itself of flows between others.
func toItself(a, b *index.Index, flows []model.Flow) []model.Flow {
	var out []model.Flow
	for _, ix := range []*index.Index{a, b} {
		for _, r := range ix.Endpoints() {
			e, ok := ix.Endpoint(r)
			if !ok || r.Kind != model.KindPod {
				continue
			}
			for i, from := range e.Addrs {
				for j, to := range e.Addrs {
					f := flows[(len(out)+i+j)%len(flows)]
					strange := f.Protocol == model.ICMPv4 && from.Is6() || f.Protocol == model.ICMPv6 && from.Is4()
					if from.Is4() == to.Is4() && !strange {
						f.Src, f.Dst = from, to
						out = append(out, f)
					}
				}
			}
		}
	}
	return out
}

// checkFlows counts by kind what has changed: in kinds what endpoints send others, in
// self what pods send themselves.
func checkFlows(t *testing.T, seed uint64, a, b *index.Index, flows []model.Flow, kinds, self map[Kind]int) {
	t.Helper()
	w := newWorlds(a, b, Options{}) // for the atoms of a flow; the report has its own
	r := Compare(a, b, Options{Decisions: true})
	find := func(addr netip.Addr) *atom {
		for i := range w.atoms {
			x := &w.atoms[i]
			if x.group < 0 && (x.b != nil && x.b.Addr == addr || x.a != nil && x.a.Addr == addr) {
				return x
			}
			if x.group >= 0 {
				for _, rg := range w.groups[x.group].Ranges {
					if rg.Contains(addr) {
						return x
					}
				}
			}
		}
		t.Fatalf("seed %d: %v is no atom", seed, addr)
		return nil
	}
	in := func(x *atom, p *packets.Party, addr netip.Addr) netip.Addr {
		if x.group >= 0 {
			return addr
		}
		return p.Addr
	}
	for _, f := range flows {
		x, y := find(f.Src), find(f.Dst)
		own := x.group < 0 && x.who == y.who
		if own && x.who.Kind != model.KindPod {
			continue
		}
		var before, after model.Decision
		hasA, hasB := x.a != nil && y.a != nil, x.b != nil && y.b != nil
		if hasA {
			fa := f
			fa.Src, fa.Dst = in(x, x.a, f.Src), in(y, y.a, f.Dst)
			before = verdict.Decide(a, fa)
		}
		if hasB {
			fb := f
			fb.Src, fb.Dst = in(x, x.b, f.Src), in(y, y.b, f.Dst)
			after = verdict.Decide(b, fb)
		}
		want := kindOf(hasA, hasB, &before, &after)
		switch {
		case own && (want == Added || want == Removed):
			want = ""
		case own:
			self[want]++
		default:
			kinds[want]++
		}
		var got []Change
		for _, list := range [][]Change{r.Changes, r.Apart} {
			for _, c := range list {
				if c.From.members.has(x.index) && c.To.members.has(y.index) && c.Traffic.Space.Contains(f) && c.holdsFor(x, y) {
					got = append(got, c)
				}
			}
		}
		switch {
		case want == "" && len(got) == 0:
		case len(got) != 1 || got[0].Kind != want:
			t.Fatalf("seed %d: %+v: want %q, got %d changes: %+v\nbefore %+v\nafter %+v", seed, f, want, len(got), got, before, after)
		default:
			checkOutcome(t, seed, f, got[0].Before, &before)
			checkOutcome(t, seed, f, got[0].After, &after)
		}
	}
}

// A report depends on what the objects are, not on the order in which they came.
func TestCompareIsDeterministic(t *testing.T) {
	for seed := range uint64(30) {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 8)), oracle.Config{})
		var worlds [2][]runtime.Object
		for i := range worlds {
			for range 80 {
				stream.Next()
			}
			worlds[i] = stream.Objects()
		}
		report := func() string {
			r := Compare(indexes.Of(worlds[0]), indexes.Of(worlds[1]), Options{Decisions: true})
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := r.WriteText(&text, nil); err != nil {
				t.Fatal(err)
			}
			return string(b) + text.String()
		}
		first := report()
		shuffle := rand.New(rand.NewPCG(seed, 9))
		for _, w := range worlds {
			shuffle.Shuffle(len(w), func(i, j int) { w[i], w[j] = w[j], w[i] })
		}
		if again := report(); again != first {
			t.Fatalf("seed %d: %s\nand\n%s", seed, first, again)
		}
	}
}

// holdsFor reports whether the change's Where holds for two atoms.
func (c *Change) holdsFor(x, y *atom) bool {
	same := func(p, q *packets.Party) bool { return p != nil && q != nil && p.Node != "" && p.Node == q.Node }
	a, b := same(x.a, y.a), same(x.b, y.b)
	if own := x.group < 0 && x.who == y.who; own || c.Where == Itself {
		return own && c.Where == Itself
	}
	switch c.Where {
	case SameNode:
		return a && b || (a || b) && (c.Kind == Added || c.Kind == Removed)
	case DifferentNodes:
		return !a && !b
	case MovedTogether:
		return !a && b
	case MovedApart:
		return a && !b
	}
	return true
}

func kindOf(hasA, hasB bool, before, after *model.Decision) Kind {
	switch {
	case hasA && hasB && before.Action == model.Allow && after.Action == model.Deny:
		return Lost
	case hasA && hasB && before.Action == model.Deny && after.Action == model.Allow:
		return Gained
	case hasA && hasB:
		for _, dir := range []model.Direction{model.Egress, model.Ingress} {
			v, okV := deciding(before, dir)
			u, okU := deciding(after, dir)
			if okV != okU || v != u {
				return Redecided
			}
		}
	case hasA && before.Action == model.Allow:
		return Removed
	case hasB && after.Action == model.Allow:
		return Added
	}
	return ""
}

// deciding is the verdict of one direction as reports show it: of a denied
// connection, the denial only.
func deciding(d *model.Decision, dir model.Direction) (model.Verdict, bool) {
	v, ok := d.Deciding(dir)
	if d.Action == model.Deny && v.Action != model.Deny {
		return model.Verdict{}, false
	}
	v.Endpoint, v.Audit = model.Ref{}, nil
	return v, ok
}

func checkOutcome(t *testing.T, seed uint64, f model.Flow, o *Outcome, d *model.Decision) {
	t.Helper()
	if o == nil {
		return
	}
	shown := 0
	for dir, v := range map[model.Direction]*model.Verdict{model.Egress: o.Egress, model.Ingress: o.Ingress} {
		if v == nil {
			continue
		}
		shown++
		if want, ok := deciding(d, dir); !ok || *v != want {
			t.Fatalf("seed %d: %+v: the report says %+v, the decision %+v", seed, f, *v, want)
		}
	}
	if shown == 0 || o.Action != d.Action {
		t.Fatalf("seed %d: %+v: the report says %+v, the decision %+v", seed, f, o, d)
	}
}
