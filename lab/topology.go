//go:build linux

package lab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// node, pod and host are places and how they are attached.
type node struct {
	*place
	spec  Node
	wires []wiring  // of the main interface and of the further links
	cni0  *end      // network Bridge
	gates []gateway // network Bridge: the addresses of cni0
}

type gateway struct {
	addr  netip.Addr
	block netip.Prefix // of addresses on the bridge's link
}

type pod struct {
	*place      // the node's for a host-network pod
	spec   Pod  // Addrs change under Lab.changes
	near   *end // the pod's eth0
	far    *end // the node's end
	node   *node
}

type host struct {
	*place
	wiring wiring // of a host behind a node, the far end is the node's
	addrs  []netip.Addr
	behind *node // nil: the host is on the wire
}

// wiring is a veth pair between a place and the wire.
type wiring struct{ near, far *end }

const bridgeName = "cni0"

// The routers' addresses on every link, and the address by which the wire sends
// to the machine behind a link. Link-local, so they meet no one's.
var (
	router4, router6 = netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::1")
	behind4, behind6 = netip.MustParseAddr("169.254.1.2"), netip.MustParseAddr("fe80::2")
	// cni0's, for pods that are in no pod block.
	bridge4, bridge6 = netip.MustParseAddr("169.254.2.1"), netip.MustParseAddr("fe80::3")
)

func pick(is4 bool, four, six netip.Addr) netip.Addr {
	if is4 {
		return four
	}
	return six
}

// mac makes the link address of an end of a link.
func mac(link uint32, side byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, side, byte(link >> 24), byte(link >> 16), byte(link >> 8), byte(link)}
}

// attach connects a place to the wire and sets default routes up.
func (l *Lab) attach(p *place, name string) (wiring, error) {
	id := l.numbers.nextLink()
	w := wiring{
		near: &end{place: p, name: name, mac: mac(id, 1)},
		far:  &end{place: l.wire, name: fmt.Sprintf("w%d", id), mac: mac(id, 2)},
	}
	if err := connect(w.far, w.near); err != nil {
		return w, err
	}
	for _, is4 := range []bool{true, false} {
		router, behind := pick(is4, router4, router6), pick(is4, behind4, behind6)
		if err := w.far.addr(router); err != nil {
			return w, err
		}
		if err := w.far.neighbour(behind, w.near.mac); err != nil {
			return w, err
		}
		if l.network == Routed {
			if err := w.near.neighbour(router, w.far.mac); err != nil {
				return w, err
			}
		}
	}
	if err := w.near.ready(); err != nil {
		return w, err
	}
	return w, w.far.ready()
}

// own gives the near end an address and lets the wire know.
func (l *Lab) own(w wiring, a netip.Addr) error {
	if err := w.near.addr(a); err != nil {
		return err
	}
	if l.network == Routed {
		if err := w.far.neighbour(a, w.near.mac); err != nil {
			return err
		}
	}
	return w.far.route(single(a), netip.Addr{}, netip.Addr{})
}

// via lets the wire send an address to the machine behind the link.
func (w wiring) via(a netip.Addr) error {
	return w.far.route(single(a), pick(a.Is4(), behind4, behind6), netip.Addr{})
}

