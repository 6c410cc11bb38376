package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// LinkTable is a node's Links in a form for lookups per packet: maps instead of lists.
type LinkTable struct {
	*model.Links
	own    map[netip.Addr]string
	pods   map[netip.Addr]string
	routes map[netip.Prefix]string
	// bits are the lengths of the routes' blocks, longest first, by family.
	bits [2][]int
	// toPods are the interfaces that lead to pods, uplinks those that have an address
	// of the node and lead to the outside.
	toPods, uplinks map[string]bool
}

func newLinkTable(l *model.Links) *LinkTable {
	t := &LinkTable{
		Links: l, own: map[netip.Addr]string{}, pods: map[netip.Addr]string{}, routes: map[netip.Prefix]string{},
		toPods: map[string]bool{}, uplinks: map[string]bool{},
	}
	for _, p := range l.Pods {
		t.toPods[p.Interface] = true
		keepFirst(t.pods, p.Addr.Unmap(), p.Interface)
	}
	for _, a := range l.Addrs {
		keepFirst(t.own, a.Addr.Unmap(), a.Interface)
		if a.Interface != "lo" && !t.toPods[a.Interface] && !l.IsTunnel(a.Interface) {
			t.uplinks[a.Interface] = true
		}
	}
	for _, r := range l.Routes {
		keepFirst(t.routes, r.Net, r.Interface)
		bits := &t.bits[familyOf(r.Net.Addr())]
		if !slices.Contains(*bits, r.Net.Bits()) {
			*bits = append(*bits, r.Net.Bits())
		}
	}
	for i := range t.bits {
		slices.SortFunc(t.bits[i], func(a, b int) int { return b - a })
	}
	return t
}

// keepFirst sets a key unless it is already set.
func keepFirst[K comparable](m map[K]string, k K, v string) {
	if _, ok := m[k]; !ok {
		m[k] = v
	}
}

// familyOf is 0 for IPv4 and 1 for IPv6.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// routeTo is model.Links.RouteTo.
func (t *LinkTable) routeTo(a netip.Addr) string {
	if name, ok := t.pods[a]; ok {
		return name
	}
	for _, bits := range t.bits[familyOf(a)] {
		p, err := a.Prefix(bits)
		if err != nil {
			break
		}
		if name, ok := t.routes[p]; ok {
			return name
		}
	}
	return ""
}

// OwnInterface is the interface that has an address of the node; empty if none does,
// and for a nil LinkTable.
func (t *LinkTable) OwnInterface(a netip.Addr) string {
	if t == nil {
		return ""
	}
	return t.own[a]
}

// LeadsToPods reports whether an interface leads to local pods.
func (t *LinkTable) LeadsToPods(name string) bool { return t.toPods[name] }

// addrs are the node's own addresses that identify it to other nodes: neither
// link-local nor loopback ones.
func (t *LinkTable) addrs() []netip.Addr {
	var out []netip.Addr
	if t == nil {
		return nil
	}
	for _, a := range t.Addrs {
		if x := a.Addr.Unmap(); x.IsGlobalUnicast() {
			out = append(out, x)
		}
	}
	return out
}

// sameLinks reports whether two tables have equal Links; nil has none.
func sameLinks(a, b *model.Links) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Routes, b.Routes) && slices.Equal(a.Pods, b.Pods) && slices.Equal(a.Tunnels, b.Tunnels)
}

// Link is the interface by which a packet enters or leaves a node, as far as it
// determines which host endpoint guards it.
type Link struct {
	Name string // empty: none that a host endpoint names
	Pods bool   // it leads to local pods
}

// PodLink is the interface that leads to a pod of the node.
func (rec *NodeState) PodLink(a netip.Addr) Link {
	if rec == nil || rec.links == nil {
		return Link{Pods: true}
	}
	if name := rec.links.routeTo(a); rec.links.toPods[name] {
		return Link{name, true}
	}
	return Link{Pods: true}
}

