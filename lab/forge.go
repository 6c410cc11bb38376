//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/policy/model"
)

// What an attacker's probe needs beyond an ordinary one: packets of other forms
// (Chunk, flags of TCP, neighbour discovery), frames and envelopes around them.

// Chunk is what an SCTP packet carries.
type Chunk struct {
	// Type as in RFC 9260; INIT is 1.
	Type uint8
	// Tag is the verification tag of the packet, Initiate that which an INIT or
	// INIT ACK announces for the other direction.
	Tag, Initiate uint32
}

// The chunks that begin an association, and those that keep it.
const (
	ChunkInit         uint8 = 1
	ChunkInitAck      uint8 = 2
	ChunkHeartbeat    uint8 = 4
	ChunkHeartbeatAck uint8 = 5
	ChunkCookieEcho   uint8 = 10
	ChunkCookieAck    uint8 = 11
)

// Flags of TCP, for Options.Flags.
const (
	SYN uint8 = tcpSYN
	RST uint8 = tcpRST
	ACK uint8 = tcpACK
)

// Envelope is an outer datagram that carries the probe as a frame of the lab's
// overlay. See [Lab.AddOverlay].
type Envelope struct {
	// Src is the sender's address.
	Src netip.Addr
	// Node whose tunnel is to take the frame from the envelope.
	Node string
	// Dst, if it is valid, is where the envelope is sent instead of to the node's
	// end of the tunnel: a virtual address that leads there.
	Dst netip.AddrPort
}

// probePacket builds the packet of a flow with its IP header, as the options have it.
func probePacket(f model.Flow, id uint32, o Options) []byte {
	body := transport(f, id, payloadProbe)
	discovers := f.Protocol == model.ICMPv6 && isDiscovery(f.ICMPType)
	switch {
	case f.Protocol == model.SCTP && o.Chunk != nil:
		body = o.Chunk.transport(f, id)
	case f.Protocol == model.TCP && o.Flags != 0:
		body = flagged(f, id, o.Flags)
	case discovers:
		body = discovery(f, id)
	}
	packet := ipPacket(f.Src, f.Dst, f.Protocol, body)
	if o.Extension {
		options := []byte{byte(f.Protocol), 0, 1, 4, 0, 0, 0, 0} // padding
		packet = ipPacket(f.Src, f.Dst, destinationOptions, append(options, body...))
	}
	if discovers {
		packet[7] = 255 // hop limit
	}
	return packet
}

// destinationOptions is the number of that extension header.
const destinationOptions model.Protocol = 60

// packet builds a probe's packet with the envelope around it, and where that is sent.
func (p *probe) packet(o Options) (packet []byte, dst netip.Addr, err error) {
	packet = probePacket(p.flow, p.id, o)
	if o.Inside == nil {
		return packet, p.flow.Dst, nil
	}
	return o.Inside.around(packet, p.lab)
}

// transport builds an SCTP packet whose chunk carries the probe's number in a
// parameter that receivers skip.
func (c *Chunk) transport(f model.Flow, id uint32) []byte {
	chunk := []byte{c.Type, 0, 0, 0}
	parameter := uint16(0xc0fd)
	switch c.Type {
	case ChunkInit, ChunkInitAck:
		fixed := make([]byte, 16)
		binary.BigEndian.PutUint32(fixed, c.Initiate)
		binary.BigEndian.PutUint32(fixed[4:], 1<<16) // receiver window
		fixed[9], fixed[11], fixed[15] = 1, 1, 1     // streams, first TSN
		chunk = append(chunk, fixed...)
	case ChunkHeartbeat, ChunkHeartbeatAck:
		parameter = 1
	}
	chunk = binary.BigEndian.AppendUint16(chunk, parameter)
	chunk = binary.BigEndian.AppendUint16(chunk, 16)
	chunk = append(append(chunk, payload(payloadProbe, id)...), 0)
	binary.BigEndian.PutUint16(chunk[2:], uint16(len(chunk)))
	b := make([]byte, 12, 12+len(chunk))
	ports(b, f)
	binary.BigEndian.PutUint32(b[4:], c.Tag)
	b = append(b, chunk...)
	copy(b[8:], castagnoliOf(b))
	return b
}

// flagged builds a TCP packet of any flags. Its urgent pointer, which receivers
// ignore without its flag, tells it from an answer.
func flagged(f model.Flow, id uint32, flags uint8) []byte {
	b := make([]byte, 20)
	ports(b, f)
	binary.BigEndian.PutUint32(b[4:], id)
	binary.BigEndian.PutUint32(b[8:], id)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], window)
	binary.BigEndian.PutUint16(b[18:], window)
	sum(b[16:18], f, b)
	return b
}

// isDiscovery reports whether a type of ICMPv6 is neighbour discovery's.
func isDiscovery(typ uint8) bool { return typ >= 133 && typ <= 137 }

