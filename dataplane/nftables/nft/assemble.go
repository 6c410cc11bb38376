package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Rules are written as nft lists them, because people read them, and are
// assembled here into the kernel's expressions. This is not all of nft's
// language but just what this package writes; whatever else is an error, and a
// test holds what nft makes of a text to what is made of it here.

// assembler reads one rule's text.
type assembler struct {
	b    *batch
	text string // what is left of it
	err  error
	// What the rule is known to be about: nft asks for the family of addresses and
	// the protocol of ICMP types first, where nothing before in the rule has.
	family, protocol byte
	inner            int // where the data of the expression begin that is being written
}

// assemble writes the expressions of a rule into a batch, as the list of them
// that a rule has.
func (b *batch) assemble(text string) error {
	a := assembler{b: b, text: text}
	at := b.nest(unix.NFTA_RULE_EXPRESSIONS)
	for a.text != "" && a.err == nil {
		a.statement()
	}
	b.end(at)
	if a.err != nil {
		return fmt.Errorf("rule %q: %w", text, a.err)
	}
	return nil
}

func (a *assembler) fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf(format, args...)
	}
}

// next takes a word, or what stands between quotes or parentheses.
func (a *assembler) next() string {
	if a.text == "" {
		a.fail("it ends too early")
		return ""
	}
	var word string
	switch a.text[0] {
	case '"':
		i := strings.IndexByte(a.text[1:], '"')
		if i < 0 {
			a.fail("a quote is missing")
			return ""
		}
		word, a.text = a.text[1:i+1], a.text[i+2:]
		a.text = strings.TrimPrefix(a.text, " ")
	case '(':
		word, a.text, _ = strings.Cut(a.text[1:], ")")
		a.text = strings.TrimPrefix(a.text, " ")
	default:
		word, a.text, _ = strings.Cut(a.text, " ")
	}
	return word
}

// skip takes a word if it is next.
func (a *assembler) skip(word string) bool {
	rest, ok := strings.CutPrefix(a.text, word)
	if !ok || rest != "" && rest[0] != ' ' {
		return false
	}
	a.text = strings.TrimPrefix(rest, " ")
	return true
}

func (a *assembler) expect(words ...string) {
	for _, w := range words {
		if !a.skip(w) {
			a.fail("%q is missing at %q", w, a.text)
		}
	}
}

// number reads a number below a limit, in C's spelling.
func (a *assembler) number(word string, bits int) uint64 {
	n, err := strconv.ParseUint(word, 0, bits)
	if err != nil {
		a.fail("%q is not a number of %d bits", word, bits)
	}
	return n
}

func (a *assembler) statement() {
	switch word := a.next(); word {
	case "ip", "ip6":
		a.network(word)
	case "th":
		a.match(a.port(a.next()))
	case "@th,96,8": // the type of SCTP's first chunk
		a.match(a.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 12, 1))
	case "ether":
		a.etherType()
	case "update":
		a.update()
	case "icmp":
		a.icmp(unix.NFPROTO_IPV4, unix.IPPROTO_ICMP)
	case "icmpv6":
		a.icmp(unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6)
	case "meta":
		a.meta()
	case "ct":
		a.ctState()
	case "tcp":
		a.tcpFlags()
	case "fib":
		a.fibLocal()
	case "iifname":
		a.link(unix.NFT_META_IIFNAME)
	case "oifname":
		a.link(unix.NFT_META_OIFNAME)
	case "counter":
		a.counter()
	case "log":
		a.log()
	case "reject":
		a.reject()
	case "notrack":
		a.b.end(a.expression("notrack"))
	case "accept", "drop", "return":
		a.verdict(word, "")
	case "jump", "goto":
		a.verdict(word, a.next())
	default:
		a.fail("%q is not known", word)
	}
}

// field is what a packet, or what is known of it, has in a register.
type field struct {
	load func(register uint32)
	size int // bytes
	// parse reads a value; bits says how many of it count, less than all for blocks.
	parse func(word string) (value []byte, bits int)
}

