package policy

import (
	"net/netip"
	"slices"
)

// ClusterAddrs returns the addresses of all nodes, sorted. The caller does not
// change them; they are the same slice until a node changes.
func (ix *Index) ClusterAddrs() []netip.Addr {
	if ix.clusterAddrs == nil {
		out := make([]netip.Addr, 0, 2*len(ix.nodes))
		for _, rec := range ix.nodes {
			if rec.node != nil {
				out = append(out, rec.node.Addrs...)
			}
		}
		slices.SortFunc(out, netip.Addr.Compare)
		ix.clusterAddrs = slices.Compact(out)
	}
	return ix.clusterAddrs
}

// ClusterBlocks returns the blocks of pod addresses of all nodes' objects, sorted.
// The caller does not change them; they are the same slice until a node changes.
func (ix *Index) ClusterBlocks() []netip.Prefix {
	if ix.clusterBlocks == nil {
		out := make([]netip.Prefix, 0, 2*len(ix.nodes))
		for _, rec := range ix.nodes {
			if rec.node != nil {
				out = append(out, rec.node.PodCIDRs...)
			}
		}
		slices.SortFunc(out, netip.Prefix.Compare)
		ix.clusterBlocks = slices.Compact(out)
	}
	return ix.clusterBlocks
}
