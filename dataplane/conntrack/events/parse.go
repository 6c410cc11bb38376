package events

import (
	"encoding/binary"
	"errors"

	"github.com/tierwall/tierwall/dataplane/conntrack"
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

	ctaCountersPackets = 1
	ctaCountersBytes   = 2

	statusSeenReply = 1 << 1

	nfgenHeader = 4
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
		attr, value, rest, ok := conntrack.NextAttribute(b)
		if !ok {
			return errShort
		}
		b = rest
		switch attr {
		case ctaTupleOrig:
			ok = conntrack.ReadTuple(value, &e.Original)
		case ctaTupleReply:
			ok = conntrack.ReadTuple(value, &e.Reply)
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

func parseCounters(b []byte, v *Volume) bool {
	for len(b) > 0 {
		kind, value, rest, ok := conntrack.NextAttribute(b)
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
