package names

import (
	"net/netip"
	"slices"
)

// metadataServices are addresses of clouds' metadata services that are not link-local.
var metadataServices = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"),
	netip.MustParseAddr("fd00:ec2::254"),
}

// thisNetwork has no address that leads anywhere but to the sender's own host.
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

// Internal returns why an address is internal in any cluster, so that no DNS answer may
// open it; empty means that it is not. It knows nothing of the cluster's own addresses:
// index.Index.Internal does.
func Internal(a netip.Addr) string {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}), thisNetwork.Contains(a):
		return "no address of one host"
	case slices.Contains(metadataServices, a):
		return "a metadata service's"
	}
	return ""
}
