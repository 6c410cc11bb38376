package conntrack

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Attributes of nfnetlink_conntrack messages, as in the kernel's
// linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig   = 1
	ctaTupleReply  = 2
	ctaStatus      = 3
	ctaID          = 12
	ctaTupleMaster = 15
	ctaZone        = 18

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum        = 1
	ctaProtoSrcPort    = 2
	ctaProtoDstPort    = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9

	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2

	attrHeader   = 4
	attrTypeMask = 0x3fff // without the flags for nested and big-endian
	nfgenHeader  = 4
)

var (
	errShort = errors.New("tracked connection: message is cut short")
	errTuple = errors.New("tracked connection: tuple is cut short, or has an address of a wrong length")
)

// parseEntry reads one message of a dump: an nfgenmsg header and attributes.
func parseEntry(msg []byte) (*Entry, error) {
	if len(msg) < nfgenHeader {
		return nil, errShort
	}
	e := &Entry{}
	err := attributes(msg[nfgenHeader:], func(kind uint16, value, whole []byte) error {
		switch kind {
		case ctaTupleOrig:
			e.key = append(e.key, whole...)
			return tuple(value, &e.Original)
		case ctaTupleReply:
			return tuple(value, &e.Reply)
		case ctaTupleMaster:
			return tuple(value, &e.Master)
		case ctaID:
			e.key = append(e.key, whole...)
		case ctaZone:
			e.key = append(e.key, whole...)
			if len(value) < 2 {
				return errShort
			}
			e.Zone = binary.BigEndian.Uint16(value)
		case ctaStatus:
			if len(value) < 4 {
				return errShort
			}
			status := binary.BigEndian.Uint32(value)
			e.Replied, e.Assured = status&statusSeenReply != 0, status&statusAssured != 0
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !e.Original.Src.IsValid() || !e.Original.Dst.IsValid() || !e.Reply.Src.IsValid():
		return nil, errors.New("tracked connection: message without addresses")
	}
	return e, nil
}

func tuple(b []byte, t *Tuple) error {
	if !ReadTuple(b, t) {
		return errTuple
	}
	return nil
}

// ReadTuple reads the attributes of a tuple into t; false: they are cut short, or an address
// has a wrong length. It allocates nothing.
func ReadTuple(b []byte, t *Tuple) bool {
	for len(b) > 0 {
		kind, value, rest, ok := NextAttribute(b)
		if !ok {
			return false
		}
		b = rest
		for len(value) > 0 && (kind == ctaTupleIP || kind == ctaTupleProto) {
			inner, data, more, ok := NextAttribute(value)
			if !ok {
				return false
			}
			value = more
			if kind == ctaTupleIP {
				ok = readAddress(inner, data, t)
			} else {
				ok = readProtocol(inner, data, t)
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

func readAddress(kind uint16, value []byte, t *Tuple) bool {
	a, ok := netip.AddrFromSlice(value)
	switch kind {
	case ctaIPv4Src:
		t.Src, ok = a, ok && a.Is4()
	case ctaIPv4Dst:
		t.Dst, ok = a, ok && a.Is4()
	case ctaIPv6Src:
		t.Src, ok = a, ok && a.Is6()
	case ctaIPv6Dst:
		t.Dst, ok = a, ok && a.Is6()
	}
	return ok
}

func readProtocol(kind uint16, value []byte, t *Tuple) bool {
	size := 1
	switch kind {
	case ctaProtoSrcPort, ctaProtoDstPort, ctaProtoICMPID, ctaProtoICMPv6ID:
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
	case ctaProtoICMPID, ctaProtoICMPv6ID:
		t.ID = binary.BigEndian.Uint16(value)
	case ctaProtoICMPType, ctaProtoICMPv6Type:
		t.Type = value[0]
	case ctaProtoICMPCode, ctaProtoICMPv6Code:
		t.Code = value[0]
	}
	return true
}

// NextAttribute splits off the first netlink attribute; false: it is cut short.
func NextAttribute(b []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(b) < attrHeader {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < attrHeader || n > len(b) {
		return 0, nil, nil, false
	}
	return binary.NativeEndian.Uint16(b[2:]) & attrTypeMask, b[attrHeader:n], b[min((n+3)&^3, len(b)):], true
}

// attributes calls visit for each netlink attribute with its value and with all
// of it, padded.
func attributes(b []byte, visit func(kind uint16, value, whole []byte) error) error {
	for len(b) > 0 {
		kind, value, rest, ok := NextAttribute(b)
		if !ok {
			return errShort
		}
		whole := b[:len(b)-len(rest)]
		if missing := -len(whole) & 3; missing > 0 {
			whole = append(slices.Clone(whole), make([]byte, missing)...)
		}
		if err := visit(kind, value, whole); err != nil {
			return err
		}
		b = rest
	}
	return nil
}
