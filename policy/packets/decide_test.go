package packets_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/verdict"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// world builds an index of a random world and returns flows that are worth asking about.
func world(seed uint64, flows int) (*index.Index, []model.Flow) {
	stream := oracle.Random(rand.New(rand.NewPCG(seed, 0)), oracle.Config{Links: seed%2 == 0})
	for range 150 {
		stream.Next()
	}
	return indexes.Of(stream.Objects()), stream.Flows(flows)
}

// What Decide says of a packet, the region that holds the packet says too, and
// there is exactly one.
func TestDecideAgainstSinglePackets(t *testing.T) {
	worlds := 150
	if testing.Short() {
		worlds = 30
	}
	for seed := range uint64(worlds) {
		ix, flows := world(seed, 250)
		e := packets.NewEvaluator(ix)
		for _, f := range flows {
			want := verdict.Decide(ix, f)
			regions := e.Decide(e.Party(f.Src), e.Party(f.Dst))
			found := 0
			for _, r := range regions {
				if !r.Space.Contains(f) {
					continue
				}
				found++
				got := r.Decision
				got.Flow = want.Flow
				for i := range want.Stages {
					want.Stages[i].Audit = nil
				}
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("seed %d: %+v\ngot  %+v\nwant %+v", seed, f, got, want)
				}
			}
			if found != 1 {
				t.Fatalf("seed %d: %+v lies in %d regions", seed, f, found)
			}
		}
	}
}

func TestDecideCoversEverythingOnce(t *testing.T) {
	for seed := range uint64(20) {
		ix, flows := world(seed, 40)
		for _, f := range flows {
			var sum packets.Space
			for _, r := range packets.Decide(ix, f.Src, f.Dst) {
				if r.Space.IsEmpty() || !sum.Intersect(r.Space).IsEmpty() {
					t.Fatalf("seed %d: %v -> %v: region %v is empty or overlaps", seed, f.Src, f.Dst, r.Space)
				}
				sum = sum.Union(r.Space)
			}
			if !sum.Equal(packets.All()) {
				t.Fatalf("seed %d: %v -> %v: the regions make %v", seed, f.Src, f.Dst, sum)
			}
		}
	}
}

// Addresses of one group of Cut are treated alike, and every address that
// nobody has is in exactly one.
func TestCut(t *testing.T) {
	for seed := range uint64(60) {
		ix, flows := world(seed, 80)
		e := packets.NewEvaluator(ix)
		groups := packets.Cut(e)
		groupOf := func(a netip.Addr) (found []packets.External) {
			for _, g := range groups {
				for _, r := range g.Ranges {
					if r.Contains(a) {
						found = append(found, g)
					}
				}
			}
			return found
		}
		for _, f := range flows {
			for _, a := range []netip.Addr{f.Src, f.Dst} {
				g := groupOf(a)
				mine := ix.Owner(a) != (model.Ref{}) || ix.NodeOf(a) != nil
				if mine != (len(g) == 0) || len(g) > 1 {
					t.Fatalf("seed %d: %v (owned: %v) is in %d groups", seed, a, mine, len(g))
				}
				if mine {
					continue
				}
				alike := f
				if a == f.Src {
					alike.Src = g[0].Addr
				}
				if a == f.Dst {
					alike.Dst = g[0].Addr
				}
				got, want := verdict.Decide(ix, alike), verdict.Decide(ix, f)
				got.Flow = want.Flow
				if !reflect.DeepEqual(got, want) && f.Src != f.Dst {
					t.Fatalf("seed %d: %+v and %+v: %+v and %+v", seed, f, alike, want, got)
				}
			}
		}
	}
}
