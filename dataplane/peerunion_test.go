package dataplane

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestLayers holds the union of blocks with exceptions to what each of them matches.
func TestLayers(t *testing.T) {
	matched, layered := 0, 0
	for seed := uint64(1); seed <= 3000; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0x6c6179657273))
		block := func(within netip.Prefix, bits int) netip.Prefix {
			a := within.Addr().As4()
			a[3] |= byte(rng.IntN(256)) >> max(within.Bits()-24, 0)
			return netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked()
		}
		all := netip.MustParsePrefix("10.0.0.0/24")
		type peer struct {
			net    netip.Prefix
			except []netip.Prefix
		}
		peers := make([]peer, 1+rng.IntN(8))
		var edges []netEdge
		for i := range peers {
			p := &peers[i]
			p.net = block(all, 24+rng.IntN(9))
			edges = append(edges, netEdge{p.net, i, false})
			for range rng.IntN(4) {
				x := block(p.net, min(p.net.Bits()+rng.IntN(5), 32))
				if rng.IntN(10) == 0 {
					x = block(all, 24+rng.IntN(9)) // what no API server stores
				}
				p.except = append(p.except, x)
				edges = append(edges, netEdge{x, i, true})
			}
		}
		layers := layersOf(edges, len(peers))
		if len(layers) > 1 {
			layered++
		}
		for n := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
			in := func(p netip.Prefix) bool { return p.Contains(a) }
			want := slices.ContainsFunc(peers, func(p peer) bool { return in(p.net) && !slices.ContainsFunc(p.except, in) })
			got := slices.ContainsFunc(layers, func(l layer) bool { return slices.ContainsFunc(l.nets, in) && !slices.ContainsFunc(l.notNets, in) })
			if got != want {
				t.Fatalf("seed %d: %s is matched: %v, want %v, by %v as %v", seed, a, got, want, peers, layers)
			}
			if want {
				matched++
			}
		}
	}
	if matched < 100_000 || layered < 100 {
		t.Errorf("the blocks have gone blind: %d matched, %d layered", matched, layered)
	}
}
