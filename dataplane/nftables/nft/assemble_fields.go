package nft

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// field is what a packet, or what is known of it, has in a register.
type field struct {
	load func(register uint32)
	size int // bytes
	// parse reads a value; bits is how many of it count, less than all for blocks. Nil:
	// the field is looked up in sets only.
	parse func(word string) (value []byte, bits int)
}

// addresses are an address and what follows it after dots.
func (a *assembler) addresses(ip string) []field {
	fields := []field{a.address(ip, a.next())}
	for a.skip(".") {
		switch word := a.next(); word {
		case "ip", "ip6":
			fields = append(fields, a.address(word, a.next()))
		case "th":
			fields = append(fields, a.port(a.next()))
		case "meta":
			a.expect("l4proto")
			fields = append(fields, a.metaField(unix.NFT_META_L4PROTO, 1))
		default:
			a.fail("%q is not known after a dot", word)
			return nil
		}
	}
	return fields
}

// load brings fields into registers, one after the other.
func (a *assembler) load(fields []field) {
	offset := 0
	for _, f := range fields {
		register := uint32(unix.NFT_REG32_00 + offset/4)
		if offset%16 == 0 {
			register = uint32(unix.NFT_REG_1 + offset/16)
		}
		f.load(register)
		offset += (f.size + 3) &^ 3
	}
}

// linkFields are an interface and what follows it after a dot.
func (a *assembler) linkFields(key uint32) []field {
	f := a.metaField(key, unix.IFNAMSIZ)
	f.parse = func(word string) ([]byte, int) { return ifname(word), 8 * unix.IFNAMSIZ }
	fields := []field{f}
	for a.skip(".") {
		word := a.next()
		if word != "ip" && word != "ip6" {
			a.fail("%q is not an address", word)
			return nil
		}
		fields = append(fields, a.address(word, a.next()))
	}
	return fields
}

func (a *assembler) address(ip, side string) field {
	offset, size, family := uint32(12), 4, byte(unix.NFPROTO_IPV4)
	if ip == "ip6" {
		offset, size, family = 8, 16, unix.NFPROTO_IPV6
	}
	switch side {
	case "saddr":
	case "daddr":
		offset += uint32(size)
	default:
		a.fail("%q is not known of %s", side, ip)
	}
	a.ofFamily(family)
	f := a.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, size)
	f.parse = func(word string) ([]byte, int) {
		addr, length, block := strings.Cut(word, "/")
		x, err := netip.ParseAddr(addr)
		if err != nil || x.BitLen() != 8*size {
			a.fail("%q is not an address of %s", word, ip)
			return make([]byte, size), 8 * size
		}
		bits := 8 * size
		if block {
			bits = int(a.number(length, 8))
		}
		return x.AsSlice(), bits
	}
	return f
}

func (a *assembler) port(side string) field {
	switch side {
	case "sport":
		return a.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2)
	case "dport":
		return a.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
	}
	a.fail("%q is not a port", side)
	return field{size: 2, load: func(uint32) {}}
}

// payload is bytes of the packet.
func (a *assembler) payload(base, offset uint32, size int) field {
	return field{
		size: size,
		load: func(register uint32) {
			at := a.expression("payload")
			a.b.uint32(unix.NFTA_PAYLOAD_DREG, register)
			a.b.uint32(unix.NFTA_PAYLOAD_BASE, base)
			a.b.uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
			a.b.uint32(unix.NFTA_PAYLOAD_LEN, uint32(size))
			a.end(at)
		},
		parse: func(word string) ([]byte, int) {
			out := binary.BigEndian.AppendUint16(nil, uint16(a.number(word, 8*size)))
			return out[2-min(size, 2):], 8 * size
		},
	}
}

func (a *assembler) metaField(key uint32, size int) field {
	return field{size: size, load: func(register uint32) {
		at := a.expression("meta")
		a.b.uint32(unix.NFTA_META_KEY, key)
		a.b.uint32(unix.NFTA_META_DREG, register)
		a.end(at)
	}}
}
