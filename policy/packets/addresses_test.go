package packets

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// scanRange reads "N" or "N-M" and says how many numbers there were.
func scanRange(s string, first, last *int) (int, error) {
	return fmt.Sscanf(s, "%d-%d", first, last)
}

func TestPrefixes(t *testing.T) {
	rng := func(from, to string) Range { return Range{netip.MustParseAddr(from), netip.MustParseAddr(to)} }
	tests := []struct {
		in   []Range
		want string
	}{
		{nil, "[]"},
		{[]Range{rng("0.0.0.0", "255.255.255.255")}, "[0.0.0.0/0]"},
		{[]Range{rng("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}, "[::/0]"},
		{[]Range{rng("10.0.0.1", "10.0.0.1")}, "[10.0.0.1/32]"},
		{[]Range{rng("10.0.0.1", "10.0.0.4")}, "[10.0.0.1/32 10.0.0.2/31 10.0.0.4/32]"},
		{[]Range{rng("10.0.0.128", "10.0.0.255"), rng("10.0.0.0", "10.0.0.127")}, "[10.0.0.0/24]"},
		{[]Range{rng("255.255.255.255", "255.255.255.255"), rng("::", "::1")}, "[255.255.255.255/32 ::/127]"},
		{[]Range{rng("fe80::", "fe80::ffff"), rng("fe80::8", "fe80::9")}, "[fe80::/112]"},
	}
	for _, tt := range tests {
		if got := fmt.Sprint(Prefixes(tt.in)); got != tt.want {
			t.Errorf("Prefixes(%v) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestPrefixesCoverExactly(t *testing.T) {
	base := netip.MustParseAddr("10.0.0.0").As4()
	at := func(i int) netip.Addr { b := base; b[3] = byte(i); return netip.AddrFrom4(b) }
	for seed := uint64(0); seed < 500; seed++ {
		r := rand.New(rand.NewPCG(seed, 4))
		var rs []Range
		want := map[int]bool{}
		for range r.IntN(6) {
			lo, hi := r.IntN(256), r.IntN(256)
			lo, hi = min(lo, hi), max(lo, hi)
			rs = append(rs, Range{at(lo), at(hi)})
			for i := lo; i <= hi; i++ {
				want[i] = true
			}
		}
		seen := map[int]int{}
		for _, p := range Prefixes(rs) {
			for i := range 256 {
				if p.Contains(at(i)) {
					seen[i]++
				}
			}
		}
		for i := range 256 {
			if want[i] != (seen[i] == 1) || seen[i] > 1 {
				t.Fatalf("seed %d: %v: address %d is covered %d times", seed, rs, i, seen[i])
			}
		}
	}
}

func TestWithout(t *testing.T) {
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, byte(i)}) }
	for seed := uint64(0); seed < 500; seed++ {
		r := rand.New(rand.NewPCG(seed, 5))
		draw := func() ([]Range, map[int]bool) {
			var rs []Range
			in := map[int]bool{}
			for range r.IntN(5) {
				lo, hi := r.IntN(256), r.IntN(256)
				lo, hi = min(lo, hi), max(lo, hi)
				rs = append(rs, Range{at(lo), at(hi)})
				for i := lo; i <= hi; i++ {
					in[i] = true
				}
			}
			return rs, in
		}
		a, inA := draw()
		b, inB := draw()
		got := Without(a, b)
		for i := range 256 {
			n := 0
			for _, x := range got {
				if x.Contains(at(i)) {
					n++
				}
			}
			if (n == 1) != (inA[i] && !inB[i]) || n > 1 {
				t.Fatalf("seed %d: %v without %v is %v: wrong at %d", seed, a, b, got, i)
			}
		}
	}
}
