package service

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Match is the Service that receives what is sent to an address.
type Match struct {
	Service *packets.Service
	// Port that receives it; nil if the Service has none for this protocol and number,
	// so that nothing receives it.
	Port *packets.ServicePort
	// Internal: it is sent to the cluster address.
	Internal bool
	// NodePort: it is sent to the address of a node.
	NodePort bool
}

// Find returns the Service that receives what is sent to an address and port: to its
// cluster address, to another address of its own, or, if node reports that the address
// is a node's, to a node port. Protocols without ports are not translated.
func Find(services []packets.Service, dst netip.Addr, p model.Protocol, port uint16, node bool) (Match, bool) {
	if !p.HasPorts() {
		return Match{}, false
	}
	for i := range services {
		s := &services[i]
		for _, a := range s.Addrs {
			if a == dst {
				return Match{Service: s, Port: s.PortOf(p, port), Internal: true}, true
			}
		}
	}
	for i := range services {
		s := &services[i]
		for _, a := range s.External {
			if found := s.PortOf(p, port); a == dst && found != nil {
				return Match{Service: s, Port: found}, true
			}
		}
		for j := range s.Ports {
			if q := &s.Ports[j]; node && q.NodePort == port && port != 0 && q.Protocol == p {
				return Match{Service: s, Port: q, NodePort: true}, true
			}
		}
	}
	return Match{}, false
}
