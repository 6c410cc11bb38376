package nflog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"

	"github.com/tierwall/tierwall/policy/model"
)

// Attributes of a packet's message, NFULA_* of linux/netfilter/nfnetlink_log.h.
const (
	attrHeader   = 1
	attrMark     = 2
	attrInIndex  = 4
	attrOutIndex = 5
	attrPayload  = 9
	attrPrefix   = 10
	attrSeq      = 12
)

// nfgenLen is the length of the header that precedes the attributes of all
// netfilter messages: family, version, group.
const nfgenLen = 4

var errShort = errors.New("message is too short")

// parseMessage reads the data of one message NFULNL_MSG_PACKET. A well-formed message
// gives a Packet, whatever the packet in it looks like.
func parseMessage(b []byte) (*Packet, error) {
	if len(b) < nfgenLen {
		return nil, fmt.Errorf("logged packet: %w", errShort)
	}
	ad, err := netlink.NewAttributeDecoder(b[nfgenLen:])
	if err != nil {
		return nil, fmt.Errorf("logged packet: %w", err)
	}
	ad.ByteOrder = binary.BigEndian
	p := &Packet{}
	for ad.Next() {
		switch ad.Type() {
		case attrHeader: // be16 protocol of the link, u8 hook, u8 padding
			if v := ad.Bytes(); len(v) >= 3 {
				p.Hook = Hook(v[2])
			}
		case attrMark:
			p.Mark = ad.Uint32()
		case attrInIndex:
			p.InIndex = ad.Uint32()
		case attrOutIndex:
			p.OutIndex = ad.Uint32()
		case attrPayload:
			p.readIP(ad.Bytes())
		case attrPrefix:
			p.Prefix = strings.ToValidUTF8(ad.String(), "?")
		case attrSeq:
			p.seq, p.hasSeq = ad.Uint32(), true
		}
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("logged packet: %w", err)
	}
	return p, nil
}

// readIP reads a packet from its IP header on, as far as it was copied.
func (p *Packet) readIP(b []byte) {
	if len(b) == 0 {
		return
	}
	switch b[0] >> 4 {
	case 4:
		p.readIPv4(b)
	case 6:
		p.readIPv6(b)
	}
}

const (
	ipv4Header    = 20
	ipv6Header    = 40
	ipv4Offset    = 0x1fff // of a fragment, in the field of flags and offset
	ipv6Offset    = 0xfff8
	maxExtensions = 16 // more than any packet has that is meant well
)

func (p *Packet) readIPv4(b []byte) {
	if len(b) < ipv4Header {
		return
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.Length = int(binary.BigEndian.Uint16(b[2:]))
	p.Protocol = model.Protocol(b[9])
	p.Fragment = binary.BigEndian.Uint16(b[6:])&ipv4Offset != 0
	if n := int(b[0]&15) * 4; n >= ipv4Header && n <= len(b) {
		p.readTransport(b[n:])
	}
}

// Extension headers of IPv6.
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAH          = 51
	extDestination = 60
	extMobility    = 135
	extHIP         = 139
	extShim6       = 140
)

func (p *Packet) readIPv6(b []byte) {
	if len(b) < ipv6Header {
		return
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.Length = int(binary.BigEndian.Uint16(b[4:])) + ipv6Header
	next := b[6]
	b = b[ipv6Header:]
	for range maxExtensions {
		var n int
		switch next {
		case extHopByHop, extRouting, extDestination, extMobility, extHIP, extShim6:
			if len(b) < 2 {
				return
			}
			n = (int(b[1]) + 1) * 8
		case extAH:
			if len(b) < 2 {
				return
			}
			n = (int(b[1]) + 2) * 4
		case extFragment:
			if n = 8; len(b) < n {
				return
			}
			p.Fragment = binary.BigEndian.Uint16(b[2:])&ipv6Offset != 0
		default:
			p.Protocol = model.Protocol(next)
			p.readTransport(b)
			return
		}
		next = b[0]
		if p.Fragment && next != extFragment {
			// What follows is from the middle of the packet. Its first fragment may
			// have more extension headers; this one only names the first of them.
			if !isExtension(next) {
				p.Protocol = model.Protocol(next)
			}
			return
		}
		if n > len(b) {
			return
		}
		b = b[n:]
	}
}

func isExtension(next uint8) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAH, extDestination, extMobility, extHIP, extShim6:
		return true
	}
	return false
}

// readTransport reads the most important fields of a protocol's header.
func (p *Packet) readTransport(b []byte) {
	switch {
	case p.Fragment:
	case p.Protocol.HasPorts() && len(b) >= 4:
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case (p.Protocol == model.ICMPv4 || p.Protocol == model.ICMPv6) && len(b) >= 2:
		p.ICMPType, p.ICMPCode, p.HasICMP = b[0], b[1], true
	}
}

// sequence finds out from the kernel's numbers how many packets are missing.
type sequence struct {
	next    uint32
	started bool
	// assumed were counted as lost before a sequence number showed it: the kernel
	// reports that there was no room before it reports how much was lost.
	assumed uint64
}

// overrun notes that the kernel has said that something was lost, and returns
// what is to be added to the count.
func (s *sequence) overrun() uint64 {
	if s.assumed > 0 {
		return 0
	}
	s.assumed = 1
	return 1
}

// see takes the sequence number of an arrived packet, and returns what to add to the
// count. Numbers wrap around; one that goes back is not a loss.
func (s *sequence) see(seq uint32) uint64 {
	gap := seq - s.next
	first := !s.started
	s.next, s.started = seq+1, true
	if first {
		gap = seq // the kernel begins with 0
	}
	if gap > math.MaxInt32 {
		return 0
	}
	missing := uint64(gap)
	known := min(missing, s.assumed)
	s.assumed -= known // what came before there was no room is still to be read
	return missing - known
}
