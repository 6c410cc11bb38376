package nft

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// What a rule can match and set of a packet beside its headers: metadata, the
// connection's state, and the kernel's own addresses.

func (a *assembler) meta() {
	switch what := a.next(); what {
	case "nfproto":
		family := byte(unix.NFPROTO_IPV4)
		if a.next() == "ipv6" {
			family = unix.NFPROTO_IPV6
		}
		a.ofFamily(family)
	case "l4proto":
		not := a.skip("!=")
		word := a.next()
		n, ok := protocolNumbers[word]
		if !ok {
			n = byte(a.number(word, 8))
		}
		a.metaField(unix.NFT_META_L4PROTO, 1).load(unix.NFT_REG_1)
		if not {
			a.cmp(unix.NFT_CMP_NEQ, []byte{n})
			return
		}
		a.protocol = n
		a.cmp(unix.NFT_CMP_EQ, []byte{n})
	case "mark":
		a.mark()
	case "priority":
		a.priority()
	default:
		a.fail("meta %q is not known", what)
	}
}

// mark is a test of bits of the mark, or sets or clears them.
func (a *assembler) mark() {
	a.metaField(unix.NFT_META_MARK, 4).load(unix.NFT_REG_1)
	native := func(n uint64) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	if a.skip("&") {
		mask := a.number(a.next(), 32)
		a.expect("==")
		a.bitwise(native(mask), native(0))
		a.cmp(unix.NFT_CMP_EQ, native(a.number(a.next(), 32)))
		return
	}
	a.expect("set", "meta", "mark")
	switch op, n := a.next(), a.number(a.next(), 32); op {
	case "&":
		a.bitwise(native(n), native(0))
	case "|":
		a.bitwise(native(^n), native(n))
	default:
		a.fail("%q is not known of marks", op)
	}
	at := a.expression("meta")
	a.b.uint32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
	a.b.uint32(unix.NFTA_META_SREG, unix.NFT_REG_1)
	a.end(at)
}

// priority is a look-up by the packet's priority, or sets it: to what a map says
// of an address or of an interface, alone or with an address, or to none.
func (a *assembler) priority() {
	if !a.skip("set") {
		a.match(a.metaField(unix.NFT_META_PRIORITY, 4))
		return
	}
	if a.skip("none") {
		at := a.expression("immediate")
		a.b.uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_1)
		a.data(unix.NFTA_IMMEDIATE_DATA, make([]byte, 4))
		a.end(at)
	} else {
		switch word := a.next(); word {
		case "ip", "ip6":
			a.address(word, a.next()).load(unix.NFT_REG_1)
		case "iifname":
			a.load(a.linkFields(unix.NFT_META_IIFNAME))
		case "oifname":
			a.metaField(unix.NFT_META_OIFNAME, unix.IFNAMSIZ).load(unix.NFT_REG_1)
		default:
			a.fail("%q is neither an address nor an interface", word)
		}
		a.expect("map")
		a.lookupTo(a.next(), unix.NFT_REG_1)
	}
	at := a.expression("meta")
	a.b.uint32(unix.NFTA_META_KEY, unix.NFT_META_PRIORITY)
	a.b.uint32(unix.NFTA_META_SREG, unix.NFT_REG_1)
	a.end(at)
}

// ctStates are bits of the state of a connection: 1 << IP_CT_… + 1, see NF_CT_STATE_BIT.
var ctStates = map[string]uint32{"invalid": 1, "established": 2, "related": 4, "new": 8}

func (a *assembler) ctState() {
	a.expect("state")
	var bits uint32
	for s := range strings.SplitSeq(a.next(), ",") {
		if ctStates[s] == 0 {
			a.fail("the state %q is not known", s)
		}
		bits |= ctStates[s]
	}
	at := a.expression("ct")
	a.b.uint32(unix.NFTA_CT_KEY, unix.NFT_CT_STATE)
	a.b.uint32(unix.NFTA_CT_DREG, unix.NFT_REG_1)
	a.end(at)
	a.bitwise(binary.NativeEndian.AppendUint32(nil, bits), make([]byte, 4))
	a.cmp(unix.NFT_CMP_NEQ, make([]byte, 4))
}

var tcpFlagBits = map[string]byte{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16}

func (a *assembler) tcpFlags() {
	a.expect("flags", "&")
	mask := a.flags(a.next())
	op := uint32(unix.NFT_CMP_NEQ)
	if a.skip("==") {
		op = unix.NFT_CMP_EQ
	} else {
		a.expect("!=")
	}
	if a.protocol != unix.IPPROTO_TCP {
		a.metaCompare(unix.NFT_META_L4PROTO, []byte{unix.IPPROTO_TCP})
		a.protocol = unix.IPPROTO_TCP
	}
	a.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1).load(unix.NFT_REG_1)
	a.bitwise([]byte{mask}, []byte{0})
	a.cmp(op, []byte{a.flags(a.next())})
}

func (a *assembler) flags(list string) (bits byte) {
	for f := range strings.SplitSeq(list, " | ") {
		if tcpFlagBits[f] == 0 {
			a.fail("the flag %q is not known", f)
		}
		bits |= tcpFlagBits[f]
	}
	return bits
}

// localType is RTN_LOCAL, the type of routes to the host's own addresses.
const localType = 2

// fibLocal asks whether an address is the host's own.
func (a *assembler) fibLocal() {
	side := uint32(unix.NFTA_FIB_F_SADDR)
	if a.skip("daddr") {
		side = unix.NFTA_FIB_F_DADDR
	} else {
		a.expect("saddr")
	}
	a.expect("type")
	op := uint32(unix.NFT_CMP_EQ)
	if a.skip("!=") {
		op = unix.NFT_CMP_NEQ
	}
	a.expect("local")
	at := a.expression("fib")
	a.b.uint32(unix.NFTA_FIB_FLAGS, side)
	a.b.uint32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
	a.b.uint32(unix.NFTA_FIB_DREG, unix.NFT_REG_1)
	a.end(at)
	a.cmp(op, binary.NativeEndian.AppendUint32(nil, localType))
}

func ifname(s string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, s)
	return out
}
