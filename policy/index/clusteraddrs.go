package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// ClusterAddrs returns the addresses of all nodes, sorted. The caller must not change
// them; it is the same slice until a node changes.
func (ix *Index) ClusterAddrs() []netip.Addr {
	if ix.clusterAddrs == nil {
		ix.clusterAddrs = ofNodes(ix, func(n *model.Node) []netip.Addr { return n.Addrs }, netip.Addr.Compare)
	}
	return ix.clusterAddrs
}

// ClusterBlocks returns the pod blocks of all Node objects, sorted. The caller must not
// change them; it is the same slice until a node changes.
func (ix *Index) ClusterBlocks() []netip.Prefix {
	if ix.clusterBlocks == nil {
		ix.clusterBlocks = ofNodes(ix, func(n *model.Node) []netip.Prefix { return n.PodCIDRs }, netip.Prefix.Compare)
	}
	return ix.clusterBlocks
}

// ofNodes collects a property of all nodes, sorted and without duplicates; never nil.
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
