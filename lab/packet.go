//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// A probe is recognized by a number that its packet carries where the protocol leaves
// room that does not change on the way: TCP's sequence number, SCTP's initiate
// tag, else the payload.

// magic starts the payload of probes: nothing else sends it.
const magic = "\xf1TWLAB"

// window is the TCP window of probes.
const window = 0x5457

// What a payload is: the probe itself or the answer of the lab's receiver.
const (
	payloadProbe  = 'P'
	payloadAnswer = 'A'
)

const payloadLen = len(magic) + 1 + 4

func payload(kind byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(magic), kind), id)
}

func readPayload(b []byte) (kind byte, id uint32, ok bool) {
	if len(b) < payloadLen || string(b[:len(magic)]) != magic {
		return 0, 0, false
	}
	return b[len(magic)], binary.BigEndian.Uint32(b[len(magic)+1:]), true
}

// transport builds what follows the IP header, of a probe or of the answer to
// one, where the lab answers.
func transport(f model.Flow, id uint32, kind byte) []byte {
	data := payload(kind, id)
	var b []byte
	switch f.Protocol {
	case model.TCP:
		b = make([]byte, 24)
		ports(b, f)
		binary.BigEndian.PutUint32(b[4:], id)
		b[12], b[13] = 6<<4, tcpSYN
		binary.BigEndian.PutUint16(b[14:], window)
		copy(b[20:], []byte{2, 4, 1460 >> 8, 1460 & 0xff}) // maximum segment size
		sum(b[16:18], f, b)
	case model.UDP, model.UDPLite:
		b = append(make([]byte, 8), data...)
		ports(b, f)
		// In UDPLite the field is how much the sum covers; 0 is all.
		if f.Protocol == model.UDP {
			binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		}
		sum(b[6:8], f, b)
	case model.SCTP:
		b = make([]byte, 12+20)
		ports(b, f)
		chunk := b[12:]
		chunk[0] = sctpInit
		if kind == payloadAnswer {
			chunk[0] = sctpInitAck
			binary.BigEndian.PutUint32(b[4:], id)
		}
		binary.BigEndian.PutUint16(chunk[2:], uint16(len(chunk)))
		binary.BigEndian.PutUint32(chunk[4:], id)
		binary.BigEndian.PutUint32(chunk[8:], 1<<16) // receiver window
		binary.BigEndian.PutUint16(chunk[12:], 1)    // outbound streams
		binary.BigEndian.PutUint16(chunk[14:], 1)    // inbound streams
		binary.BigEndian.PutUint32(chunk[16:], 1)    // first TSN
		copy(b[8:], castagnoliOf(b))
	case model.ICMPv4, model.ICMPv6:
		b = append([]byte{f.ICMPType, f.ICMPCode, 0, 0, byte(id >> 8), byte(id), 0, 1}, icmpBody(f, data)...)
		sum(b[2:4], f, b)
	case gre:
		// The payload of a GRE packet without options that carries Ethernet.
		b = append([]byte{0, 0, 0x65, 0x58}, data...)
	default:
		b = data
	}
	return b
}

// gre has a header of its own, which connection tracking reads.
const gre model.Protocol = 47

const (
	tcpSYN, tcpRST, tcpACK = 2, 4, 16

	sctpInit, sctpInitAck, sctpAbort = 1, 2, 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// castagnoliOf is SCTP's checksum, as it is sent.
func castagnoliOf[T ~string | ~[]byte](b T) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum([]byte(b), castagnoli))
}

// quotedPort is the port (discard) of the packet that an error probe quotes.
const quotedPort = 9

// icmpBody is what follows the header: an error quotes a packet that the
// receiver has never sent.
func icmpBody(f model.Flow, data []byte) []byte {
	if !icmpIsError(f.Protocol, f.ICMPType) {
		return data
	}
	quoted := model.Flow{Src: f.Dst, Dst: f.Src, Protocol: model.UDP, SrcPort: quotedPort, DstPort: quotedPort}
	b := append(make([]byte, 8), data...)
	ports(b, quoted)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	sum(b[6:8], quoted, b)
	return ipPacket(quoted.Src, quoted.Dst, quoted.Protocol, b)
}

// icmpIsError reports whether a message quotes a packet.
func icmpIsError(p model.Protocol, typ uint8) bool {
	if p == model.ICMPv6 {
		return typ < 128
	}
	return typ == 3 || typ == 4 || typ == 5 || typ == 11 || typ == 12
}

// icmpIsEchoReply reports whether a message is the reply to an echo request.
func icmpIsEchoReply(p model.Protocol, typ uint8) bool {
	return p == model.ICMPv4 && typ == 0 || p == model.ICMPv6 && typ == 129
}

func ports(b []byte, f model.Flow) {
	binary.BigEndian.PutUint16(b, f.SrcPort)
	binary.BigEndian.PutUint16(b[2:], f.DstPort)
}

