package nfqueue

import (
	"encoding/binary"
	"errors"
)

// Messages and attributes of linux/netfilter/nfnetlink_queue.h.
const (
	subsystem    = 3 // NFNL_SUBSYS_QUEUE
	msgPacket    = 0 // NFQNL_MSG_PACKET
	msgVerdict   = 1 // NFQNL_MSG_VERDICT
	msgConfig    = 2 // NFQNL_MSG_CONFIG
	cfgCommand   = 1 // NFQA_CFG_CMD
	cfgParams    = 2 // NFQA_CFG_PARAMS
	cfgMaxLength = 3 // NFQA_CFG_QUEUE_MAXLEN
	cfgMask      = 4 // NFQA_CFG_MASK
	cfgFlags     = 5 // NFQA_CFG_FLAGS
	cmdBind      = 1
	cmdUnbind    = 2
	copyPacket   = 2 // NFQNL_COPY_PACKET
	flagFailOpen = 1 // NFQA_CFG_F_FAIL_OPEN
	flagGSO      = 4 // NFQA_CFG_F_GSO: segments come as the kernel has them, not cut up
	attrHeader   = 1 // NFQA_PACKET_HDR
	attrVerdict  = 2 // NFQA_VERDICT_HDR
	attrPayload  = 10
	nfAccept     = 1
)

// Of all netlink: lengths of headers, and messages about errors.
const (
	headerLen  = 16
	nfgenLen   = 4
	attrLen    = 4
	typeError  = 2
	flagAsk    = 1 // NLM_F_REQUEST
	flagAck    = 4 // NLM_F_ACK
	typeMask   = 0x3fff
	versionOf  = 0 // NFNETLINK_V0
	familyNone = 0
)

// answer is one message of the kernel's.
type answer struct {
	packet Packet
	// err is what the kernel says of a request, by its number; nil: it has done it.
	err error
	seq uint32
	// isPacket: it is a packet; else it is about a request.
	isPacket bool
}

var errMalformed = errors.New("malformed message")

// each calls f for every message in b. What is no message ends it with an error; messages
// of other kinds are passed over.
func each(b []byte, f func(answer)) error {
	for len(b) > 0 {
		if len(b) < headerLen {
			return errMalformed
		}
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			return errMalformed
		}
		kind, body := binary.NativeEndian.Uint16(b[4:]), b[headerLen:n]
		a := answer{seq: binary.NativeEndian.Uint32(b[8:])}
		switch {
		case kind == typeError && len(body) >= 4:
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				a.err = errno(-code)
			}
			f(a)
		case kind == subsystem<<8|msgPacket && len(body) >= nfgenLen:
			var ok bool
			if a.packet, ok = packetOf(body[nfgenLen:]); ok {
				a.isPacket = true
				f(a)
			}
		}
		b = b[min(aligned(n), len(b)):]
	}
	return nil
}

// packetOf reads the attributes of a packet's message. One without a number is none: nothing waits.
func packetOf(b []byte) (p Packet, ok bool) {
	for len(b) >= attrLen {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrLen || n > len(b) {
			break
		}
		switch v := b[attrLen:n]; binary.NativeEndian.Uint16(b[2:]) & typeMask {
		case attrHeader: // be32 number, be16 protocol of the link, u8 hook
			if len(v) >= 4 {
				p.ID, ok = binary.BigEndian.Uint32(v), true
			}
		case attrPayload:
			p.Data = v
		}
		b = b[min(aligned(n), len(b)):]
	}
	return p, ok
}

func aligned(n int) int { return (n + 3) &^ 3 }

// message is a request under way. Its length is written by end.
type message []byte

// begin begins a request about a queue behind what is in b.
func begin(b []byte, kind, flags uint16, seq uint32, queue uint16) (message, int) {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, subsystem<<8|kind)
	b = binary.NativeEndian.AppendUint16(b, flagAsk|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, familyNone, versionOf)
	return binary.BigEndian.AppendUint16(b, queue), at
}

func (m message) attribute(kind uint16, v ...byte) message {
	m = binary.NativeEndian.AppendUint16(m, uint16(attrLen+len(v)))
	m = append(binary.NativeEndian.AppendUint16(m, kind), v...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	return m
}

func (m message) end(at int) []byte {
	binary.NativeEndian.PutUint32(m[at:], uint32(len(m)-at))
	return m
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// bind are the requests that bind a queue, and say how it is read.
func bind(queue uint16, seq uint32, length uint32) []byte {
	m, at := begin(nil, msgConfig, flagAck, seq, queue)
	b := m.attribute(cfgCommand, cmdBind, 0, 0, 0).end(at)
	m, at = begin(b, msgConfig, flagAck, seq+1, queue)
	return m.attribute(cfgParams, append(be32(copyRange), copyPacket)...).
		attribute(cfgMaxLength, be32(length)...).
		attribute(cfgMask, be32(flagFailOpen|flagGSO)...).
		attribute(cfgFlags, be32(flagFailOpen|flagGSO)...).end(at)
}

// unbind is the request that gives a queue back. Its answer has a number that no request has.
func unbind(queue uint16) []byte {
	m, at := begin(nil, msgConfig, 0, 0, queue)
	return m.attribute(cfgCommand, cmdUnbind, 0, 0, 0).end(at)
}

// accept are the requests that have packets go on.
func accept(b []byte, queue uint16, ids []uint32) []byte {
	for _, id := range ids {
		m, at := begin(b, msgVerdict, 0, 0, queue)
		b = m.attribute(attrVerdict, append(be32(nfAccept), be32(id)...)...).end(at)
	}
	return b
}

// copyRange is how many bytes of a packet are copied: as many as there can be.
const copyRange = 0xffff
