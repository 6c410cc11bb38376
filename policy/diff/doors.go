package diff

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
)

// door is a port at which a Service answers, not the owner of the address: a node port
// of hosts, or a port of an external address of the Service.
type door struct {
	addr     netip.Addr // zero: that of every host
	protocol model.Protocol
	port     uint16
}

// opened is the doors of an address in either world.
type opened struct {
	doors []door
	space packets.Space
}

// doorsOf are the doors of one world. The first Service has a door that several claim.
func doorsOf(services []packets.Service) map[door]service.Match {
	out := map[door]service.Match{}
	put := func(at door, m service.Match) {
		if _, taken := out[at]; !taken {
			out[at] = m
		}
	}
	for i := range services {
		s := &services[i]
		for j := range s.Ports {
			p := &s.Ports[j]
			for _, a := range s.External {
				put(door{a, p.Protocol, p.Port}, service.Match{Service: s, Port: p})
			}
			if p.NodePort != 0 {
				put(door{netip.Addr{}, p.Protocol, p.NodePort}, service.Match{Service: s, Port: p, NodePort: true})
			}
		}
	}
	return out
}

// externals are the external addresses of the Services of both worlds.
func externals(o Options) []netip.Addr {
	var out []netip.Addr
	for _, services := range [][]packets.Service{o.ServicesBefore, o.ServicesAfter} {
		for i := range services {
			out = append(out, services[i].External...)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// findDoors fills in the doors of the worlds, and which of them each atom has.
func (w *worlds) findDoors(o Options) {
	w.doors = [2]map[door]service.Match{doorsOf(o.ServicesBefore), doorsOf(o.ServicesAfter)}
	w.opens = []opened{{}}
	all := map[door]bool{}
	for _, doors := range w.doors {
		for at := range doors {
			all[at] = true
		}
	}
	if len(all) == 0 {
		return
	}
	list := make([]door, 0, len(all))
	for at := range all {
		list = append(list, at)
	}
	slices.SortFunc(list, func(x, y door) int { return slices.Compare(x.key(), y.key()) })
	ids := map[string]int{}
	for i := range w.atoms {
		x := &w.atoms[i]
		host := x.a != nil && x.a.Host || x.b != nil && x.b.Host
		if !host && x.group < 0 {
			continue // what a pod has for itself is its own
		}
		var have []door
		var key []byte
		for _, at := range list {
			if at.addr == x.addr() || host && !at.addr.IsValid() && !all[door{x.addr(), at.protocol, at.port}] {
				have, key = append(have, at), append(key, at.key()...)
			}
		}
		if len(have) == 0 {
			continue
		}
		id, known := ids[string(key)]
		if !known {
			var s packets.Space
			for _, at := range have {
				s = s.Union(packets.DstPorts(at.protocol, at.port, at.port))
			}
			id = len(w.opens)
			ids[string(key)], w.opens = id, append(w.opens, opened{have, s})
		}
		x.opens = id
	}
}

// key is different for different doors. That of a door of every host comes first.
func (d door) key() []byte {
	b := append([]byte{byte(d.addr.BitLen())}, d.addr.AsSlice()...)
	return binary.BigEndian.AppendUint16(append(b, byte(d.protocol)), d.port)
}
