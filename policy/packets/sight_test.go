package packets

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/test/indexes"
	"github.com/tierwall/tierwall/test/oracle"
)

// What is said of all addresses that are alike is what is said of each when it is
// looked at alone.
func TestLookalikesAgainstSingleAddresses(t *testing.T) {
	shared, told := 0, 0
	for seed := range uint64(80) {
		stream := oracle.Random(rand.New(rand.NewPCG(seed, 9)), oracle.Config{Links: seed%2 == 0})
		for range 200 {
			stream.Next()
		}
		ix := indexes.Of(stream.Objects())
		table := newTable()
		together, alone := table.Evaluator(ix), table.Evaluator(ix)
		halves := together.Halves()
		alone.load()
		alone.alike = nil
		addrs := map[netip.Addr]bool{}
		for _, f := range stream.Flows(300) {
			addrs[f.Src.Unmap()], addrs[f.Dst.Unmap()] = true, true
		}
		for _, g := range Cut(together) {
			addrs[g.Addr] = true
		}
		sights, numbers := map[*sight]bool{}, map[int32]bool{}
		for a := range addrs {
			x, y := together.Party(a), alone.Party(a)
			sights[together.seen(x)] = true
			got, want := together.Sight(x, halves), alone.Sight(y, halves)
			if got != want {
				t.Fatalf("seed %d: %v is seen as %v is, and is not like it", seed, a, x.sight.addr)
			}
			numbers[got] = true
			for _, dir := range []model.Direction{model.Ingress, model.Egress} {
				if got, want := together.FailsafeSpace(dir, x.sight.addr), alone.FailsafeSpace(dir, a); !got.Equal(want) {
					t.Fatalf("seed %d: failsafe ports tell %v from %v", seed, a, x.sight.addr)
				}
			}
		}
		shared, told = shared+len(addrs)-len(sights), told+len(numbers)
	}
	if shared < 500 || told < 500 {
		t.Errorf("%d addresses share a sight, and %d sights differ: that tells little", shared, told)
	}
}

// A chain that is of no endpoint may tell apart what all others do not.
func TestLookalikesWithAnotherChain(t *testing.T) {
	ix := index.New(index.Options{})
	for i, name := range []string{"one", "two"} {
		ix.Upsert(&model.Endpoint{
			Ref: model.Ref{Kind: model.KindPod, Namespace: "ns", Name: name}, Labels: map[string]string{"app": "web"},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})},
		})
	}
	ix.Flush()
	e := NewEvaluator(ix)
	halves := e.Halves()
	one, two := e.Party(netip.MustParseAddr("10.0.0.1")), e.Party(netip.MustParseAddr("10.0.0.2"))
	if len(halves) != 0 || e.seen(one) != e.seen(two) {
		t.Fatal("nothing tells them apart, and they are not alike")
	}
	if got := e.Distinct([]*Party{one, two}); len(got) != 1 || got[0] != one {
		t.Errorf("got %d distinct, want the first", len(got))
	}
	rule := model.Rule{Action: model.Allow, Match: model.Match{Source: model.Peer{Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}}}
	p := &index.Policy{
		Policy:          &model.Policy{Ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "p"}, Ingress: true, IngressRules: []model.Rule{rule}},
		ResolvedIngress: []index.Rule{{Rule: &rule}},
	}
	chain := index.Chain{{Tier: &model.Tier{Name: "t"}, Policies: []*index.Policy{p}, Enforced: true}}
	if e.View(chain, model.Ingress, false, one) == e.View(chain, model.Ingress, false, two) {
		t.Error("the chain does not tell them apart")
	}
}
