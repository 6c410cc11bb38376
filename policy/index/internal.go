package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// metadataServices are addresses of clouds' metadata services that are not link-local.
var metadataServices = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"),
	netip.MustParseAddr("fd00:ec2::254"),
}

// Internal says why an address is one that a DNS answer must not open: it is no address
// of one host, or it is the cluster's own. Empty: it is not internal. What addresses
// Services have is not known here.
func (ix *Index) Internal(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "no address of one host"
	case slices.Contains(metadataServices, a):
		return "a metadata service's"
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
