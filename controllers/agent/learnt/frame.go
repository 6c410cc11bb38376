package learnt

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"time"

	"github.com/tierwall/tierwall/policy/names"
)

// header is the first line of a file. Its number changes with the frames.
const header = "tierwall learnt names 1\n"

// A frame is a checksum of all that follows (4 bytes), the length of what follows that
// (2 bytes), the length of a name (1 byte), the name, and addresses of it: their length
// (1 byte), the address, and the seconds since 1970 since when it is known and until
// when it is true (4 bytes each). All numbers are little-endian.
const (
	sumBytes    = 4
	lengthBytes = 2
	timesBytes  = 8
	maxAddress  = 1 + 16 + timesBytes
	maxFrame    = sumBytes + lengthBytes + 1<<16 - 1
	// perFrame addresses always have room.
	perFrame = (1<<16 - 1 - 1 - names.MaxNameLength) / maxAddress
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrames appends known addresses, those of one name that stand together in one frame.
func appendFrames(to []byte, known []names.Known) []byte {
	for len(known) > 0 {
		n := 1
		for n < len(known) && n < perFrame && known[n].Name == known[0].Name {
			n++
		}
		to = appendFrame(to, known[:n])
		known = known[n:]
	}
	return to
}

func appendFrame(to []byte, known []names.Known) []byte {
	name := known[0].Name
	if len(name) > names.MaxNameLength {
		return to
	}
	begin := len(to)
	to = append(to, make([]byte, sumBytes+lengthBytes)...)
	to = append(append(to, byte(len(name))), name...)
	for _, k := range known {
		if !k.Addr.IsValid() {
			continue
		}
		a := k.Addr.Unmap().AsSlice()
		to = append(append(to, byte(len(a))), a...)
		to = binary.LittleEndian.AppendUint32(to, unix32(k.Since))
		to = binary.LittleEndian.AppendUint32(to, unix32(k.Until))
	}
	frame := to[begin:]
	binary.LittleEndian.PutUint16(frame[sumBytes:], uint16(len(frame)-sumBytes-lengthBytes))
	binary.LittleEndian.PutUint32(frame, crc32.Checksum(frame[sumBytes:], castagnoli))
	return to
}

func unix32(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), 1<<32-1)) }

// readFrame returns the length of the frame that b begins with, and calls each for what
// it holds. ok is false if b begins with no whole frame; then each was not called.
func readFrame(b []byte, each func(names.Known)) (n int, ok bool) {
	if len(b) < sumBytes+lengthBytes {
		return 0, false
	}
	n = sumBytes + lengthBytes + int(binary.LittleEndian.Uint16(b[sumBytes:]))
	if n > len(b) || crc32.Checksum(b[sumBytes:n], castagnoli) != binary.LittleEndian.Uint32(b) {
		return 0, false
	}
	body := b[sumBytes+lengthBytes : n]
	if len(body) == 0 || len(body) <= int(body[0]) {
		return n, true // whole, and of no use
	}
	name, ok := names.Canonical(string(body[1 : 1+int(body[0])]))
	if !ok {
		return n, true
	}
	readAddresses(body[1+int(body[0]):], name, each)
	return n, true
}

func readAddresses(b []byte, name string, each func(names.Known)) {
	for len(b) > 0 {
		size := int(b[0])
		if len(b) < 1+size+timesBytes {
			return
		}
		a, ok := netip.AddrFromSlice(b[1 : 1+size])
		if !ok {
			return
		}
		times := b[1+size:]
		each(names.Known{
			Name: name, Addr: a.Unmap(),
			Since: time.Unix(int64(binary.LittleEndian.Uint32(times)), 0).UTC(),
			Until: time.Unix(int64(binary.LittleEndian.Uint32(times[4:])), 0).UTC(),
		})
		b = times[timesBytes:]
	}
}
