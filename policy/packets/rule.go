package packets

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Static is an upper bound of the packets that a rule can match, for the most suitable
// addresses: protocols, ICMP and, unless there is a name among them, ports.
func Static(m *model.Match) Space {
	if m.Never {
		return Space{}
	}
	s := Protocol(m.Protocol)
	if m.NotProtocol != model.AnyProtocol {
		s = s.Subtract(Protocol(m.NotProtocol))
	}
	if m.ICMP != nil {
		s = s.Intersect(icmpSpace(m.ICMP))
	}
	if m.NotICMP != nil {
		s = s.Subtract(icmpSpace(m.NotICMP))
	}
	if p := m.Source.Ports; p != nil && !anyNamed(p) {
		s = s.Intersect(numbers(p, SrcPorts))
	}
	if p := m.Destination.Ports; p != nil && !anyNamed(p) {
		s = s.Intersect(numbers(p, DstPorts))
	}
	s = s.Subtract(numbers(m.Source.NotPorts, SrcPorts))
	return s.Subtract(numbers(m.Destination.NotPorts, DstPorts))
}

func icmpSpace(m *model.ICMP) Space {
	return ICMP(model.ICMPv4, m.Type, m.Code).Union(ICMP(model.ICMPv6, m.Type, m.Code))
}

func anyNamed(ports []model.Port) bool {
	for _, p := range ports {
		if p.Name != "" {
			return true
		}
	}
	return false
}

type portSpace func(p model.Protocol, first, last uint16) Space

// numbers joins the entries that are numbers.
func numbers(ports []model.Port, of portSpace) Space {
	var s Space
	for _, p := range ports {
		if p.Name == "" {
			s = s.Union(of(model.AnyProtocol, p.First, p.Last))
		}
	}
	return s
}

// sides of a rule.
const (
	source = iota
	destination
)

// side evaluates one side of a rule for an address: the number of the space to which it
// restricts the rule's static space.
func (e *Evaluator) side(r *index.Rule, side int, a netip.Addr) int32 {
	m := &r.Match
	if m.Never || m.IPVersion == 4 && !a.Is4() || m.IPVersion == 6 && a.Is4() {
		return noMatch
	}
	peer, sets, of := &m.Source, &r.Source, SrcPorts
	if side == destination {
		peer, sets, of = &m.Destination, &r.Destination, DstPorts
	}
	if peer.Nets != nil && !inNets(peer.Nets, a) || inNets(peer.NotNets, a) {
		return noMatch
	}
	if s := sets.Selector; s != nil && !s.Contains(a, 0, 0) {
		return noMatch
	}
	if s := sets.NotSelector; s != nil && s.Contains(a, 0, 0) {
		return noMatch
	}
	if s := sets.Domains; s != nil && !s.Contains(a, 0, 0) {
		return noMatch
	}
	id := int32(anyPorts)
	restrict := func(s Space) {
		if id != noMatch {
			if s = s.Intersect(e.t.spaces.values[id]); s.IsEmpty() {
				id = noMatch
			} else {
				id = e.t.space(s)
			}
		}
	}
	if s := sets.Service; s != nil {
		if s.Kind() == index.SetAddrPorts {
			restrict(e.portsAt(s, a, of))
		} else if !s.Contains(a, 0, 0) {
			return noMatch
		}
	}
	if anyNamed(peer.Ports) {
		s := numbers(peer.Ports, of)
		for _, set := range sets.NamedPorts {
			s = s.Union(e.portsAt(set, a, of))
		}
		restrict(s)
	}
	for _, set := range sets.NotNamedPorts {
		if not := e.portsAt(set, a, of); !not.IsEmpty() {
			restrict(not.complement())
		}
	}
	return id
}

func inNets(nets []netip.Prefix, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// portsAt is the ports that a set of triples has at an address.
func (e *Evaluator) portsAt(s *index.Set, a netip.Addr, of portSpace) Space {
	if s == nil {
		return Space{}
	}
	var out Space
	for _, p := range e.tripleIndex(s).at(a) {
		if p.Port == 0 {
			out = out.Union(Protocol(p.Protocol))
		} else {
			out = out.Union(of(p.Protocol, p.Port, p.Port))
		}
	}
	return out
}

// triples are the members of a set of triples by address.
type triples struct {
	single map[netip.Addr][]index.Member
	wide   []index.Member
}

func (t *triples) at(a netip.Addr) []index.Member {
	found := t.single[a]
	for _, m := range t.wide {
		if m.Prefix.Contains(a) {
			found = append(found[:len(found):len(found)], m)
		}
	}
	return found
}

func (e *Evaluator) tripleIndex(s *index.Set) *triples {
	if t, ok := e.triples[s]; ok {
		return t
	}
	t := &triples{single: map[netip.Addr][]index.Member{}}
	for _, m := range s.Members() {
		if m.Prefix.IsSingleIP() {
			t.single[m.Prefix.Addr()] = append(t.single[m.Prefix.Addr()], m)
		} else {
			t.wide = append(t.wide, m)
		}
	}
	e.triples[s] = t
	return t
}
