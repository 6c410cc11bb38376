package sctp

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Types of chunks.
const (
	chunkData       = 0
	chunkInit       = 1
	chunkInitAck    = 2
	chunkSack       = 3
	chunkAbort      = 6
	chunkCookieEcho = 10
	chunkCookieAck  = 11
)

const (
	commonHeader = 12
	chunkHeader  = 4
	initFields   = 16
	dataFields   = 12

	parameterCookie = 7
	// wholeMessage says that a DATA chunk begins and ends its message.
	wholeMessage = 3
	// tagReflected says that an ABORT carries the tag that it answers.
	tagReflected = 1
	window       = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packet is one SCTP packet; tag is the receiver's verification tag.
type packet struct {
	source, destination uint16
	tag                 uint32
	chunks              []chunk
}

type chunk struct {
	kind, flags byte
	value       []byte
}

// find gives the first chunk of a kind.
func (p packet) find(kind byte) (chunk, bool) {
	for _, c := range p.chunks {
		if c.kind == kind {
			return c, true
		}
	}
	return chunk{}, false
}

func (p packet) marshal() []byte {
	out := make([]byte, commonHeader)
	binary.BigEndian.PutUint16(out[0:], p.source)
	binary.BigEndian.PutUint16(out[2:], p.destination)
	binary.BigEndian.PutUint32(out[4:], p.tag)
	for _, c := range p.chunks {
		out = append(out, c.kind, c.flags)
		out = binary.BigEndian.AppendUint16(out, uint16(chunkHeader+len(c.value)))
		out = append(out, c.value...)
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	sum := checksum(out)
	copy(out[8:], sum[:])
	return out
}

// checksum of a packet whose checksum is zero; the one field that is not in
// network byte order.
func checksum(p []byte) (out [4]byte) {
	binary.LittleEndian.PutUint32(out[:], crc32.Checksum(p, castagnoli))
	return out
}

var errPacket = errors.New("not a packet of SCTP")

// parse reads a packet, and refuses one that is cut short or damaged.
func parse(in []byte) (packet, error) {
	if len(in) < commonHeader {
		return packet{}, errPacket
	}
	whole := append([]byte(nil), in...)
	clear(whole[8:commonHeader])
	if checksum(whole) != [4]byte(in[8:commonHeader]) {
		return packet{}, errPacket
	}
	p := packet{
		source:      binary.BigEndian.Uint16(in[0:]),
		destination: binary.BigEndian.Uint16(in[2:]),
		tag:         binary.BigEndian.Uint32(in[4:]),
	}
	for rest := whole[commonHeader:]; len(rest) > 0; {
		if len(rest) < chunkHeader {
			return packet{}, errPacket
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < chunkHeader || length > len(rest) {
			return packet{}, errPacket
		}
		p.chunks = append(p.chunks, chunk{kind: rest[0], flags: rest[1], value: rest[chunkHeader:length]})
		rest = rest[min((length+3)&^3, len(rest)):]
	}
	return p, nil
}

// beginning is what INIT and INIT ACK tell of their sender.
type beginning struct {
	tag, tsn uint32
	cookie   []byte // of an INIT ACK
}

func (b beginning) chunk(kind byte) chunk {
	v := binary.BigEndian.AppendUint32(nil, b.tag)
	v = binary.BigEndian.AppendUint32(v, window)
	v = binary.BigEndian.AppendUint16(v, 1) // streams out
	v = binary.BigEndian.AppendUint16(v, 1) // streams in
	v = binary.BigEndian.AppendUint32(v, b.tsn)
	if b.cookie != nil {
		v = binary.BigEndian.AppendUint16(v, parameterCookie)
		v = binary.BigEndian.AppendUint16(v, uint16(4+len(b.cookie)))
		v = append(v, b.cookie...)
	}
	return chunk{kind: kind, value: v}
}

func parseBeginning(c chunk) (beginning, error) {
	if len(c.value) < initFields {
		return beginning{}, errPacket
	}
	b := beginning{tag: binary.BigEndian.Uint32(c.value), tsn: binary.BigEndian.Uint32(c.value[12:])}
	for rest := c.value[initFields:]; len(rest) >= 4; {
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < 4 || length > len(rest) {
			return beginning{}, errPacket
		}
		if binary.BigEndian.Uint16(rest) == parameterCookie {
			b.cookie = rest[4:length]
		}
		rest = rest[min((length+3)&^3, len(rest)):]
	}
	return b, nil
}

func data(tsn uint32, text []byte) chunk {
	v := binary.BigEndian.AppendUint32(nil, tsn)
	v = append(v, 0, 0, 0, 0, 0, 0, 0, 0) // stream 0, its first message, no protocol named
	return chunk{kind: chunkData, flags: wholeMessage, value: append(v, text...)}
}

// parseData gives a DATA chunk's number and text.
func parseData(c chunk) (tsn uint32, text []byte, err error) {
	if len(c.value) <= dataFields {
		return 0, nil, errPacket
	}
	return binary.BigEndian.Uint32(c.value), c.value[dataFields:], nil
}

// sack acknowledges everything up to a number.
func sack(tsn uint32) chunk {
	v := binary.BigEndian.AppendUint32(nil, tsn)
	v = binary.BigEndian.AppendUint32(v, window)
	return chunk{kind: chunkSack, value: append(v, 0, 0, 0, 0)}
}
