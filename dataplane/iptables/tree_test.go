package iptables

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/test/worlds"
)

// TestAddrTree holds trees to finding each of their addresses, no other, and soon.
func TestAddrTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(f dataplane.Family, spread int) netip.Addr {
		if f == dataplane.IPv4 {
			n := rng.IntN(spread)
			return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		}
		var b [16]byte
		b[0], b[1] = 0xfd, byte(rng.IntN(3))
		for i := 8; i < 16; i++ {
			b[i] = byte(rng.Uint32())
		}
		return netip.AddrFrom16(b)
	}
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		for _, n := range []int{0, 1, 2, fanOut, fanOut + 1, 100, 1000, 5000} {
			var list []netip.Addr
			for range n {
				list = append(list, random(family, 4*n))
			}
			slices.SortFunc(list, netip.Addr.Compare)
			list = slices.Compact(list)
			g := &generator{sink: sink{family: family, t: &table{chains: map[string][]rule{}}}}
			g.addrTree(chainEgress, "-s", list, func(a netip.Addr) []rule { return []rule{{"-s " + a.String(), "-j found-" + a.String(), ""}} })
			most, levels := 0, 0
			for _, a := range list {
				found, tried, deep := walk(g.t.chains, chainEgress, a)
				if found != "found-"+a.String() {
					t.Fatalf("%s of %d: found %q", a, n, found)
				}
				most, levels = max(most, tried), max(levels, deep)
			}
			for range 200 {
				a := random(family, 8*n+1)
				if found, _, _ := walk(g.t.chains, chainEgress, a); !slices.Contains(list, a) && found != "" {
					t.Fatalf("%s is not among %d, and is found: %s", a, n, found)
				}
			}
			if most > 4*fanOut || levels > 5 {
				t.Errorf("%d addresses: %d rules in %d chains", n, most, levels)
			}
			for name, rules := range g.t.chains {
				if len(name) > 28 || len(rules) > fanOut {
					t.Errorf("chain %s has %d rules", name, len(rules))
				}
			}
		}
	}
}

// walk sends an address through the chains and returns where it comes out.
func walk(chains map[string][]rule, chain string, a netip.Addr) (found string, tried, deep int) {
	for {
		deep++
		next := ""
		for _, r := range chains[chain] {
			tried++
			text := strings.TrimPrefix(r.match, "-s ")
			net, err := netip.ParsePrefix(text)
			if err != nil {
				one := netip.MustParseAddr(text)
				net = netip.PrefixFrom(one, one.BitLen())
			}
			if !net.Contains(a) {
				continue
			}
			if to, ok := strings.CutPrefix(r.target, "-g "); ok {
				next = to
				break
			}
			return strings.TrimPrefix(r.target, "-j "), tried, deep
		}
		if next == "" {
			return "", tried, deep
		}
		chain = next
	}
}

// TestNames holds all names of random worlds to what the kernel takes.
func TestNames(t *testing.T) {
	chains, sets := 0, 0
	for _, seed := range worlds.Seeds(t, 80) {
		f := worlds.New(seed, worlds.Options{})
		_, s := f.Step(80)
		rs := generate(s, Options{}.complete(), func(s *ipset) string { return versionName(s.key, 999) })
		for _, family := range []familyRules{rs.v4, rs.v6} {
			for _, tab := range family {
				for name, rules := range tab.chains {
					if chains++; len(name) > 28 || !strings.HasPrefix(name, chainPrefix) {
						t.Errorf("chain %s", name)
					}
					for _, r := range rules {
						target := strings.Fields(r.target)
						if len(target) == 2 && strings.HasPrefix(target[1], chainPrefix) {
							if _, ok := tab.chains[target[1]]; !ok {
								t.Errorf("chain %s leads to %s, which is not there", name, target[1])
							}
						}
					}
				}
			}
		}
		for _, set := range rs.sets {
			if sets++; len(set.name) > 31 {
				t.Errorf("set %s", set.name)
			}
			if key, ok := keyOf(set.name); !ok || key != set.key {
				t.Errorf("set %s is taken for one of key %s", set.name, key)
			}
		}
	}
	if !worlds.One() && (chains < 1000 || sets < 1000) {
		t.Errorf("%d chains, %d sets", chains, sets)
	}
}
