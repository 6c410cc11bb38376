package packets

import (
	"encoding/binary"

	"github.com/tierwall/tierwall/policy/model"
)

// Space is a set of packets between two addresses that are given elsewhere: for TCP,
// UDP, SCTP and UDPLite pairs of ports, for ICMP and ICMPv6 pairs of type and code, for
// any other protocol all or nothing. The zero Space is empty. Spaces are values; no
// method changes one.
//
// A Space does not depend on the address family: it can contain ICMPv6 between two IPv4
// addresses. Intersect it with Family to remove what does not exist.
type Space struct {
	others [4]uint64 // a bit a protocol, those of parts never set
	parts  [nParts]area
}

// The protocols with structure, in the order in which they print.
const (
	partTCP = iota
	partUDP
	partSCTP
	partUDPLite
	partICMP
	partICMPv6
	nParts
)

var partProtocol = [nParts]model.Protocol{model.TCP, model.UDP, model.SCTP, model.UDPLite, model.ICMPv4, model.ICMPv6}

// partOf is the index of a protocol's part, or -1 if it has no structure.
func partOf(p model.Protocol) int {
	switch p {
	case model.TCP:
		return partTCP
	case model.UDP:
		return partUDP
	case model.SCTP:
		return partSCTP
	case model.UDPLite:
		return partUDPLite
	case model.ICMPv4:
		return partICMP
	case model.ICMPv6:
		return partICMPv6
	}
	return -1
}

// limitOf is the greatest number on both axes of a part.
func limitOf(part int) uint16 {
	if part >= partICMP {
		return 0xff
	}
	return 0xffff
}

func wholePart(part int) area {
	if part >= partICMP {
		return allICMP
	}
	return allPorts
}

var all = func() Space {
	var s Space
	for i := range s.others {
		s.others[i] = ^uint64(0)
	}
	for part, p := range partProtocol {
		s.others[p/64] &^= 1 << (p % 64)
		s.parts[part] = wholePart(part)
	}
	return s
}()

// All is every packet.
func All() Space { return all }

// Family is every packet that exists in an address family (4 or 6; 0 means both): all
// except the other family's ICMP.
func Family(version uint8) Space {
	s := all
	switch version {
	case 4:
		s.parts[partICMPv6] = nil
	case 6:
		s.parts[partICMP] = nil
	}
	return s
}

// Protocol is every packet of a protocol; of AnyProtocol, every packet.
func Protocol(p model.Protocol) Space {
	if p == model.AnyProtocol {
		return all
	}
	var s Space
	if part := partOf(p); part >= 0 {
		s.parts[part] = wholePart(part)
	} else {
		s.others[p/64] = 1 << (p % 64)
	}
	return s
}

// DstPorts is the packets of a protocol to the ports first to last. It is empty for a
// protocol without ports, or if last is below first. AnyProtocol means each protocol
// with ports.
func DstPorts(p model.Protocol, first, last uint16) Space {
	return ports(p, spans{{first, last}}, allPortNumbers, first, last)
}

// SrcPorts is like DstPorts, for the source port.
func SrcPorts(p model.Protocol, first, last uint16) Space {
	return ports(p, allPortNumbers, spans{{first, last}}, first, last)
}

func ports(p model.Protocol, dst, src spans, first, last uint16) Space {
	var s Space
	if last < first {
		return s
	}
	a := product(dst, src)
	for part := partTCP; part <= partUDPLite; part++ {
		if p == model.AnyProtocol || p == partProtocol[part] {
			s.parts[part] = a
		}
	}
	return s
}

// ICMP is the packets of protocol ICMP or ICMPv6 with a type and, unless code
// is nil, a code; empty for another protocol.
func ICMP(p model.Protocol, typ uint8, code *uint8) Space {
	var s Space
	if p != model.ICMPv4 && p != model.ICMPv6 {
		return s
	}
	codes := allICMPNumbers
	if code != nil {
		codes = spans{{uint16(*code), uint16(*code)}}
	}
	s.parts[partOf(p)] = area{{span{uint16(typ), uint16(typ)}, codes}}
	return s
}

// Union is the packets of either space.
func (s Space) Union(t Space) Space {
	for i := range s.others {
		s.others[i] |= t.others[i]
	}
	for i := range s.parts {
		s.parts[i] = s.parts[i].union(t.parts[i])
	}
	return s
}

// Intersect is the packets of both spaces.
func (s Space) Intersect(t Space) Space {
	for i := range s.others {
		s.others[i] &= t.others[i]
	}
	for i := range s.parts {
		s.parts[i] = s.parts[i].intersect(t.parts[i])
	}
	return s
}

// Subtract is the packets of s that are not in t.
func (s Space) Subtract(t Space) Space {
	for i := range s.others {
		s.others[i] &^= t.others[i]
	}
	for i := range s.parts {
		s.parts[i] = s.parts[i].subtract(t.parts[i])
	}
	return s
}

// complement is the packets that are not in s.
func (s Space) complement() Space { return all.Subtract(s) }

// Reverse is the replies: source and destination ports are swapped. Types of ICMP and
// other protocols stay as they are.
func (s Space) Reverse() Space {
	for part := partTCP; part <= partUDPLite; part++ {
		if a := s.parts[part]; !a.same(allPorts) {
			var t area
			for _, sl := range a {
				t = t.union(product(sl.ys, spans{sl.x}))
			}
			s.parts[part] = t
		}
	}
	return s
}

// IsEmpty reports whether no packet is in the space.
func (s Space) IsEmpty() bool {
	if s.others != [4]uint64{} {
		return false
	}
	for _, a := range s.parts {
		if len(a) > 0 {
			return false
		}
	}
	return true
}

// Equal reports whether both spaces contain the same packets.
func (s Space) Equal(t Space) bool {
	if s.others != t.others {
		return false
	}
	for i := range s.parts {
		if !s.parts[i].equal(t.parts[i]) {
			return false
		}
	}
	return true
}

// Covers reports whether every packet of t is in s.
func (s Space) Covers(t Space) bool { return t.Subtract(s).IsEmpty() }

// Contains reports whether the packet of a flow is in the space. Its addresses are
// ignored.
func (s Space) Contains(f model.Flow) bool {
	switch part := partOf(f.Protocol); {
	case part < 0:
		return s.others[f.Protocol/64]&(1<<(f.Protocol%64)) != 0
	case part >= partICMP:
		return s.parts[part].contains(uint16(f.ICMPType), uint16(f.ICMPCode))
	default:
		return s.parts[part].contains(f.DstPort, f.SrcPort)
	}
}

// AppendKey appends bytes that are equal only for equal spaces, for use as map keys.
func (s Space) AppendKey(b []byte) []byte {
	for _, w := range s.others {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	for _, a := range s.parts {
		b = binary.AppendUvarint(b, uint64(len(a)))
		for _, sl := range a {
			b = binary.LittleEndian.AppendUint16(b, sl.x.lo)
			b = binary.LittleEndian.AppendUint16(b, sl.x.hi)
			b = binary.AppendUvarint(b, uint64(len(sl.ys)))
			for _, y := range sl.ys {
				b = binary.LittleEndian.AppendUint16(b, y.lo)
				b = binary.LittleEndian.AppendUint16(b, y.hi)
			}
		}
	}
	return b
}

// Compare is a total order, for stable output.
func (s Space) Compare(t Space) int {
	a, b := s.AppendKey(nil), t.AppendKey(nil)
	switch {
	case string(a) < string(b):
		return -1
	case string(a) > string(b):
		return 1
	}
	return 0
}
