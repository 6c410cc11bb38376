package links

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// mainTable returns the routes of the main table, one of each block: the one of the
// least priority value, which the kernel prefers. Longest first.
func mainTable(all []route) []route {
	var out []route
	for _, r := range all {
		if !r.local {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b route) int {
		return cmp.Or(longestFirst(a.net, b.net), cmp.Compare(a.priority, b.priority))
	})
	return slices.CompactFunc(out, func(a, b route) bool { return a.net == b.net })
}

// longestFirst orders blocks as model.CompareRoutes orders routes, unlike
// netip.Prefix.Compare, which goes by address first.
func longestFirst(a, b netip.Prefix) int {
	return cmp.Or(cmp.Compare(b.Bits(), a.Bits()), a.Addr().Compare(b.Addr()))
}

// lookup returns the route to an address.
func (n *network) lookup(a netip.Addr) (route, bool) {
	if r, ok := n.hosts[a]; ok {
		return r, true
	}
	for _, r := range n.main {
		if r.net.Contains(a) {
			return r, true
		}
	}
	return route{}, false
}

// routes returns the main table as far as it decides where packets go, without
// link-local blocks, which every interface has, and without those left out. A route
// within the block of another one to the same interface decides nothing unless
// one between them leads elsewhere: so the table of a node stays short where
// its network announces many blocks.
func (n *network) routes(leftOut func(netip.Prefix) bool) []model.LinkRoute {
	var out []model.LinkRoute
	for _, r := range n.main {
		l := n.byIndex[r.index]
		if l == nil || r.net.Addr().Is6() && isLinkLocal(r.net.Addr()) || leftOut(r.net) {
			continue
		}
		out = append(out, model.LinkRoute{Net: r.net, Interface: l.name})
	}
	return withoutNested(out)
}

// withoutNested removes routes whose next wider route leads to the same interface.
func withoutNested(routes []model.LinkRoute) []model.LinkRoute {
	// Wider blocks come before those that they contain.
	slices.SortFunc(routes, func(a, b model.LinkRoute) int {
		return cmp.Or(a.Net.Addr().Compare(b.Net.Addr()), cmp.Compare(a.Net.Bits(), b.Net.Bits()))
	})
	var around []model.LinkRoute // the blocks that contain the one at hand, widest first
	out := routes[:0]
	for _, r := range routes {
		for len(around) > 0 && !around[len(around)-1].Net.Contains(r.Net.Addr()) {
			around = around[:len(around)-1]
		}
		if len(around) == 0 || around[len(around)-1].Interface != r.Interface {
			out = append(out, r)
			around = append(around, r)
		}
	}
	slices.SortFunc(out, model.CompareRoutes)
	return out
}
