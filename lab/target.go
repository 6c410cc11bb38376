//go:build linux

package lab

import (
	"net/netip"
)

// target is where a probe may arrive.
type target struct {
	place  *place
	addr   netip.AddrPort
	socket *rawSocket
}

// sender returns the place that sends a probe.
func (l *Lab) sender(src netip.Addr, o Options) (*place, error) {
	if o.From == "" {
		return l.carry(src)
	}
	if len(o.To) == 0 && !src.IsLinkLocalUnicast() && !src.IsUnspecified() {
		if _, err := l.carry(src); err != nil {
			return nil, err
		}
	}
	return l.at(o.From)
}

// targetsAt lists places for a packet whose destination several places have.
func (p *probe) targetsAt(wheres []string) error {
	for _, w := range wheres {
		where, err := p.lab.at(w)
		if err != nil {
			return err
		}
		s, err := where.receiver(socketKey{p.flow.Src.Is4(), p.flow.Protocol})
		if err != nil {
			return err
		}
		p.at = append(p.at, target{where, netip.AddrPortFrom(p.flow.Dst, p.flow.DstPort), s})
	}
	return nil
}

// findTargets lists where the packet may arrive: at its destination, and at the
// backends of the services that have that address.
func (p *probe) findTargets(o Options) error {
	if len(o.To) > 0 {
		return p.targetsAt(o.To)
	}
	at := append([]netip.AddrPort{netip.AddrPortFrom(p.flow.Dst, p.flow.DstPort)}, o.At...)
	service := false
	p.lab.mu.RLock()
	for _, s := range p.lab.services {
		if s.Protocol == p.flow.Protocol && s.Addr == at[0] {
			service = true
			at = append(at, s.Backends...)
		}
	}
	p.lab.mu.RUnlock()
	known := map[*place]*rawSocket{}
	for i, a := range at {
		if _, ok := p.lab.Owner(a.Addr()); i == 0 && !ok && (service || len(o.At) > 0) {
			continue // a virtual address
		}
		where, err := p.lab.carry(a.Addr())
		if err != nil {
			return err
		}
		if known[where] == nil {
			if known[where], err = where.receiver(socketKey{p.flow.Src.Is4(), p.flow.Protocol}); err != nil {
				return err
			}
		}
		p.at = append(p.at, target{where, a, known[where]})
	}
	return nil
}

// nodeOf returns the node that a place is or is on; nil for hosts outside.
func (l *Lab) nodeOf(p *place) *place {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n, ok := l.nodes[p.name]; ok {
		return n.place
	}
	if q, ok := l.pods[p.name]; ok {
		return q.node.place
	}
	return nil
}
