package events

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/tierwall/tierwall/dataplane/conntrack"
	"github.com/tierwall/tierwall/policy/model"
)

// Attributes of nfnetlink_conntrack messages, as in the kernel's
// linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaTupleMaster   = 15
	ctaZone          = 18

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPSrc4 = 1
	ctaIPDst4 = 2
	ctaIPSrc6 = 3
	ctaIPDst6 = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3
	ctaProtoID      = 4
	ctaProtoType    = 5
	ctaProtoCode    = 6
	ctaProtoID6     = 7
	ctaProtoType6   = 8
	ctaProtoCode6   = 9

	ctaCountersPackets = 1
	ctaCountersBytes   = 2

	statusSeenReply = 1 << 1

	attrHeader   = 4
	attrTypeMask = 0x3fff // without the flags for nested and big-endian
	nfgenHeader  = 4
)

var (
	errShort     = errors.New("event of connection tracking: message is cut short")
	errAddresses = errors.New("event of connection tracking: message without addresses")
)

// parse reads the data of one message into e, whose Kind it leaves: an nfgenmsg header and
// attributes. It allocates nothing.
func parse(msg []byte, e *Event) error {
	kind := e.Kind
	*e = Event{Kind: kind}
	if len(msg) < nfgenHeader {
		return errShort
	}
	for b := msg[nfgenHeader:]; len(b) > 0; {
		attr, value, rest, ok := next(b)
		if !ok {
			return errShort
		}
		b = rest
		switch attr {
		case ctaTupleOrig:
			ok = parseTuple(value, &e.Original)
		case ctaTupleReply:
			ok = parseTuple(value, &e.Reply)
		case ctaTupleMaster:
			e.Related = true
		case ctaStatus:
			if ok = len(value) >= 4; ok {
				e.Replied = binary.BigEndian.Uint32(value)&statusSeenReply != 0
			}
		case ctaCountersOrig:
			ok = parseCounters(value, &e.Sent)
			e.Counted = true
		case ctaCountersReply:
			ok = parseCounters(value, &e.Received)
			e.Counted = true
		case ctaID:
			if ok = len(value) >= 4; ok {
				e.ID = binary.BigEndian.Uint32(value)
			}
		case ctaZone:
			if ok = len(value) >= 2; ok {
				e.Zone = binary.BigEndian.Uint16(value)
			}
		}
		if !ok {
			return errShort
		}
	}
	if !e.Original.Src.IsValid() || !e.Original.Dst.IsValid() || !e.Reply.Src.IsValid() {
		return errAddresses
	}
	return nil
}

// next splits off the first attribute.
func next(b []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(b) < attrHeader {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < attrHeader || n > len(b) {
		return 0, nil, nil, false
	}
	return binary.NativeEndian.Uint16(b[2:]) & attrTypeMask, b[attrHeader:n], b[min((n+3)&^3, len(b)):], true
}

func parseTuple(b []byte, t *conntrack.Tuple) bool {
	for len(b) > 0 {
		kind, value, rest, ok := next(b)
		if !ok {
			return false
		}
		b = rest
		switch kind {
		case ctaTupleIP:
			ok = parseAddresses(value, t)
		case ctaTupleProto:
			ok = parseProtocol(value, t)
		}
		if !ok {
			return false
		}
	}
	return true
}

func parseAddresses(b []byte, t *conntrack.Tuple) bool {
	for len(b) > 0 {
		kind, value, rest, ok := next(b)
		if !ok {
			return false
		}
		b = rest
		switch kind {
		case ctaIPSrc4:
			t.Src, ok = address4(value)
		case ctaIPDst4:
			t.Dst, ok = address4(value)
		case ctaIPSrc6:
			t.Src, ok = address6(value)
		case ctaIPDst6:
			t.Dst, ok = address6(value)
		}
		if !ok {
			return false
		}
	}
	return true
}

func address4(b []byte) (netip.Addr, bool) {
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b)), true
}

func address6(b []byte) (netip.Addr, bool) {
	if len(b) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(b)), true
}

func parseProtocol(b []byte, t *conntrack.Tuple) bool {
	for len(b) > 0 {
		kind, value, rest, ok := next(b)
		if !ok {
			return false
		}
		b = rest
		size := 1
		switch kind {
		case ctaProtoSrcPort, ctaProtoDstPort, ctaProtoID, ctaProtoID6:
			size = 2
		}
		if len(value) < size {
			return false
		}
		switch kind {
		case ctaProtoNum:
			t.Protocol = model.Protocol(value[0])
		case ctaProtoSrcPort:
			t.SrcPort = binary.BigEndian.Uint16(value)
		case ctaProtoDstPort:
			t.DstPort = binary.BigEndian.Uint16(value)
		case ctaProtoID, ctaProtoID6:
			t.ID = binary.BigEndian.Uint16(value)
		case ctaProtoType, ctaProtoType6:
			t.Type = value[0]
		case ctaProtoCode, ctaProtoCode6:
			t.Code = value[0]
		}
	}
	return true
}

func parseCounters(b []byte, v *Volume) bool {
	for len(b) > 0 {
		kind, value, rest, ok := next(b)
		if !ok {
			return false
		}
		b = rest
		if kind != ctaCountersPackets && kind != ctaCountersBytes {
			continue
		}
		if len(value) < 8 {
			return false
		}
		if n := binary.BigEndian.Uint64(value); kind == ctaCountersPackets {
			v.Packets = n
		} else {
			v.Bytes = n
		}
	}
	return true
}
