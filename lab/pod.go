//go:build linux

package lab

import (
	"fmt"
	"net/netip"
)

// pod is the place of a pod, and how it is attached.
type pod struct {
	*place // the node's for a host-network pod
	lab    *Lab
	spec   Pod  // Addrs change under Lab.changes
	near   *end // the pod's eth0
	far    *end // the node's end
	node   *node
}

func (l *Lab) addPod(s Pod) (err error) {
	l.mu.RLock()
	n := l.nodes[s.Node]
	l.mu.RUnlock()
	if n == nil {
		return fmt.Errorf("lab: pod %s: there is no node %q", s.Where(), s.Node)
	}
	p := &pod{place: n.place, lab: l, spec: s, node: n}
	if !s.HostNetwork {
		if p.place, err = newPlace(s.Where(), nil); err != nil {
			return err
		}
		id := l.numbers.nextLink()
		p.near = &end{place: p.place, name: "eth0", mac: mac(id, 1)}
		p.far = &end{place: n.place, name: fmt.Sprintf("veth%d", id), mac: mac(id, 2)}
		if err := p.wire(); err != nil {
			p.place.close()
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods[s.Where()] = p
	return nil
}

// wire connects a pod to its node, with its addresses.
func (p *pod) wire() error {
	if err := connect(p.far, p.near); err != nil {
		return err
	}
	for _, e := range []*end{p.near, p.far} {
		if err := e.ready(); err != nil {
			return err
		}
	}
	if p.lab.network == Bridge {
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
		if err := p.addAddr(a); err != nil {
			return err
		}
	}
	return nil
}

// addAddr gives a pod an address, with the routes to it on its node and on
// the wire, and the default route of its family.
func (p *pod) addAddr(a netip.Addr) error {
	g := p.gateway(a)
	if err := p.near.prefix(netip.PrefixFrom(a, g.block.Bits())); err != nil {
		return err
	}
	if err := p.near.route(everything(a.Is4()), g.addr, of(p.spec.Addrs, a.Is4())); err != nil {
		return err
	}
	far := p.far
	if p.lab.network == Bridge {
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
	p.lab.setOwner(a, p.place)
	return nil
}

// gateway returns the gateway of a pod's address.
func (p *pod) gateway(a netip.Addr) gateway {
	if p.lab.network == Bridge {
		return p.node.gate(a)
	}
	return gateway{addr: pick(a.Is4(), router4, router6), block: single(a)}
}

// removeAddr undoes addAddr.
func (p *pod) removeAddr(a netip.Addr) error {
	if o, _ := p.lab.Owner(a); o == p.name {
		p.lab.setOwner(a, nil)
		if err := p.node.wires[0].far.removeRoute(single(a)); err != nil {
			return err
		}
	}
	block, far := p.gateway(a).block, p.far
	if p.lab.network == Bridge {
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

// takeDown removes a pod that is no longer in the lab's.
func (p *pod) takeDown() error {
	if p.spec.HostNetwork {
		return nil
	}
	for _, a := range p.spec.Addrs {
		if err := p.removeAddr(a); err != nil {
			return err
		}
	}
	// The veth pair goes with the node's end, at once.
	link, err := p.node.nl.LinkByIndex(p.far.index)
	if err == nil {
		err = p.node.nl.LinkDel(link)
	}
	p.place.close()
	return p.node.wrap(err, "interface %s", p.far.name)
}
