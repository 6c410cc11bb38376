//go:build linux

package lab

import (
	"net/netip"
)

// node is the place of a node, and how it is attached.
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
			if err := w.own(a, l.network); err != nil {
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
		if err := n.addBridge(l); err != nil {
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
