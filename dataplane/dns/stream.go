package dns

import (
	"encoding/binary"
	"slices"
)

// MaxAhead is how many bytes of segments are kept that have come before those in front of them.
const MaxAhead = 64 << 10

// lengthBytes stand before each message in a TCP connection.
const lengthBytes = 2

// Stream puts together the messages of one direction of a TCP connection. Segments may
// come twice, in part twice, or in the wrong order, as they do when the sender is
// impatient. Its zero value is ready. It keeps at most one message and MaxAhead bytes.
type Stream struct {
	// next is the number of the first byte that has not been taken.
	next    uint32
	started bool
	// synced: buf begins where a message begins.
	synced bool
	buf    []byte
	ahead  []segment
	kept   int // bytes in ahead
}

type segment struct {
	seq  uint32
	data []byte
}

// Repeats reports whether a segment has bytes that were taken before it: they are of a
// message that is complete, or has begun.
func (s *Stream) Repeats(seq uint32, payload []byte) bool {
	return s.started && len(payload) > 0 && int32(seq-s.next) < 0
}

// Segment takes a segment and calls each for every message that is complete with it.
// What each is given is valid until it returns. A stream whose beginning was not seen
// takes a segment for the beginning of a message if it looks like one.
//
// It reports false if segments have been left out, because too many are missing or none
// looks like a message: answers may have gone by unread.
func (s *Stream) Segment(seq uint32, syn bool, payload []byte, each func(msg []byte)) bool {
	if syn {
		*s = Stream{next: seq + 1, started: true, synced: true}
		seq++
	}
	if len(payload) == 0 {
		return true
	}
	if !s.started {
		s.next, s.started = seq, true
	}
	if int32(seq-s.next) > 0 {
		return s.keep(seq, payload)
	}
	whole := s.take(seq, payload, each)
	for i := 0; i < len(s.ahead); {
		a := s.ahead[i]
		if int32(a.seq-s.next) > 0 {
			i++
			continue
		}
		s.ahead = slices.Delete(s.ahead, i, i+1)
		s.kept -= len(a.data)
		whole = s.take(a.seq, a.data, each) && whole
		i = 0 // the order is that in which they came
	}
	return whole
}

// keep stores a segment for when those before it have come. If there is no room, it
// begins anew with this segment.
func (s *Stream) keep(seq uint32, payload []byte) bool {
	if s.kept+len(payload) <= MaxAhead && len(s.ahead) < MaxAhead/512 {
		if !slices.ContainsFunc(s.ahead, func(a segment) bool { return a.seq == seq && len(a.data) >= len(payload) }) {
			s.ahead = append(s.ahead, segment{seq, slices.Clone(payload)})
			s.kept += len(payload)
		}
		return true
	}
	*s = Stream{next: seq, started: true}
	return false
}

// take takes what is new of a segment that begins no later than at next.
func (s *Stream) take(seq uint32, payload []byte, each func([]byte)) bool {
	old := s.next - seq
	if uint64(old) >= uint64(len(payload)) {
		return true
	}
	payload = payload[old:]
	s.next += uint32(len(payload))
	if !s.synced {
		if !looksLikeMessage(payload) {
			return false
		}
		s.synced = true
	}
	if len(s.buf) == 0 { // as a rule, segments end where messages end
		payload = payload[messages(payload, each):]
	}
	for len(payload) > 0 {
		n := min(len(payload), s.missing())
		s.buf = append(s.buf, payload[:n]...)
		payload = payload[n:]
		if done := messages(s.buf, each); done > 0 {
			s.buf = s.buf[:0]
		}
	}
	if cap(s.buf) > 0 && len(s.buf) == 0 {
		s.buf = nil // connections stay open
	}
	return true
}

// missing is how many bytes the message in buf lacks, or its length.
func (s *Stream) missing() int {
	if len(s.buf) < lengthBytes {
		return lengthBytes - len(s.buf)
	}
	return lengthBytes + int(binary.BigEndian.Uint16(s.buf)) - len(s.buf)
}

// messages calls each for the complete messages that b begins with, and returns how
// many bytes they take.
func messages(b []byte, each func([]byte)) (n int) {
	for len(b)-n >= lengthBytes {
		end := n + lengthBytes + int(binary.BigEndian.Uint16(b[n:]))
		if end > len(b) {
			break
		}
		each(b[n+lengthBytes : end])
		n = end
	}
	return n
}

// looksLikeMessage reports whether bytes begin with the length of a message and the
// header of an answer to one question.
func looksLikeMessage(b []byte) bool {
	const header = 12
	return len(b) >= lengthBytes+header && binary.BigEndian.Uint16(b) >= header &&
		b[4]&0xf8 == 0x80 && b[6] == 0 && b[7] == 1
}
