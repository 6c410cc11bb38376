package nfqueue

import (
	"encoding/binary"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Packet waits in a queue.
type Packet struct {
	// ID is the packet's number, for Accept.
	ID uint32
	// Data is the packet from its IP header on, as far as it was copied.
	Data []byte
}

// Segment is a datagram of UDP, or a segment of TCP.
type Segment struct {
	// Src and Dst are where it comes from, and goes to.
	Src, Dst netip.AddrPort
	// TCP: it is one of TCP.
	TCP bool
	// Seq is the number of the first byte of a TCP segment's payload, or of its SYN.
	// SYN: it begins the direction of a connection.
	Seq     uint32
	SYN     bool
	Payload []byte
}

const (
	ipv4Header   = 20
	ipv6Header   = 40
	udpHeader    = 8
	tcpHeader    = 20
	ipv4Fragment = 0x3fff // more fragments, and the offset
	// maxExtensions are more than any packet has that is meant well.
	maxExtensions = 8
)

// Extension headers of IPv6 that may stand before the transport's. Fragments do not come
// here: the kernel puts them together where it tracks connections, and what the host
// itself sends is not in fragments yet.
const (
	extHopByHop    = 0
	extRouting     = 43
	extDestination = 60
)

// Segment reads the packet. It reports false if it is none of UDP or TCP, is a fragment,
// or was cut off within a header.
func (p *Packet) Segment() (Segment, bool) {
	b := p.Data
	if len(b) == 0 {
		return Segment{}, false
	}
	switch b[0] >> 4 {
	case 4:
		return segment4(b)
	case 6:
		return segment6(b)
	}
	return Segment{}, false
}

func segment4(b []byte) (Segment, bool) {
	if len(b) < ipv4Header || binary.BigEndian.Uint16(b[6:])&ipv4Fragment != 0 {
		return Segment{}, false
	}
	n := int(b[0]&15) * 4
	if n < ipv4Header || n > len(b) {
		return Segment{}, false
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	// Bytes behind the packet's own length are padding. Of a packet of many segments the length may be 0.
	if total := int(binary.BigEndian.Uint16(b[2:])); total >= n && total < len(b) {
		b = b[:total]
	}
	return transport(src, dst, b[9], b[n:])
}

func segment6(b []byte) (Segment, bool) {
	if len(b) < ipv6Header {
		return Segment{}, false
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next := b[6]
	if length := int(binary.BigEndian.Uint16(b[4:])); length > 0 && ipv6Header+length < len(b) {
		b = b[:ipv6Header+length]
	}
	b = b[ipv6Header:]
	for range maxExtensions {
		if next != extHopByHop && next != extRouting && next != extDestination {
			return transport(src, dst, next, b)
		}
		if len(b) < 8 || len(b) < (int(b[1])+1)*8 {
			return Segment{}, false
		}
		next, b = b[0], b[(int(b[1])+1)*8:]
	}
	return Segment{}, false
}

func transport(src, dst netip.Addr, protocol byte, b []byte) (Segment, bool) {
	var s Segment
	switch model.Protocol(protocol) {
	case model.UDP:
		if len(b) < udpHeader {
			return s, false
		}
		s.Payload = b[udpHeader:]
		if n := int(binary.BigEndian.Uint16(b[4:])); n >= udpHeader && n < len(b) {
			s.Payload = b[udpHeader:n]
		}
	case model.TCP:
		if len(b) < tcpHeader {
			return s, false
		}
		n := int(b[12]>>4) * 4
		if n < tcpHeader || n > len(b) {
			return s, false
		}
		const syn = 2
		s.TCP, s.Seq, s.Payload = true, binary.BigEndian.Uint32(b[4:]), b[n:]
		s.SYN = b[13]&syn != 0
	default:
		return s, false
	}
	s.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	s.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	return s, true
}
