package links

import (
	"cmp"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Outer protocols of tunnels, as the Internet's registry numbers them.
const (
	protocolIPv4 model.Protocol = 4
	protocolIPv6 model.Protocol = 41
	protocolGRE  model.Protocol = 47
)

// tunnels returns the encapsulating interfaces that are up. The kernel makes one
// that is down for each kind, which decapsulates nothing.
func (n *network) tunnels() []model.Tunnel {
	var out []model.Tunnel
	for i := range n.links {
		if l := &n.links[i]; l.up {
			out = append(out, l.tunnels()...)
		}
	}
	slices.SortFunc(out, func(a, b model.Tunnel) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(out)
}

// tunnels returns how a link's packets look on the wire; none if it is no tunnel.
func (l *link) tunnels() []model.Tunnel {
	e := l.encapsulation
	udp := func(port uint16) []model.Tunnel {
		return []model.Tunnel{{Interface: l.name, Protocol: model.UDP, Port: port}}
	}
	of := func(protocols ...model.Protocol) []model.Tunnel {
		if e.within != 0 {
			return udp(e.withinPort)
		}
		var out []model.Tunnel
		for _, p := range protocols {
			out = append(out, model.Tunnel{Interface: l.name, Protocol: p})
		}
		return out
	}
	switch l.kind {
	case "vxlan":
		return udp(cmp.Or(e.port, 8472)) // the kernel's default
	case "geneve":
		return udp(cmp.Or(e.port, 6081))
	case "wireguard":
		return udp(e.port) // 0: the kernel does not tell, or it only sends
	case "ipip":
		return of(protocolIPv4)
	case "sit", "ip6tnl":
		switch model.Protocol(e.inner) {
		case protocolIPv4:
			return of(protocolIPv4)
		case protocolIPv6:
			return of(protocolIPv6)
		}
		return of(protocolIPv4, protocolIPv6)
	case "gre", "gretap", "ip6gre", "ip6gretap", "erspan", "ip6erspan":
		return of(protocolGRE)
	}
	return nil
}
