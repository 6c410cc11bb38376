package oracle

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Which host endpoint guards an interface, and by which one a packet comes or leaves.

func (w *World) hostsOn(node string) []*owner {
	var out []*owner
	for _, h := range w.hosts { // sorted by name
		if h.node == node && node != "" {
			out = append(out, h)
		}
	}
	return out
}

func (w *World) wildcard(node string) *owner {
	for _, h := range w.hostsOn(node) {
		if h.iface == "*" {
			return h
		}
	}
	return nil
}

// guard is the host endpoint that guards an interface of a node; exempt is true where that
// of all interfaces does not. own is the node's own address of the packet, or invalid where the
// packet is forwarded.
func (w *World) guard(node, iface string, exempt bool, own netip.Addr) *owner {
	for _, h := range w.hostsOn(node) {
		if iface != "" && h.iface == iface {
			return h
		}
	}
	for _, h := range w.hostsOn(node) {
		if own.IsValid() && h.iface == "" && h.has(own) {
			return h
		}
	}
	if exempt {
		return nil
	}
	return w.wildcard(node)
}

// routeTo is the interface by which a node sends to an address.
func routeTo(l *model.Links, a netip.Addr) string {
	for _, p := range l.Pods {
		if p.Addr == a {
			return p.Interface
		}
	}
	best := model.LinkRoute{Net: netip.Prefix{}}
	for _, r := range l.Routes {
		longer := !best.Net.IsValid() || r.Net.Bits() > best.Net.Bits() || r.Net == best.Net && r.Interface < best.Interface
		if r.Net.Contains(a) && longer {
			best = r
		}
	}
	return best.Interface
}

func leadsToPods(l *model.Links, iface string) bool {
	return slices.ContainsFunc(l.Pods, func(p model.PodLink) bool { return p.Interface == iface })
}

// leadsToPods reports whether local pods are behind an interface, as far as is known.
func (w *World) leadsToPods(node, iface string) bool {
	l := w.links[node]
	return l != nil && leadsToPods(l, iface)
}

// interfaceTowards is the interface between a node and a peer that is none of its pods.
// own is the node's own end, if it has one.
func (w *World) interfaceTowards(node string, peer, own netip.Addr, inbound bool) string {
	l := w.links[node]
	if l == nil {
		return w.interfaceByObjects(node, own)
	}
	iface := ""
	for _, a := range l.Addrs { // sorted: of several interfaces the first
		if a.Addr != own || iface != "" {
			continue
		}
		tunnel := slices.ContainsFunc(l.Tunnels, func(t model.Tunnel) bool { return t.Interface == a.Interface })
		uplink := a.Interface != "lo" && !tunnel && !leadsToPods(l, a.Interface)
		if own.IsLinkLocalUnicast() || inbound && uplink {
			iface = a.Interface
		}
		break
	}
	if iface == "" {
		iface = routeTo(l, peer)
	}
	return iface
}

// interfaceOfPods is the interface between a node and one of its pods, known or not,
// where its route tells.
func (w *World) interfaceOfPods(node string, pod netip.Addr) string {
	if l := w.links[node]; l != nil {
		if to := routeTo(l, pod); leadsToPods(l, to) {
			return to
		}
	}
	return ""
}

// interfaceByObjects: without the node's Links, host endpoints tell of its interfaces.
func (w *World) interfaceByObjects(node string, own netip.Addr) string {
	var named []*owner
	for _, h := range w.hostsOn(node) {
		if h.iface != "" && h.iface != "*" {
			named = append(named, h)
		}
	}
	for _, h := range named {
		if own.IsValid() && h.expected && h.has(own) {
			return h.iface
		}
	}
	// The main interface.
	for _, h := range named {
		if !h.expected {
			return h.iface
		}
	}
	for _, n := range w.nodes {
		if addrs := nodeAddrs(n); n.Name == node && len(addrs) > 0 {
			for _, h := range named {
				if h.has(addrs[0]) {
					return h.iface
				}
			}
			return "" // one that none names
		}
	}
	names := map[string]bool{}
	for _, h := range named {
		names[h.iface] = true
	}
	if len(names) == 1 {
		return named[0].iface
	}
	return ""
}
