package nft

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Rules are written as nft lists them, because people read them, and are
// assembled here into the kernel's expressions. This is not all of nft's
// language but just what this package writes; whatever else is an error, and a
// test holds what nft makes of a text to what is made of it here.

// assembler reads one rule's text, and writes what it comes to.
type assembler struct {
	words
	b *batch
	// What the rule is known to be about: nft asks for the family of addresses and
	// the protocol of ICMP types first, where nothing before in the rule has.
	family, protocol byte
	inner            int // where the data of the expression begin that is being written
}

// assemble writes the expressions of a rule into a batch, as the list of them
// that a rule has.
func (b *batch) assemble(text string) error {
	a := assembler{b: b, words: words{text: text}}
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

// words are what is left of a text, and what was wrong with it first.
type words struct {
	text string
	err  error
}

func (w *words) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// next takes a word, or what stands between quotes or parentheses.
func (w *words) next() string {
	if w.text == "" {
		w.fail("it ends too early")
		return ""
	}
	var word string
	switch w.text[0] {
	case '"':
		i := strings.IndexByte(w.text[1:], '"')
		if i < 0 {
			w.fail("a quote is missing")
			return ""
		}
		word, w.text = w.text[1:i+1], w.text[i+2:]
		w.text = strings.TrimPrefix(w.text, " ")
	case '(':
		word, w.text, _ = strings.Cut(w.text[1:], ")")
		w.text = strings.TrimPrefix(w.text, " ")
	default:
		word, w.text, _ = strings.Cut(w.text, " ")
	}
	return word
}

// skip takes a word if it is next.
func (w *words) skip(word string) bool {
	rest, ok := strings.CutPrefix(w.text, word)
	if !ok || rest != "" && rest[0] != ' ' {
		return false
	}
	w.text = strings.TrimPrefix(rest, " ")
	return true
}

func (w *words) expect(list ...string) {
	for _, word := range list {
		if !w.skip(word) {
			w.fail("%q is missing at %q", word, w.text)
		}
	}
}

// number reads a number below a limit, in C's spelling.
func (w *words) number(word string, bits int) uint64 {
	n, err := strconv.ParseUint(word, 0, bits)
	if err != nil {
		w.fail("%q is not a number of %d bits", word, bits)
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
	case "update", "delete":
		a.dynset(word)
	case "icmp":
		a.icmp(unix.NFPROTO_IPV4, unix.IPPROTO_ICMP)
	case "icmpv6":
		a.icmp(unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6)
	case "meta":
		a.meta()
	case "ct":
		a.ct()
	case "queue":
		a.queue()
	case "xt":
		a.xtQueue()
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
	case "limit":
		a.limit()
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

// dynset puts what a packet has into a timed set, or gives what is there its whole time
// again (update); or takes it out (delete).
func (a *assembler) dynset(op string) {
	name := a.next()
	a.expect("{")
	if a.skip("th") {
		a.load([]field{a.port(a.next())})
	} else {
		a.load(a.addresses(a.next()))
	}
	number, timeout := uint32(dynsetDelete), time.Duration(0)
	if op == "update" {
		number = unix.NFT_DYNSET_OP_UPDATE
		a.expect("timeout")
		var err error
		if timeout, err = time.ParseDuration(a.next()); err != nil {
			a.fail("%w", err)
		}
	}
	a.expect("}")
	at := a.expression("dynset")
	a.b.name(unix.NFTA_DYNSET_SET_NAME, strings.TrimPrefix(name, "@"))
	a.b.uint32(unix.NFTA_DYNSET_SREG_KEY, unix.NFT_REG_1)
	a.b.uint32(unix.NFTA_DYNSET_OP, number)
	if timeout > 0 {
		a.b.uint64(unix.NFTA_DYNSET_TIMEOUT, uint64(timeout.Milliseconds()))
	}
	a.end(at)
}

// dynsetDelete is NFT_DYNSET_OP_DELETE, which package unix does not have.
const dynsetDelete = 2

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
	case len(fields) == 1 && fields[0].parse != nil && a.err == nil:
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
