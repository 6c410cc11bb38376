package nftables

import (
	"fmt"
	"net/netip"
	"slices"
)

// addrRange is a range of addresses of one family, both ends included.
type addrRange struct{ first, last netip.Addr }

// key is the range as an address, a block or a range, whichever says it shortest.
func (r addrRange) key() string {
	if r.first == r.last {
		return r.first.String()
	}
	a, b := r.first.AsSlice(), r.last.AsSlice()
	bits := 0
	for i := range a {
		for m := byte(0x80); m != 0; m >>= 1 {
			if a[i]&m != b[i]&m {
				if p := netip.PrefixFrom(r.first, bits); p.Masked().Addr() == r.first && lastOf(p) == r.last {
					return p.String()
				}
				return r.first.String() + "-" + r.last.String()
			}
			bits++
		}
	}
	return r.first.String()
}

// halves cuts in two a range of all addresses, which nft takes for no element.
func (r addrRange) halves() []addrRange {
	if !r.first.IsUnspecified() || r.last.Next().IsValid() {
		return []addrRange{r}
	}
	p := netip.PrefixFrom(r.first, 1)
	return []addrRange{{r.first, lastOf(p)}, {lastOf(p).Next(), r.last}}
}

func blockKey(p netip.Prefix) string { return addrRange{p.Masked().Addr(), lastOf(p)}.key() }

// lastOf is the last address of a block.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		switch bits := p.Bits() - 8*i; {
		case bits <= 0:
			b[i] = 0xff
		case bits < 8:
			b[i] |= 0xff >> bits
		}
	}
	a, _ := netip.AddrFromSlice(b) // of 4 or 16 bytes, as it was
	return a
}

// mergeBlocks returns the blocks, which are of one family, as ranges that are
// sorted, disjoint and not adjacent; all addresses are two halves.
func mergeBlocks(blocks []netip.Prefix) []addrRange {
	slices.SortFunc(blocks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []addrRange
	for _, p := range blocks {
		r := addrRange{p.Addr(), lastOf(p)}
		if n := len(out); n > 0 {
			end := &out[n-1].last
			if next := end.Next(); !next.IsValid() || !next.Less(r.first) {
				if end.Less(r.last) {
					*end = r.last
				}
				continue
			}
		}
		out = append(out, r)
	}
	if len(out) == 1 {
		return out[0].halves()
	}
	return out
}

func portKey(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
