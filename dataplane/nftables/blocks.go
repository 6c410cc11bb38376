package nftables

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
)

func blockText(p netip.Prefix) string {
	return addrRange{p.Masked().Addr(), dataplane.LastAddr(p)}.text()
}

// mergeBlocks returns the blocks, which are of one family, as ranges that are
// sorted, disjoint and not adjacent; all addresses are two halves.
func mergeBlocks(blocks []netip.Prefix) []addrRange {
	slices.SortFunc(blocks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []addrRange
	for _, p := range blocks {
		r := addrRange{p.Addr(), dataplane.LastAddr(p)}
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
