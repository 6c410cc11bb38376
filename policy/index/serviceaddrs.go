package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// ServiceAddrs returns the addresses of a Service's endpoints, sorted; nil if no
// EndpointSlice of it is known.
func (ix *Index) ServiceAddrs(ref model.ServiceRef) []netip.Addr {
	svc := ix.services[ref]
	if svc == nil {
		return nil
	}
	var out []netip.Addr
	for _, s := range svc.slices {
		out = append(out, s.Addrs...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
