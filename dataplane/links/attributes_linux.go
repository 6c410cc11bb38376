package links

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// attributeType masks the flags for nested and big-endian attributes.
const attributeType = 0x3fff

// attributes visits the attributes of a message, up to the first one that is not
// whole. The library's parser panics where the last one is not padded.
func attributes(b []byte, visit func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		visit(binary.NativeEndian.Uint16(b[2:])&attributeType, b[unix.SizeofRtAttr:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}
