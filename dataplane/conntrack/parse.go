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

var errShort = errors.New("tracked connection: message is cut short")

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
			return parseTuple(value, &e.Original)
		case ctaTupleReply:
			return parseTuple(value, &e.Reply)
		case ctaTupleMaster:
			return parseTuple(value, &e.Master)
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

func parseTuple(b []byte, t *Tuple) error {
	return attributes(b, func(kind uint16, value, _ []byte) error {
		switch kind {
		case ctaTupleIP:
			return attributes(value, func(kind uint16, value, _ []byte) error {
				a, ok := netip.AddrFromSlice(value)
				switch {
				case !ok:
					return errors.New("tracked connection: address of a wrong length")
				case kind == ctaIPv4Src || kind == ctaIPv6Src:
					t.Src = a
				case kind == ctaIPv4Dst || kind == ctaIPv6Dst:
					t.Dst = a
				}
				return nil
			})
		case ctaTupleProto:
			return attributes(value, func(kind uint16, value, _ []byte) error { return parseProtocol(kind, value, t) })
		}
		return nil
	})
}

func parseProtocol(kind uint16, value []byte, t *Tuple) error {
	size := 1
	switch kind {
	case ctaProtoSrcPort, ctaProtoDstPort, ctaProtoICMPID, ctaProtoICMPv6ID:
		size = 2
	}
	if len(value) < size {
		return errShort
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
	return nil
}

// attributes calls visit for each netlink attribute with its value and with all
// of it, padded.
func attributes(b []byte, visit func(kind uint16, value, whole []byte) error) error {
	for len(b) > 0 {
		if len(b) < attrHeader {
			return errShort
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			return errShort
		}
		kind := binary.NativeEndian.Uint16(b[2:]) & attrTypeMask
		padded := (n + 3) &^ 3
		whole := b[:min(padded, len(b))]
		if len(whole) < padded {
			whole = append(slices.Clone(whole), make([]byte, padded-len(whole))...)
		}
		if err := visit(kind, b[attrHeader:n], whole); err != nil {
			return err
		}
		b = b[min(padded, len(b)):]
	}
	return nil
}