// LinkOf returns the interface between a node and a peer. own is the node's address on
// the packet, or invalid if the packet is forwarded; inbound is its direction.
func (rec *NodeState) LinkOf(peer, own netip.Addr, inbound bool) Link {
	if rec.links == nil {
		return Link{Name: rec.mainLink(own)}
	}
	t := rec.links
	name := ""
	if own.IsValid() && (inbound || own.IsLinkLocalUnicast()) {
		name = t.own[own]
		if inbound && !t.uplinks[name] && !own.IsLinkLocalUnicast() {
			name = ""
		}
	}
	if name == "" {
		name = t.routeTo(peer)
	}
	return Link{name, t.toPods[name]}
}

// UnknownLink is the interface that leads to an unknown workload of the node: one that
// leads to pods, if the node's route uses such an interface, otherwise an unknown one.
func (rec *NodeState) UnknownLink(a netip.Addr) Link {
	if rec == nil || rec.links == nil {
		return Link{}
	}
	if name := rec.links.routeTo(a); rec.links.toPods[name] {
		return Link{name, true}
	}
	return Link{}
}

// mainLink is the interface of a node without Links that has one of its
// addresses, or behind which all peers are.
func (rec *NodeState) mainLink(own netip.Addr) string {
	if own.IsValid() {
		if h := rec.firstHost(func(h *Holder) bool { return h.namesLink() && h.host().fixed && slices.Contains(h.addrs, own) }); h != nil {
			return h.host().Interface
		}
	}
	return rec.main
}

// findMain determines the main interface of a node without Links: that of the first
// host endpoint by name that names an interface and expects no addresses; otherwise of
// the one that expects the node's first address; otherwise, for a node without known
// addresses, the only one that host endpoints name.
func (rec *NodeState) findMain() string {
	if h := rec.firstHost(func(h *Holder) bool { return h.namesLink() && !h.host().fixed }); h != nil {
		return h.host().Interface
	}
	if rec.object != nil && len(rec.object.Addrs) > 0 {
		first := rec.object.Addrs[0].Unmap()
		if h := rec.firstHost(func(h *Holder) bool { return h.namesLink() && slices.Contains(h.addrs, first) }); h != nil {
			return h.host().Interface
		}
		return "" // the one with this address, which none names
	}
	only := ""
	for _, h := range rec.hosts {
		switch name := h.host().Interface; {
		case !h.namesLink() || name == only:
		case only != "":
			return ""
		default:
			only = name
		}
	}
	return only
}

// namesLink reports whether a host endpoint stands for one interface.
func (o *Holder) namesLink() bool { return o.host().Interface != "" && o.host().Interface != "*" }

// firstHost is the first matching host endpoint of the node by name, or nil.
func (rec *NodeState) firstHost(fits func(*Holder) bool) *Holder {
	for _, h := range rec.hosts {
		if fits(h) {
			return h
		}
	}
	return nil
}

// Guard is the host endpoint that guards an interface of the node, or nil: the one that
// names the interface; otherwise, for packets from or to the node's own address own,
// the one that has the address and names no interface; otherwise the one of all
// interfaces. wildcard reports whether the latter also guards the interfaces of pods.
func (rec *NodeState) Guard(l Link, own netip.Addr, wildcard bool) *Holder {
	if rec == nil {
		return nil
	}
	if rec.special {
		for _, h := range rec.hosts {
			if l.Name != "" && h.host().Interface == l.Name {
				return h
			}
		}
		for _, h := range rec.hosts {
			if own.IsValid() && h.host().Interface == "" && slices.Contains(h.addrs, own) {
				return h
			}
		}
	}
	if l.Pods && !wildcard {
		return nil
	}
	return rec.wildcard
}

// refreshHosts updates what is derived from the node's host endpoints.
func (rec *NodeState) refreshHosts() {
	rec.wildcard = rec.firstHost(func(h *Holder) bool { return h.host().Interface == "*" })
	rec.special = rec.firstHost(func(h *Holder) bool { return h.host().Interface != "*" }) != nil
	rec.main = rec.findMain()
}
