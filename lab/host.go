//go:build linux

package lab

import (
	"fmt"
	"net/netip"
)

// host is the place of a host outside of the cluster, and how it is attached.
type host struct {
	*place
	lab    *Lab
	wiring wiring // of a host behind a node, the far end is the node's
	addrs  []netip.Addr
	behind *node // nil: the host is on the wire
}

func (l *Lab) addHost(s Host) error {
	p, err := newPlace(s.Name, nil)
	if err != nil {
		return err
	}
	h := &host{place: p, lab: l}
	if s.Behind != "" {
		err = h.attachBehind(s)
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
		if err := h.addAddr(a); err != nil {
			return err
		}
	}
	return nil
}

// attachBehind connects a host to a node.
func (h *host) attachBehind(s Host) error {
	h.lab.mu.RLock()
	h.behind = h.lab.nodes[s.Behind]
	h.lab.mu.RUnlock()
	if h.behind == nil {
		return fmt.Errorf("lab: host %s: there is no node %q", s.Name, s.Behind)
	}
	id := h.lab.numbers.nextLink()
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

// own gives a host an address, and the wire and its node the routes to it.
func (h *host) own(a netip.Addr) error {
	if h.behind == nil {
		return h.wiring.own(a, h.lab.network)
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

func (h *host) addAddr(a netip.Addr) error {
	if err := h.own(a); err != nil {
		return err
	}
	h.addrs = append(h.addrs, a)
	h.lab.setOwner(a, h.place)
	return nil
}
