//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Overlay is a VXLAN network between the nodes, by which pods of different nodes
// reach each other. What comes from hosts outside, and goes there, is not on it.
type Overlay struct {
	// Interface is the tunnel's name on each node; empty: vxlan0.
	Interface string
	// Port of UDP; 0: 4789.
	Port uint16
	// IPv6: the outer packets are.
	IPv6 bool
	// Addrs are addresses of the tunnel's interface, by node: the source of what
	// the node itself sends to pods of other nodes, as with flannel or Calico.
	Addrs map[string][]netip.Addr
}

// overlayVNI is the network's number.
const overlayVNI = 42

// overlay is a network that has been added.
type overlay struct {
	spec  Overlay
	ends  map[string]*end       // the nodes' interfaces
	under map[string]netip.Addr // the nodes' outer addresses
}

// AddOverlay sends what goes between pods of different nodes, and between nodes
// and other nodes' pods, through a VXLAN device on each node. It is for the pods
// that are there, and can be called once.
func (l *Lab) AddOverlay(s Overlay) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	if s.Interface == "" {
		s.Interface = "vxlan0"
	}
	if s.Port == 0 {
		s.Port = 4789
	}
	o := &overlay{spec: s, ends: map[string]*end{}, under: map[string]netip.Addr{}}
	l.mu.RLock()
	taken := l.overlay != nil
	nodes, pods := mapValues(l.nodes), mapValues(l.pods)
	l.mu.RUnlock()
	if taken {
		return errors.New("lab: there is an overlay already")
	}
	for _, n := range nodes {
		if err := o.addEnd(l, n); err != nil {
			return err
		}
	}
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			if err := o.join(from, to, pods); err != nil {
				return err
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.overlay = o
	for name, list := range s.Addrs {
		for _, a := range list {
			l.owners[a] = l.nodes[name].place
		}
	}
	return nil
}

func mapValues[V any](m map[string]V) []V {
	var out []V
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// addEnd makes a node's interface of the network.
func (o *overlay) addEnd(l *Lab, n *node) error {
	under := of(n.spec.Addrs, !o.spec.IPv6)
	if !under.IsValid() {
		return n.wrap(errors.New("it has no address of the family"), "overlay")
	}
	e := &end{place: n.place, name: o.spec.Interface, mac: mac(l.numbers.nextLink(), 4)}
	v := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: e.name, HardwareAddr: e.mac},
		VxlanId:   overlayVNI, SrcAddr: under.AsSlice(), Port: int(o.spec.Port),
	}
	if err := n.nl.LinkAdd(v); err != nil {
		return n.wrap(err, "overlay")
	}
	e.index = v.Attrs().Index
	if err := n.nl.LinkSetUp(v); err != nil {
		return n.wrap(err, "overlay")
	}
	for _, a := range o.spec.Addrs[n.spec.Name] {
		if err := e.addr(a); err != nil {
			return err
		}
	}
	o.ends[n.spec.Name], o.under[n.spec.Name] = e, under
	return nil
}

// join lets a node reach another one, and the pods there, by the network.
func (o *overlay) join(from, to *node, pods []*pod) error {
	near, far := o.ends[from.spec.Name], o.ends[to.spec.Name]
	remote := o.under[to.spec.Name]
	err := from.nl.NeighAppend(&netlink.Neigh{
		LinkIndex: near.index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
		IP: remote.AsSlice(), HardwareAddr: far.mac,
	})
	if err != nil {
		return from.wrap(err, "overlay to %s", to.name)
	}
	link := uint32(far.index)
	gate4 := netip.AddrFrom4([4]byte{169, 254, 100 + byte(link>>8), byte(link)})
	gate6 := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: 9, 14: byte(link >> 8), 15: byte(link)})
	for _, gate := range []netip.Addr{gate4, gate6} {
		if err := near.neighbour(gate, far.mac); err != nil {
			return err
		}
	}
	addrs := append([]netip.Addr(nil), o.spec.Addrs[to.spec.Name]...)
	for _, p := range pods {
		if p.node == to && !p.spec.HostNetwork {
			addrs = append(addrs, p.spec.Addrs...)
		}
	}
	for _, a := range addrs {
		source := of(o.spec.Addrs[from.spec.Name], a.Is4())
		if !source.IsValid() {
			source = of(from.spec.Addrs, a.Is4())
		}
		if err := near.route(single(a), pick(a.Is4(), gate4, gate6), source); err != nil {
			return err
		}
	}
	return nil
}

// AddNodeAddr gives a running node one more address, which no object of the
// cluster lists: a virtual IP, the address of a bridge of containers, that of a
// DNS cache. An interface that the node lacks is made, as a bridge without
// ports. The wire sends the address to the node, unless it is link-local.
func (l *Lab) AddNodeAddr(name, iface string, p netip.Prefix) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	l.mu.RLock()
	n := l.nodes[name]
	l.mu.RUnlock()
	if n == nil {
		return fmt.Errorf("lab: there is no node %q", name)
	}
	if err := checkAddr(p.Addr()); err != nil {
		return fmt.Errorf("lab: node %s: %w", name, err)
	}
	link, err := n.nl.LinkByName(iface)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		link = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: iface}}
		if err = n.nl.LinkAdd(link); err == nil {
			err = n.nl.LinkSetUp(link)
		}
	}
	if err != nil {
		return n.wrap(err, "interface %s", iface)
	}
	e := &end{place: n.place, name: iface, index: link.Attrs().Index}
	if err := e.prefix(p); err != nil {
		return err
	}
	if !p.Addr().IsLinkLocalUnicast() {
		if err := n.wires[0].via(p.Addr()); err != nil {
			return err
		}
	}
	l.setOwner(p.Addr(), n.place)
	return nil
}

// LinkLocal returns the IPv6 link-local address that the kernel has given to an
// interface.
func (l *Lab) LinkLocal(where, iface string) (netip.Addr, error) {
	p, err := l.at(where)
	if err != nil {
		return netip.Addr{}, err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		link, err := p.nl.LinkByName(iface)
		if err != nil {
			return netip.Addr{}, p.wrap(err, "interface %s", iface)
		}
		list, err := p.nl.AddrList(link, unix.AF_INET6)
		if err != nil {
			return netip.Addr{}, p.wrap(err, "interface %s", iface)
		}
		for _, a := range list {
			addr, _ := netip.AddrFromSlice(a.IP)
			if addr.IsLinkLocalUnicast() && addr != router6 && addr != bridge6 && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return addr, nil
			}
		}
		if time.Now().After(deadline) {
			return netip.Addr{}, p.wrap(errors.New("no link-local address after a minute"), "interface %s", iface)
		}
		time.Sleep(time.Millisecond)
	}
}

// PodInterface returns the name of a pod's link on its node: a port of cni0 with
// network Bridge.
func (l *Lab) PodInterface(where string) (string, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	p := l.pods[where]
	if p == nil || p.far == nil {
		return "", fmt.Errorf("lab: there is no pod %q with a link", where)
	}
	return p.far.name, nil
}

// WireInterface returns the name of the wire's end of a node's main link, for
// probes from [Wire]: from a neighbour of the node.
func (l *Lab) WireInterface(name string) (string, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := l.nodes[name]
	if n == nil {
		return "", fmt.Errorf("lab: there is no node %q", name)
	}
	return n.wires[0].far.name, nil
}