// lifetime of the router that a router advertisement of the lab announces, in seconds.
const lifetime = 1800

// discovery builds a well-formed message of neighbour discovery: a receiver that
// heeds such messages heeds it. What it is about is the sender itself. The
// probe's number is in an option that receivers skip.
func discovery(f model.Flow, id uint32) []byte {
	b := []byte{f.ICMPType, f.ICMPCode, 0, 0, 0, 0, 0, 0}
	switch f.ICMPType {
	case 134:
		b[4] = 64
		binary.BigEndian.PutUint16(b[6:], lifetime)
		b = append(b, make([]byte, 8)...)
	case 135, 136:
		b = append(b, f.Src.AsSlice()...)
	case 137:
		b = append(append(b, f.Src.AsSlice()...), f.Dst.AsSlice()...)
	}
	b = append(append(b, 253, 2), payload(payloadProbe, id)...)
	b = append(b, 0, 0, 0)
	sum(b[2:4], f, b)
	return b
}

// around puts a packet into a frame, and that into a VXLAN datagram.
func (e *Envelope) around(packet []byte, l *Lab) ([]byte, netip.Addr, error) {
	l.mu.RLock()
	o := l.overlay
	l.mu.RUnlock()
	if o == nil || o.ends[e.Node] == nil {
		return nil, netip.Addr{}, fmt.Errorf("lab: node %q is on no overlay", e.Node)
	}
	dst := e.Dst
	if !dst.IsValid() {
		dst = netip.AddrPortFrom(o.under[e.Node], o.spec.Port)
	}
	if e.Src.Is4() != dst.Addr().Is4() {
		return nil, netip.Addr{}, errors.New("lab: an envelope is of one family")
	}
	f := model.Flow{Src: e.Src, Dst: dst.Addr(), Protocol: model.UDP, DstPort: dst.Port()}
	f.SrcPort = l.numbers.nextPort(f.Src, f.Protocol)
	b := make([]byte, 8)
	ports(b, f)
	b = append(b, 8, 0, 0, 0, 0, 0, overlayVNI, 0)
	b = append(b, o.ends[e.Node].mac...)
	b = append(b, mac(0, 9)...)
	b = append(b, etherType(packet)...)
	b = append(b, packet...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	sum(b[6:8], f, b)
	return ipPacket(f.Src, f.Dst, f.Protocol, b), f.Dst, nil
}

func etherType(packet []byte) []byte {
	if packet[0]>>4 == 4 {
		return []byte{0x08, 0x00}
	}
	return []byte{0x86, 0xdd}
}

// Broadcast is the link address of all.
var Broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// sendFrame sends a packet as a frame, past the IP stack of the namespace.
func (p *place) sendFrame(iface string, to net.HardwareAddr, tagged bool, packet []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.wrap(errGone, "probe")
	}
	l, err := p.nl.LinkByName(iface)
	if err != nil {
		return p.wrap(err, "interface %s", iface)
	}
	var fd int
	err = p.ns.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return p.wrap(err, "packet socket")
	}
	defer shut(fd)
	frame := append(append([]byte(nil), to...), l.Attrs().HardwareAddr...)
	if tagged {
		frame = append(frame, 0x81, 0, 0, 0)
	}
	frame = append(append(frame, etherType(packet)...), packet...)
	return p.wrap(unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}), "frame to %s", to)
}

// LinkAddr returns the link address of an interface.
func (l *Lab) LinkAddr(where, iface string) (net.HardwareAddr, error) {
	p, err := l.at(where)
	if err != nil {
		return nil, err
	}
	link, err := p.nl.LinkByName(iface)
	if err != nil {
		return nil, p.wrap(err, "interface %s", iface)
	}
	return link.Attrs().HardwareAddr, nil
}

// Join has a place take packets to a multicast group on an interface. IPv6 hosts
// are members of ff02::1 without it.
func (l *Lab) Join(where, iface string, group netip.Addr) error {
	p, err := l.at(where)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.wrap(errGone, "join")
	}
	link, err := p.nl.LinkByName(iface)
	if err != nil {
		return p.wrap(err, "interface %s", iface)
	}
	var fd int
	err = p.ns.do(func() (err error) {
		fd, err = unix.Socket(family(group), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return p.wrap(err, "join %s", group)
	}
	p.groups = append(p.groups, fd)
	if group.Is4() {
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(link.Attrs().Index)})
	} else {
		err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(link.Attrs().Index)})
	}
	return p.wrap(err, "join %s on %s", group, iface)
}

// index is the number of an interface of the place; 0 for none.
func (p *place) index(iface string) (int, error) {
	if iface == "" {
		return 0, nil
	}
	l, err := p.nl.LinkByName(iface)
	if err != nil {
		return 0, p.wrap(err, "interface %s", iface)
	}
	return l.Attrs().Index, nil
}
