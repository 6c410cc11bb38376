package index

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Memberships distinguishes addresses by the sets that they are in, without searching
// every set: the pods of one workload are in the same ones. Those of one Index are
// valid until it changes. Not safe for concurrent use.
type Memberships struct {
	ix *Index
	// groups number what the peers among the selectors match of label groups; 0 means nothing.
	groups  map[*labelGroup]uint64
	byPeers map[string]uint64
	byPorts map[string]uint64
	// services number the EndpointSlices that contribute to sets, by address.
	services map[netip.Addr][]uint64
	numbers  []uint64 // a buffer
	key      []byte   // a buffer
}

// Memberships returns those of the Index as it is.
func (ix *Index) Memberships() *Memberships {
	m := &Memberships{
		ix: ix, groups: map[*labelGroup]uint64{}, byPeers: map[string]uint64{"": 0}, byPorts: map[string]uint64{},
		services: map[netip.Addr][]uint64{},
	}
	n := uint64(0)
	for _, svc := range ix.services {
		if svc.sets == [2]*Set{} {
			continue
		}
		for _, s := range svc.slices {
			n++
			for _, a := range s.Addrs {
				m.services[a.Unmap()] = append(m.services[a.Unmap()], n)
			}
		}
	}
	return m
}

// Append appends bytes that are equal for two addresses only if every set that a policy
// refers to contains both or neither, in a SetAddrPorts with the same ports.
func (m *Memberships) Append(b []byte, a netip.Addr) []byte {
	a = a.Unmap()
	n := m.numbers[:0]
	m.ix.addrs.covering(a, func(o *Holder) bool {
		group := m.group(o.ls)
		if group == 0 {
			return true
		}
		// Even numbers are of groups alone, odd ones of groups with ports.
		if ports := m.ports(o, a); ports != 0 {
			n = append(n, (group<<32|ports)<<1|1)
		} else {
			n = append(n, group<<33)
		}
		return true
	})
	slices.Sort(n)
	n = slices.Compact(n)
	m.numbers = n
	b = binary.AppendUvarint(b, uint64(len(n)))
	for _, x := range n {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	domains := m.ix.domainsWith(a)
	b = binary.AppendUvarint(b, uint64(len(domains)))
	for _, d := range domains {
		b = binary.AppendUvarint(b, d.id)
	}
	services := m.services[a]
	if !slices.IsSorted(services) {
		slices.Sort(services)
	}
	b = binary.AppendUvarint(b, uint64(len(services)))
	for _, x := range services {
		b = binary.AppendUvarint(b, x)
	}
	return b
}

// group numbers the selectors of sets that match a label group.
func (m *Memberships) group(ls *labelGroup) uint64 {
	if g, ok := m.groups[ls]; ok {
		return g
	}
	n := m.key[:0]
	var ids []uint64
	for _, x := range ls.matched {
		if x.sel.peer() {
			ids = append(ids, x.sel.id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		n = binary.AppendUvarint(n, id)
	}
	m.key = n
	g, ok := m.byPeers[string(n)]
	if !ok {
		g = uint64(len(m.byPeers))
		m.byPeers[string(n)] = g
	}
	m.groups[ls] = g
	return g
}

// ports numbers the named ports that a holder of an address has, as far as sets use
// their names; 0 means none.
func (m *Memberships) ports(o *Holder, a netip.Addr) uint64 {
	if len(o.ports()) == 0 || !slices.Contains(o.addrs, a) || !slices.ContainsFunc(o.ls.matched, func(x match) bool { return len(x.sel.ports) > 0 }) {
		return 0
	}
	b := m.key[:0]
	for _, p := range o.ports() {
		b = appendNamedPort(b, p)
	}
	m.key = b
	id, ok := m.byPorts[string(b)]
	if !ok {
		id = uint64(len(m.byPorts)) + 1
		m.byPorts[string(b)] = id
	}
	return id
}

func appendNamedPort(b []byte, p model.NamedPort) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(p.Name))), p.Name...)
	return append(b, byte(p.Protocol), byte(p.Port), byte(p.Port>>8))
}
