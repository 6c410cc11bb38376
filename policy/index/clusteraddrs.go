package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// ClusterAddrs returns the addresses of all nodes, sorted. The caller does not
// change them; they are the same slice until a node changes.
func (ix *Index) ClusterAddrs() []netip.Addr {
	if ix.clusterAddrs == nil {
		ix.clusterAddrs = ofNodes(ix, func(n *model.Node) []netip.Addr { return n.Addrs }, netip.Addr.Compare)
	}
	return ix.clusterAddrs
}

// ClusterBlocks returns the blocks of pod addresses of all nodes' objects, sorted.
// The caller does not change them; they are the same slice until a node changes.
func (ix *Index) ClusterBlocks() []netip.Prefix {
	if ix.clusterBlocks == nil {
		ix.clusterBlocks = ofNodes(ix, func(n *model.Node) []netip.Prefix { return n.PodCIDRs }, netip.Prefix.Compare)
	}
	return ix.clusterBlocks
}

// ofNodes gathers what nodes have, sorted, each once; never nil.
func ofNodes[T comparable](ix *Index, have func(*model.Node) []T, compare func(a, b T) int) []T {
	out := make([]T, 0, 2*len(ix.nodes))
	for _, rec := range ix.nodes {
		if rec.node != nil {
			out = append(out, have(rec.node)...)
		}
	}
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}
