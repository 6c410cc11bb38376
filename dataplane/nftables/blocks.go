package nftables

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

func blockText(p netip.Prefix) string {
	return nft.Range{First: p.Masked().Addr(), Last: dataplane.LastAddr(p)}.String()
}

// mergeBlocks returns the blocks, which are of one family, as ranges that are
// sorted, disjoint and not adjacent; all addresses are two halves.
func mergeBlocks(blocks []netip.Prefix) []nft.Range {
	slices.SortFunc(blocks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []nft.Range
	for _, p := range blocks {
		r := nft.Range{First: p.Addr(), Last: dataplane.LastAddr(p)}
		if n := len(out); n > 0 {
			end := &out[n-1].Last
			if next := end.Next(); !next.IsValid() || !next.Less(r.First) {
				if end.Less(r.Last) {
					*end = r.Last
				}
				continue
			}
		}
		out = append(out, r)
	}
	if len(out) == 1 {
		return out[0].Halves()
	}
	return out
}
