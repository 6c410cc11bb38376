package reporter

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// nodeLinks reports the addresses, routes and tunnels of the node; nil: not known.
// Where the pods are attached changes with every pod, and matters on the node alone.
func nodeLinks(l *model.Links) *v1alpha1.NodeLinks {
	if l == nil {
		return nil
	}
	out := &v1alpha1.NodeLinks{Addresses: nodeAddresses(l), Tunnels: nodeTunnels(l)}
	for _, r := range mergeRoutes(l.Routes) {
		out.Routes = append(out.Routes, v1alpha1.NodeRoute{Net: r.Net.String(), Interface: r.Interface})
	}
	out.Addresses, out.Truncated = first(out.Addresses, v1alpha1.MaxReportedAddresses, out.Truncated)
	out.Routes, out.Truncated = first(out.Routes, v1alpha1.MaxReportedRoutes, out.Truncated)
	out.Tunnels, out.Truncated = first(out.Tunnels, v1alpha1.MaxReportedTunnels, out.Truncated)
	return out
}

// nodeGhosts lists ghosts' addresses, as many as may be.
func nodeGhosts(list []model.Ghost) (out []v1alpha1.ReportedGhost) {
	for _, g := range list[:min(len(list), v1alpha1.MaxReportedGhosts)] {
		out = append(out, v1alpha1.ReportedGhost{Address: g.Addr.String(), Pod: g.Ref.String()})
	}
	return out
}

// first returns so many of a list, and whether that or a list before was cut.
func first[T any](list []T, most int, cut bool) ([]T, bool) {
	if len(list) <= most {
		return list, cut
	}
	return list[:most], true
}

// nodeAddresses lists each address once, without those that mean nothing on other
// nodes. Addresses of the loopback come last: Service addresses (IPVS) are among
// them.
func nodeAddresses(l *model.Links) (out []v1alpha1.NodeAddress) {
	var before netip.Addr
	for _, a := range l.Addrs {
		if a.Addr == before || a.Addr.IsLoopback() || a.Addr.IsLinkLocalUnicast() {
			continue
		}
		before = a.Addr
		out = append(out, v1alpha1.NodeAddress{Address: a.Addr.String(), Interface: a.Interface, LeadsToPods: l.LeadsToPods(a.Interface)})
	}
	rank := func(a v1alpha1.NodeAddress) int {
		if a.Interface == "lo" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b v1alpha1.NodeAddress) int { return cmp.Compare(rank(a), rank(b)) })
	return out
}

func nodeTunnels(l *model.Links) (out []v1alpha1.NodeTunnel) {
	for _, t := range l.Tunnels {
		out = append(out, v1alpha1.NodeTunnel{Interface: t.Interface, Protocol: t.Protocol.String(), Port: int32(t.Port)})
	}
	return out
}

// mergeRoutes returns routes that lead where the given ones lead, with two halves
// of a block behind one interface as one; widest first. A network that gives each
// node a block, and reaches all of them by one interface, has few routes then.
func mergeRoutes(routes []model.LinkRoute) []model.LinkRoute {
	by := make(map[netip.Prefix]string, len(routes))
	for _, r := range routes {
		by[r.Net] = r.Interface
	}
	// Longest first, so that what merges can merge further.
	queue := slices.Clone(routes)
	for i := 0; i < len(queue); i++ {
		r := queue[i]
		if r.Net.Bits() == 0 || by[r.Net] != r.Interface {
			continue
		}
		other := sibling(r.Net)
		if by[other] != r.Interface {
			continue
		}
		wider := netip.PrefixFrom(r.Net.Addr(), r.Net.Bits()-1).Masked()
		delete(by, r.Net)
		delete(by, other)
		by[wider] = r.Interface // both halves hide what it was
		at, _ := slices.BinarySearchFunc(queue[i+1:], wider, func(x model.LinkRoute, p netip.Prefix) int { return p.Bits() - x.Net.Bits() })
		queue = slices.Insert(queue, i+1+at, model.LinkRoute{Net: wider, Interface: r.Interface})
	}
	out := make([]model.LinkRoute, 0, len(by))
	for net, name := range by {
		out = append(out, model.LinkRoute{Net: net, Interface: name})
	}
	slices.SortFunc(out, func(a, b model.LinkRoute) int {
		return cmp.Or(cmp.Compare(a.Net.Bits(), b.Net.Bits()), a.Net.Addr().Compare(b.Net.Addr()))
	})
	return out
}

// sibling is the other half of the block that is one bit wider.
func sibling(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	bit := p.Bits() - 1
	b[bit/8] ^= 0x80 >> (bit % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits())
}
