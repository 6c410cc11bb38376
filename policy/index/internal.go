package index

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Internal returns why an address must not be opened by a DNS answer: it is internal in any
// cluster (names.Internal), or it is this cluster's own. Empty means that it is not
// internal. The addresses of Services are not known here.
func (ix *Index) Internal(a netip.Addr) string {
	a = a.Unmap()
	if why := names.Internal(a); why != "" {
		return why
	}
	if r := ix.Owner(a); r != (model.Ref{}) {
		return "of " + r.String()
	}
	if n := ix.NodeOf(a); n != nil {
		return "of " + n.Key().String()
	}
	if ix.InPodBlocks(a) {
		return "in a node's pod block"
	}
	return ""
}