// sum writes the Internet checksum of a transport packet to at, which is zero
// before. All but ICMP for IPv4 covers the addresses.
func sum(at []byte, f model.Flow, b []byte) {
	var s uint32
	if f.Protocol != model.ICMPv4 {
		s = add(add(0, f.Src.AsSlice()), f.Dst.AsSlice()) + uint32(f.Protocol) + uint32(len(b))
	}
	c := fold(add(s, b))
	if c == 0 && (f.Protocol == model.UDP || f.Protocol == model.UDPLite) {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(at, c)
}

func add(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// ipPacket puts an IP header before a transport packet.
func ipPacket(src, dst netip.Addr, p model.Protocol, body []byte) []byte {
	if src.Is4() {
		b := make([]byte, 20, 20+len(body))
		b[0] = 4<<4 | 5
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
		b[6] = 0x40 // don't fragment
		b[8], b[9] = 64, byte(p)
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(b[10:], fold(add(0, b)))
		return append(b, body...)
	}
	b := make([]byte, 40, 40+len(body))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	b[6], b[7] = byte(p), 64
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, body...)
}

// seen is a packet that a socket of the lab received and that has to do with a
// probe.
type seen struct {
	id       uint32
	answer   string // what kind of answer it is; empty for a probe
	rejects  bool   // the answer refuses
	src, dst netip.AddrPort
	icmpType uint8
	icmpCode uint8
}

// read makes out what a transport packet is. False: it is none of the lab's.
func read(src, dst netip.Addr, p model.Protocol, b []byte) (s seen, ok bool) {
	s.src, s.dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	if p.HasPorts() {
		if len(b) < 8 {
			return s, false
		}
		s.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
		s.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	}
	switch p {
	case model.TCP:
		return s.readTCP(b)
	case model.UDP, model.UDPLite:
		return s.readPayload(b[8:])
	case model.SCTP:
		return s.readSCTP(b)
	case model.ICMPv4, model.ICMPv6:
		return s.readICMP(p, b)
	case gre:
		if len(b) < 4 {
			return s, false
		}
		return s.readPayload(b[4:])
	}
	return s.readPayload(b)
}

func (s seen) readPayload(b []byte) (seen, bool) {
	kind, id, ok := readPayload(b)
	s.id = id
	if kind == payloadAnswer {
		s.answer = "answer"
	}
	return s, ok
}

func (s seen) readTCP(b []byte) (seen, bool) {
	if len(b) < 20 {
		return s, false
	}
	flags := b[13]
	switch {
	case binary.BigEndian.Uint16(b[14:]) == window && binary.BigEndian.Uint16(b[18:]) == window: // see flagged
		s.id = binary.BigEndian.Uint32(b[4:])
	case flags&(tcpSYN|tcpACK|tcpRST) == tcpSYN && binary.BigEndian.Uint16(b[14:]) == window:
		s.id = binary.BigEndian.Uint32(b[4:])
	case flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK:
		s.id, s.answer = binary.BigEndian.Uint32(b[8:])-1, "SYN-ACK"
	case flags&(tcpRST|tcpACK) == tcpRST|tcpACK:
		s.id, s.answer, s.rejects = binary.BigEndian.Uint32(b[8:])-1, "RST", true
	default:
		return s, false
	}
	return s, true
}

func (s seen) readSCTP(b []byte) (seen, bool) {
	if len(b) < 20 {
		return s, false
	}
	if i := bytes.Index(b, []byte(magic)); i >= 0 { // see Chunk
		return s.readPayload(b[i:])
	}
	tag := binary.BigEndian.Uint32(b[4:])
	switch b[12] {
	case sctpInit:
		s.id = binary.BigEndian.Uint32(b[16:])
	case sctpInitAck:
		s.id, s.answer = tag, "INIT ACK"
	case sctpAbort:
		s.id, s.answer, s.rejects = tag, "ABORT", true
	default:
		return s, false
	}
	return s, true
}

func (s seen) readICMP(p model.Protocol, b []byte) (seen, bool) {
	if len(b) < 8 {
		return s, false
	}
	s.icmpType, s.icmpCode = b[0], b[1]
	if i := bytes.Index(b, []byte(magic)); p == model.ICMPv6 && isDiscovery(s.icmpType) && i >= 0 {
		return s.readPayload(b[i:])
	}
	if !icmpIsError(p, s.icmpType) {
		_, id, ok := readPayload(b[8:])
		s.id = id
		return s, ok
	}
	src, dst, inner, quoted, ok := readIP(b[8:])
	if !ok {
		return s, false
	}
	// A probe that is an error itself quotes a packet of its receiver.
	if inner == model.UDP && len(quoted) >= 8 {
		from := binary.BigEndian.Uint16(quoted)
		if _, id, ok := readPayload(quoted[8:]); ok && from == quotedPort && src == s.dst.Addr() && dst == s.src.Addr() {
			s.id = id
			return s, true
		}
	}
	// Else it is about a probe. TCP headers may be cut after 8 bytes.
	if inner == model.TCP && len(quoted) >= 8 {
		s.id = binary.BigEndian.Uint32(quoted[4:])
	} else if about, ok := read(src, dst, inner, quoted); ok && about.answer == "" {
		s.id = about.id
	} else {
		return s, false
	}
	s.answer, s.rejects = fmt.Sprintf("%s type %d code %d", p, s.icmpType, s.icmpCode), true
	return s, true
}

// readIP takes an IP packet apart; extension headers are not looked for.
func readIP(b []byte) (src, dst netip.Addr, p model.Protocol, body []byte, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && len(b) >= int(b[0]&15)*4:
		return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), model.Protocol(b[9]), b[int(b[0]&15)*4:], true
	case len(b) >= 40 && b[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), model.Protocol(b[6]), b[40:], true
	}
	return src, dst, 0, nil, false
}
