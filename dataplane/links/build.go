package links

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// loopback has the addresses of interfaces by which no packet arrives.
const loopback = "lo"

// links returns what is listed of a network as Links. It notes which ports the
// pods are behind.
func (s *seats) links(n *network, pods Pods) *model.Links {
	s.update(n, pods)
	out := &model.Links{Addrs: n.addrs(), Tunnels: n.tunnels(), Pods: n.podLinks(pods, s.taken)}
	listed := make(map[netip.Addr]bool, len(out.Pods))
	for _, p := range out.Pods {
		listed[p.Addr] = true
	}
	out.Routes = n.routes(func(p netip.Prefix) bool { return p.IsSingleIP() && listed[p.Addr()] })
	return out
}

// network is a listing with what is looked up in it.
type network struct {
	*listing
	byIndex map[int]*link
	// own are the node's addresses.
	own map[netip.Addr]bool
	// uplinks are interfaces that lead out of the node, by index.
	uplinks map[int]bool
	// shared are bridges, by index, that others than pods are behind: one has a port
	// that leads elsewhere, or the default route.
	shared map[int]bool
	// main is the main table: one route a block, longest first.
	main []route
	// hosts are the main table's routes to single addresses.
	hosts map[netip.Addr]route
}

func newNetwork(l *listing) *network {
	n := &network{
		listing: l, byIndex: make(map[int]*link, len(l.links)), own: make(map[netip.Addr]bool, len(l.addrs)),
		uplinks: map[int]bool{}, shared: map[int]bool{}, hosts: map[netip.Addr]route{},
	}
	for i := range l.links {
		n.byIndex[l.links[i].index] = &l.links[i]
		if p := &l.links[i]; p.master != 0 && !p.leadsToPod() && p.kind != "dummy" {
			n.shared[p.master] = true
		}
	}
	for _, a := range l.addrs {
		n.own[a.prefix.Addr()] = true
		if !a.prefix.IsSingleIP() && !isLinkLocal(a.prefix.Addr()) {
			n.uplinks[a.index] = true
		}
	}
	n.main = mainTable(l.routes)
	for _, r := range n.main {
		switch {
		case r.net.Bits() == 0:
			n.uplinks[r.index], n.shared[r.index] = true, true
		case r.net.IsSingleIP():
			n.hosts[r.net.Addr()] = r
		}
	}
	return n
}

// addrs returns all addresses of the node's own.
func (n *network) addrs() []model.LinkAddr {
	out := make([]model.LinkAddr, 0, len(n.listing.addrs))
	add := func(a netip.Addr, index int) {
		if l := n.byIndex[index]; l != nil {
			out = append(out, model.LinkAddr{Addr: a, Interface: l.bears()})
		}
	}
	for _, a := range n.listing.addrs {
		add(a.prefix.Addr(), a.index)
	}
	for _, r := range n.listing.routes {
		if r.local && r.net.IsSingleIP() && !n.own[r.net.Addr()] {
			add(r.net.Addr(), r.index)
		}
	}
	slices.SortFunc(out, func(a, b model.LinkAddr) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Interface, b.Interface))
	})
	return slices.Compact(out)
}

// bears names the interface that the link's addresses are attributed to. No packet
// arrives by a dummy interface, which has Service addresses (IPVS) or those of
// node-local DNS: these are attributed to the loopback.
func (l *link) bears() string {
	if l.kind == "dummy" {
		return loopback
	}
	return l.name
}

func isLinkLocal(a netip.Addr) bool { return a.IsLinkLocalUnicast() }