// network is a match of addresses, alone or with more, or of the hop limit.
func (a *assembler) network(ip string) {
	if a.skip("hoplimit") {
		a.ofFamily(unix.NFPROTO_IPV6)
		a.match(a.payload(unix.NFT_PAYLOAD_NETWORK_HEADER, 7, 1))
		return
	}
	if fields := a.addresses(ip); a.err == nil {
		a.match(fields...)
	}
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

// update gives a flow that is in a timed set its whole time again.
func (a *assembler) update() {
	name := a.next()
	a.expect("{")
	a.load(a.addresses(a.next()))
	a.expect("timeout")
	timeout, err := time.ParseDuration(a.next())
	if err != nil {
		a.fail("%w", err)
	}
	a.expect("}")
	at := a.expression("dynset")
	a.b.name(unix.NFTA_DYNSET_SET_NAME, strings.TrimPrefix(name, "@"))
	a.b.uint32(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG_1)
	a.b.uint32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE)
	a.b.uint64(unix.NFTA_DYNSET_TIMEOUT, uint64(timeout.Milliseconds()))
	a.end(at)
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

// etherTypes are the types of frames that nft knows by name.
var etherTypes = map[string]uint64{"ip": unix.ETH_P_IP, "ip6": unix.ETH_P_IPV6, "8021q": unix.ETH_P_8021Q, "8021ad": unix.ETH_P_8021AD}

// etherType is a match of the frame's type, as it stands in the frame: that of a
// tag, if there is one, where the kernel may have taken the tag off already.
func (a *assembler) etherType() {
	a.expect("type")
	word := a.next()
	n, ok := etherTypes[word]
	if !ok {
		n = a.number(word, 16)
	}
	a.payload(unix.NFT_PAYLOAD_LL_HEADER, 12, 2).load(unix.NFT_REG_1)
	a.cmp(unix.NFT_CMP_EQ, binary.BigEndian.AppendUint16(nil, uint16(n)))
	switch n {
	case unix.ETH_P_IP:
		a.family = unix.NFPROTO_IPV4
	case unix.ETH_P_IPV6:
		a.family = unix.NFPROTO_IPV6
	}
}

// ofFamily asks for the family, if that is not known. On a bridge it is the
// frame's type that says so.
func (a *assembler) ofFamily(f byte) {
	switch {
	case a.family == f:
		return
	case a.b.table.Family == Bridge && f == unix.NFPROTO_IPV4:
		a.metaCompare(unix.NFT_META_PROTOCOL, binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
	case a.b.table.Family == Bridge:
		a.metaCompare(unix.NFT_META_PROTOCOL, binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6))
	default:
		a.metaCompare(unix.NFT_META_NFPROTO, []byte{f})
	}
	a.family = f
}

// link is a match of an interface, alone or with an address.
func (a *assembler) link(key uint32) {
	if fields := a.linkFields(key); a.err == nil {
		a.match(fields...)
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

// match loads fields and compares them with what follows: a value, a range, a
// block, a set, or a map of verdicts.
func (a *assembler) match(fields ...field) {
	a.load(fields)
	not := a.skip("!=")
	if !not && a.skip("vmap") {
		a.lookupTo(a.next(), unix.NFT_REG_VERDICT)
		return
	}
	word := a.next()
	switch {
	case strings.HasPrefix(word, "@"):
		a.lookup(word, not)
	case len(fields) == 1 && a.err == nil:
		a.compare(fields[0], word, not)
	default:
		a.fail("a set is missing at %q", word)
	}
}

func (a *assembler) compare(f field, word string, not bool) {
	equal := uint32(unix.NFT_CMP_EQ)
	if not {
		equal = unix.NFT_CMP_NEQ
	}
	if first, last, ok := strings.Cut(word, "-"); ok && f.size < unix.IFNAMSIZ {
		low, _ := f.parse(first)
		high, _ := f.parse(last)
		if not {
			at := a.expression("range")
			a.b.uint32(unix.NFTA_RANGE_SREG, unix.NFT_REG_1)
			a.b.uint32(unix.NFTA_RANGE_OP, unix.NFT_RANGE_NEQ)
			a.data(unix.NFTA_RANGE_FROM_DATA, low)
			a.data(unix.NFTA_RANGE_TO_DATA, high)
			a.end(at)
			return
		}
		a.cmp(unix.NFT_CMP_GTE, low)
		a.cmp(unix.NFT_CMP_LTE, high)
		return
	}
	value, bits := f.parse(word)
	if bits < 8*len(value) {
		mask := make([]byte, len(value))
		for i := range mask {
			switch n := bits - 8*i; {
			case n >= 8:
				mask[i] = 0xff
			case n > 0:
				mask[i] = 0xff << (8 - n)
			}
		}
		a.bitwise(mask, make([]byte, len(mask)))
	}
	a.cmp(equal, value)
}

func (a *assembler) icmp(family, protocol byte) {
	if a.protocol != protocol {
		a.ofFamily(family)
		a.metaCompare(unix.NFT_META_L4PROTO, []byte{protocol})
		a.protocol = protocol
	}
	switch what := a.next(); what {
	case "type":
		a.match(a.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1))
	case "code":
		a.match(a.payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 1, 1))
	default:
		a.fail("%q is not known of ICMP", what)
	}
}
