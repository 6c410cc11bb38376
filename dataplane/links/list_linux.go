package links

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// list lists links, addresses and routes.
func (k *Kernel) list() (*listing, error) {
	l := &listing{}
	found, err := k.handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, x := range found {
		l.links = append(l.links, linkOf(x))
	}
	k.readWireGuard(l)
	addrs, err := k.handle.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for i := range addrs {
		if p, ok := prefixOf(addrs[i].IPNet); ok && addrs[i].Flags&unix.IFA_F_DADFAILED == 0 {
			l.addrs = append(l.addrs, address{index: addrs[i].LinkIndex, prefix: p})
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		err := k.handle.RouteListFilteredIter(family, every, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if x, ok := routeOf(&r); ok {
				l.routes = append(l.routes, x)
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
	}
	return l, nil
}

// listNeighbours lists the neighbours that are pods, and where bridges have seen
// whose MAC addresses.
func (k *Kernel) listNeighbours(l *listing, pods Pods) error {
	found, err := k.handle.NeighList(0, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	for i := range found {
		a, ok := netip.AddrFromSlice(found[i].IP)
		if _, pod := pods[a.Unmap()]; !ok || !pod || len(found[i].HardwareAddr) != len(mac{}) {
			continue
		}
		l.neighbours = append(l.neighbours, neighbour{index: found[i].LinkIndex, addr: a.Unmap(), mac: mac(found[i].HardwareAddr)})
	}
	if found, err = k.handle.NeighList(0, unix.AF_BRIDGE); err != nil {
		return fmt.Errorf("list forwarding databases: %w", err)
	}
	for i := range found {
		x := &found[i]
		// The bridge's own entries are permanent, and those of devices have no master.
		if x.MasterIndex == 0 || x.State&unix.NUD_PERMANENT != 0 || len(x.HardwareAddr) != len(mac{}) {
			continue
		}
		l.stations = append(l.stations, station{bridge: x.MasterIndex, port: x.LinkIndex, mac: mac(x.HardwareAddr)})
	}
	return nil
}

func linkOf(x netlink.Link) link {
	a := x.Attrs()
	l := link{
		index: a.Index, name: a.Name, kind: x.Type(), up: a.Flags&net.FlagUp != 0, master: a.MasterIndex,
		abroad: a.NetNsID >= 0, namespace: a.NetNsID, peer: a.ParentIndex,
	}
	if l.kind == "device" {
		l.kind = ""
	}
	within := func(kind, port uint16) { l.encapsulation.within, l.encapsulation.withinPort = kind, port }
	switch t := x.(type) {
	case *netlink.Vxlan:
		l.encapsulation.port = uint16(t.Port)
	case *netlink.Geneve:
		l.encapsulation.port = t.Dport
	case *netlink.Iptun:
		l.encapsulation.inner = t.Proto
		within(t.EncapType, t.EncapDport)
	case *netlink.Sittun:
		l.encapsulation.inner = t.Proto
		within(t.EncapType, t.EncapDport)
	case *netlink.Ip6tnl:
		l.encapsulation.inner = t.Proto
		within(t.EncapType, t.EncapDport)
	case *netlink.Gretun:
		within(t.EncapType, t.EncapDport)
	case *netlink.Gretap:
		within(t.EncapType, t.EncapDport)
	}
	return l
}

// routeOf returns a route that counts: of table main with a way out, or of table
// local to the node itself.
func routeOf(r *netlink.Route) (route, bool) {
	x := route{
		index: r.LinkIndex, gateway: r.Gw != nil || r.Via != nil, priority: r.Priority,
		learned: r.Protocol == unix.RTPROT_RA || r.Protocol == unix.RTPROT_REDIRECT,
	}
	switch {
	case r.Table == unix.RT_TABLE_LOCAL && r.Type == unix.RTN_LOCAL:
		x.local = true
	case r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST || r.Flags&unix.RTNH_F_DEAD != 0:
		return route{}, false
	}
	if len(r.MultiPath) > 0 {
		hop := firstAlive(r.MultiPath)
		x.index, x.gateway = hop.LinkIndex, hop.Gw != nil || hop.Via != nil
	}
	var ok bool
	if x.net, ok = prefixOf(r.Dst); !ok {
		if r.Dst != nil {
			return route{}, false
		}
		x.net = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.Family == unix.AF_INET6 {
			x.net = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	x.net = x.net.Masked()
	return x, true
}

func firstAlive(hops []*netlink.NexthopInfo) *netlink.NexthopInfo {
	for _, h := range hops {
		if h.Flags&unix.RTNH_F_DEAD == 0 {
			return h
		}
	}
	return hops[0]
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if a.Is4In6() && bits == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), ok && bits == a.BitLen()
}