// defaults sends all else to the wire.
func (w wiring) defaults(addrs []netip.Addr) error {
	for _, is4 := range []bool{true, false} {
		if err := w.near.route(everything(is4), pick(is4, router4, router6), of(addrs, is4)); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) addNode(s Node) (err error) {
	p, err := newPlace(s.Name, forwards)
	if err != nil {
		return err
	}
	n := &node{place: p, spec: s}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for i, link := range append([]Link{{Name: s.main(), Addrs: s.Addrs}}, s.Links...) {
		w, err := l.attach(p, link.Name)
		if err != nil {
			return err
		}
		for _, a := range link.Addrs {
			if err := l.own(w, a); err != nil {
				return err
			}
			// What has an address of a further link goes out there.
			if i > 0 {
				if err := w.rule(a, 100+i); err != nil {
					return err
				}
			}
		}
		if i == 0 {
			if err := w.defaults(link.Addrs); err != nil {
				return err
			}
		}
		n.wires = append(n.wires, w)
	}
	if l.network == Bridge {
		if err := l.addBridge(n); err != nil {
			return err
		}
		for _, g := range n.gates {
			if g.addr.IsLinkLocalUnicast() {
				continue
			}
			if err := n.wires[0].via(g.addr); err != nil {
				return err
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[s.Name] = n
	for _, a := range s.Addrs {
		l.owners[a] = p
	}
	for _, link := range s.Links {
		for _, a := range link.Addrs {
			l.owners[a] = p
		}
	}
	for _, g := range n.gates {
		if !g.addr.IsLinkLocalUnicast() {
			l.owners[g.addr] = p
		}
	}
	return nil
}

// rule sends what is from an address out of the link, by a table of its own.
func (w wiring) rule(a netip.Addr, table int) error {
	r := w.near.toRoute(everything(a.Is4()), pick(a.Is4(), router4, router6), a)
	r.Table = table
	if err := w.near.place.nl.RouteReplace(r); err != nil {
		return w.near.place.wrap(err, "default route of %s", w.near.name)
	}
	// The node's own pods first: all routes but the default one.
	own := netlink.NewRule()
	own.Family, own.Src, own.Table, own.Priority, own.SuppressPrefixlen = family(a), ipNet(single(a)), unix.RT_TABLE_MAIN, 1000, 0
	if err := w.near.place.nl.RuleAdd(own); err != nil {
		return w.near.place.wrap(err, "rule from %s", a)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table, rule.Priority = family(a), ipNet(single(a)), table, 1001
	return w.near.place.wrap(w.near.place.nl.RuleAdd(rule), "rule from %s", a)
}

func (l *Lab) addHost(s Host) error {
	p, err := newPlace(s.Name, nil)
	if err != nil {
		return err
	}
	h := &host{place: p}
	if s.Behind != "" {
		err = l.attachBehind(h, s)
	} else if h.wiring, err = l.attach(p, "eth0"); err == nil {
		err = h.wiring.defaults(nil)
	}
	if err == nil {
		l.mu.Lock()
		l.hosts[s.Name] = h
		l.mu.Unlock()
	}
	if err != nil {
		p.close()
		return err
	}
	for _, a := range s.Addrs {
		if err := l.addHostAddr(h, a); err != nil {
			return err
		}
	}
	return nil
}

// attachBehind connects a host to a node.
func (l *Lab) attachBehind(h *host, s Host) error {
	l.mu.RLock()
	h.behind = l.nodes[s.Behind]
	l.mu.RUnlock()
	if h.behind == nil {
		return fmt.Errorf("lab: host %s: there is no node %q", s.Name, s.Behind)
	}
	id := l.numbers.nextLink()
	h.wiring = wiring{
		near: &end{place: h.place, name: "eth0", mac: mac(id, 1)},
		far:  &end{place: h.behind.place, name: s.Link, mac: mac(id, 2)},
	}
	if err := connect(h.wiring.far, h.wiring.near); err != nil {
		return err
	}
	for _, e := range []*end{h.wiring.near, h.wiring.far} {
		if err := e.ready(); err != nil {
			return err
		}
	}
	for _, router := range []netip.Addr{router4, router6} {
		if err := h.wiring.near.neighbour(router, h.wiring.far.mac); err != nil {
			return err
		}
	}
	return h.wiring.defaults(nil)
}

// ownBehind gives a host an address, and lets those know who route to it.
func (l *Lab) ownBehind(h *host, a netip.Addr) error {
	if h.behind == nil {
		return l.own(h.wiring, a)
	}
	if err := h.wiring.near.addr(a); err != nil {
		return err
	}
	if err := h.wiring.far.neighbour(a, h.wiring.near.mac); err != nil {
		return err
	}
	if err := h.wiring.far.route(single(a), netip.Addr{}, of(h.behind.spec.Addrs, a.Is4())); err != nil {
		return err
	}
	return h.behind.wires[0].via(a)
}

func (l *Lab) addHostAddr(h *host, a netip.Addr) error {
	if err := l.ownBehind(h, a); err != nil {
		return err
	}
	h.addrs = append(h.addrs, a)
	l.setOwner(a, h.place)
	return nil
}

func (l *Lab) setOwner(a netip.Addr, p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p == nil {
		delete(l.owners, a)
	} else {
		l.owners[a] = p
	}
}

func (l *Lab) addPod(s Pod) (err error) {
	l.mu.RLock()
	n := l.nodes[s.Node]
	l.mu.RUnlock()
	if n == nil {
		return fmt.Errorf("lab: pod %s: there is no node %q", s.Where(), s.Node)
	}
	p := &pod{place: n.place, spec: s, node: n}
	if !s.HostNetwork {
		if p.place, err = newPlace(s.Where(), nil); err != nil {
			return err
		}
		id := l.numbers.nextLink()
		p.near = &end{place: p.place, name: "eth0", mac: mac(id, 1)}
		p.far = &end{place: n.place, name: fmt.Sprintf("veth%d", id), mac: mac(id, 2)}
		if err := l.wirePod(p); err != nil {
			p.place.close()
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods[s.Where()] = p
	return nil
}

func (l *Lab) wirePod(p *pod) error {
	if err := connect(p.far, p.near); err != nil {
		return err
	}
	for _, e := range []*end{p.near, p.far} {
		if err := e.ready(); err != nil {
			return err
		}
	}
	if l.network == Bridge {
		if err := p.enslave(); err != nil {
			return err
		}
	} else {
		for _, is4 := range []bool{true, false} {
			if err := p.near.neighbour(pick(is4, router4, router6), p.far.mac); err != nil {
				return err
			}
		}
	}
	for _, a := range p.spec.Addrs {
		if err := l.addPodAddr(p, a); err != nil {
			return err
		}
	}
	return nil
}

// addPodAddr gives a pod an address, with the routes to it on its node and on
// the wire, and the default route of its family.
func (l *Lab) addPodAddr(p *pod, a netip.Addr) error {
	g := l.gateOf(p, a)
	if err := p.near.prefix(netip.PrefixFrom(a, g.block.Bits())); err != nil {
		return err
	}
	if err := p.near.route(everything(a.Is4()), g.addr, of(p.spec.Addrs, a.Is4())); err != nil {
		return err
	}
	far := p.far
	if l.network == Bridge {
		far = p.node.cni0
	} else if err := far.neighbour(a, p.near.mac); err != nil {
		return err
	}
	if g.block.IsSingleIP() {
		if err := far.route(single(a), netip.Addr{}, of(p.node.spec.Addrs, a.Is4())); err != nil {
			return err
		}
	}
	if err := p.node.wires[0].via(a); err != nil {
		return err
	}
	l.setOwner(a, p.place)
	return nil
}

// gateOf returns the gateway of a pod's address.
func (l *Lab) gateOf(p *pod, a netip.Addr) gateway {
	if l.network == Bridge {
		return p.node.gate(a)
	}
	return gateway{addr: pick(a.Is4(), router4, router6), block: single(a)}
}

// removePodAddr undoes addPodAddr.
func (l *Lab) removePodAddr(p *pod, a netip.Addr) error {
	if o, _ := l.Owner(a); o == p.name {
		l.setOwner(a, nil)
		if err := p.node.wires[0].far.removeRoute(single(a)); err != nil {
			return err
		}
	}
	block, far := l.gateOf(p, a).block, p.far
	if l.network == Bridge {
		far = p.node.cni0
	}
	far.removeNeighbour(a)
	if block.IsSingleIP() {
		if err := far.removeRoute(single(a)); err != nil {
			return err
		}
	}
	return p.near.removeAddr(netip.PrefixFrom(a, block.Bits()))
}

// freeOf returns the first address of a block but its base that is not taken.
func freeOf(block netip.Prefix, taken func(netip.Addr) bool) (netip.Addr, bool) {
	for a := block.Masked().Addr().Next(); block.Contains(a); a = a.Next() {
		if !taken(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// inBlock returns the node in whose pod blocks an address is.
func (l *Lab) inBlock(a netip.Addr) *node {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var found *node
	bits := -1
	for _, n := range l.nodes {
		for _, b := range n.spec.PodCIDRs {
			if b.Contains(a) && (b.Bits() > bits || b.Bits() == bits && n.name < found.name) {
				found, bits = n, b.Bits()
			}
		}
	}
	return found
}

// dropAddr returns the list without an address, as a new list.
func dropAddr(list []netip.Addr, a netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(b netip.Addr) bool { return a == b })
}
