package model

import (
	"net/netip"
	"slices"
)

// Links is what the kernel of a node reports about the node itself, beyond what the API
// lists: all of its own addresses, where its pods are attached, its routes and its
// tunnels. The agent reads it by netlink (dataplane/links) and follows changes;
// NodeReports make it available to commands and other nodes.
//
// A node without Links has the addresses of its Node object, and its interfaces are
// those that host endpoints name.
type Links struct {
	// Node that the Links belong to.
	Node string
	// Addrs are all addresses at which the node receives packets, whichever interface
	// they are on, including those of bridges, tunnels and lo, and link-local ones.
	// Sorted by address and interface; a link-local address may occur on several.
	Addrs []LinkAddr
	// Routes of the main table to unicast destinations, without those to single
	// addresses of local pods, which Pods lists. Sorted by CompareRoutes: longest
	// prefix first.
	Routes []LinkRoute
	// Pods are the addresses behind interfaces that lead to local pods. Sorted.
	Pods []PodLink
	// Tunnels are the encapsulating interfaces of the node. Sorted.
	Tunnels []Tunnel
	// Ghosts of the node's pods, as a NodeReport lists them; an agent has another
	// source for those of its own node. Sorted by address.
	Ghosts []Ghost
}

// Ghost is an address of a pod whose object is gone and whose sandbox may still be
// running.
type Ghost struct {
	Addr netip.Addr
	// Ref is a GhostRef.
	Ref Ref
}

// LinkAddr is one of the node's own addresses and the interface that has it.
type LinkAddr struct {
	Addr      netip.Addr
	Interface string
}

// LinkRoute is the node's route to a block of addresses.
type LinkRoute struct {
	Net       netip.Prefix // masked
	Interface string
}

// PodLink is an address of a local pod and where its packets enter the node.
type PodLink struct {
	Addr netip.Addr
	// Interface is what the node's routing sees: the pod's own interface, or a bridge.
	Interface string
	// Port is the pod's port on the bridge Interface; empty if there is no bridge.
	Port string
}

// Tunnel is an encapsulating interface: a VXLAN, Geneve, IPIP, GRE, WireGuard
// device and the like.
type Tunnel struct {
	Interface string
	// Protocol is the outer IP protocol.
	Protocol Protocol
	// Port is the outer destination port; 0 for protocols without ports.
	Port uint16
}

// Key implements Object.
func (l *Links) Key() Ref { return Ref{Kind: KindNodeLinks, Name: l.Node} }

// CompareRoutes orders routes so that the first one that contains an address is the one
// in effect: longest prefix first, then by address and interface.
func CompareRoutes(a, b LinkRoute) int {
	if a.Net.Bits() != b.Net.Bits() {
		return b.Net.Bits() - a.Net.Bits()
	}
	if c := a.Net.Addr().Compare(b.Net.Addr()); c != 0 {
		return c
	}
	switch {
	case a.Interface < b.Interface:
		return -1
	case a.Interface > b.Interface:
		return 1
	}
	return 0
}

// InterfaceOf returns the interface that has one of the node's own addresses, or "". If
// there are several, it returns the first by name. Nil Links have none.
func (l *Links) InterfaceOf(a netip.Addr) string {
	if l == nil {
		return ""
	}
	i, _ := slices.BinarySearchFunc(l.Addrs, a, func(x LinkAddr, a netip.Addr) int { return x.Addr.Compare(a) })
	if i < len(l.Addrs) && l.Addrs[i].Addr == a {
		return l.Addrs[i].Interface
	}
	return ""
}

// RouteTo returns the interface by which the node sends to an address, or "". Nil Links
// have no routes.
func (l *Links) RouteTo(a netip.Addr) string {
	if l == nil {
		return ""
	}
	for i := range l.Pods {
		if l.Pods[i].Addr == a {
			return l.Pods[i].Interface
		}
	}
	for i := range l.Routes {
		if l.Routes[i].Net.Contains(a) {
			return l.Routes[i].Interface
		}
	}
	return ""
}

// LeadsToPods reports whether local pods are behind an interface.
func (l *Links) LeadsToPods(name string) bool {
	return l != nil && slices.ContainsFunc(l.Pods, func(p PodLink) bool { return p.Interface == name })
}

// IsTunnel reports whether an interface encapsulates.
func (l *Links) IsTunnel(name string) bool {
	return l != nil && slices.ContainsFunc(l.Tunnels, func(t Tunnel) bool { return t.Interface == name })
}

// tunnelled returns the blocks that the node reaches through its tunnels, in the
// order of Routes: addresses in them are other nodes' or their pods', whatever
// pod block of this node they lie in.
func (l *Links) tunnelled() []netip.Prefix {
	if l == nil {
		return nil
	}
	var out []netip.Prefix
	for _, r := range l.Routes {
		if l.IsTunnel(r.Interface) {
			out = append(out, r.Net)
		}
	}
	return out
}

// TunnelledWithin returns those of the tunnelled blocks that lie within one of the
// given blocks. A wider route through a tunnel, a default route for example, says
// nothing of a node's own pod block in it.
func (l *Links) TunnelledWithin(blocks []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(l.tunnelled(), func(t netip.Prefix) bool {
		return !slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Bits() <= t.Bits() && b.Contains(t.Addr()) })
	})
}
