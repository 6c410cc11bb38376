package nft

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Keys of elements are the kernel's own bytes, in strings, so that a set of a
// hundred thousand is compared with the kernel's without a text being made of
// it: fields one after the other, each padded to four bytes where there are
// several; in interval sets the first and the last value, both included.

func AddrKey(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return string(b[:])
	}
	b := a.As16()
	return string(b[:])
}

func PairKey(a, b netip.Addr) string { return AddrKey(a) + AddrKey(b) }

// protocolKey is an address and a protocol.
func ProtocolKey(a netip.Addr, p uint8) string {
	return AddrKey(a) + string([]byte{p, 0, 0, 0})
}

// servicePortKey is an address, a protocol and a port.
func ServicePortKey(a netip.Addr, p uint8, port uint16) string {
	return AddrKey(a) + string([]byte{p, 0, 0, 0, byte(port >> 8), byte(port), 0, 0})
}

// typeClass is the type of classes' numbers. nft knows it as a traffic class,
// which is what a packet's priority is to it.
const TypeClass = "classid"

// typeLink is the type of names of interfaces.
const TypeLink = "ifname"

// linkKey is the name of an interface.
func LinkKey(name string) string { return string(ifname(name)) }

// linkAddrKey is an interface and an address.
func LinkAddrKey(name string, a netip.Addr) string { return LinkKey(name) + AddrKey(a) }

// classKey is a class's number, in the order of bytes that the CPU has.
func ClassKey(n uint32) string {
	return string(binary.NativeEndian.AppendUint32(nil, n))
}

// classText is a class's number as nft writes it.
func classText(key string) string {
	if len(key) != 4 {
		return fmt.Sprintf("%x", key)
	}
	n := binary.NativeEndian.Uint32([]byte(key))
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

func PortKey(port uint16) string { return string([]byte{byte(port >> 8), byte(port)}) }

func PortRangeKey(first, last uint16) string { return PortKey(first) + PortKey(last) }

// keyFields are the fields that keys have: nft's number of the type, by which
// nft lists elements, and the size in bytes.
var keyFields = map[string]struct {
	number uint32
	size   int
}{"ipv4_addr": {7, 4}, TypeLink: {41, 16}, "ipv6_addr": {8, 16}, "inet_proto": {12, 1}, "inet_service": {13, 2}, TypeClass: {23, 4}}

// keyType returns the number of a type and its keys' size. nft puts the numbers
// of several fields into one, six bits each.
func keyType(types string) (number uint32, size int) {
	several := strings.Contains(types, " . ")
	for t := range strings.SplitSeq(types, " . ") {
		f := keyFields[t]
		number = number<<6 | f.number
		if several {
			f.size = (f.size + 3) &^ 3
		}
		size += f.size
	}
	return number, size
}

// typesOf is the reverse of keyType; unknownType if there is none.
func typesOf(number uint32, size int) string {
	var names []string
	for n := number; n > 0; n >>= 6 {
		for name, f := range keyFields {
			if f.number == n&0x3f {
				names = append([]string{name}, names...)
			}
		}
	}
	types := strings.Join(names, " . ")
	if n, s := keyType(types); n != number || s != size {
		return unknownType
	}
	return types
}

// unknownType is the type of keys of a set that no ruleset has.
const unknownType = "another"

// keyText is a key as nft writes it.
func (s *Set) keyText(key string) string {
	_, size := keyType(s.Types)
	if !s.Interval {
		return fieldsText(s.Types, key)
	}
	if len(key) != 2*size {
		return fmt.Sprintf("%x", key)
	}
	if s.Types == "inet_service" {
		return PortText(port(key), port(key[size:]))
	}
	first, _ := netip.AddrFromSlice([]byte(key[:size]))
	last, _ := netip.AddrFromSlice([]byte(key[size:]))
	return Range{first, last}.String()
}

func fieldsText(types, key string) string {
	if _, size := keyType(types); size != len(key) {
		return fmt.Sprintf("%x", key)
	}
	var out []string
	for t := range strings.SplitSeq(types, " . ") {
		size := keyFields[t].size
		switch t {
		case "inet_proto":
			out = append(out, ProtocolText(key[0]))
		case TypeClass:
			out = append(out, classText(key))
		case TypeLink:
			out = append(out, strconv.Quote(strings.TrimRight(key[:size], "\x00")))
		case "inet_service":
			out = append(out, fmt.Sprint(port(key)))
		default:
			a, _ := netip.AddrFromSlice([]byte(key[:size]))
			out = append(out, a.String())
		}
		key = key[min((size+3)&^3, len(key)):]
	}
	return strings.Join(out, " . ")
}

func port(key string) uint16 { return uint16(key[0])<<8 | uint16(key[1]) }

// protocolNames are the protocols that every nft knows by name.
var protocolNames = map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp", unix.IPPROTO_ICMP: "icmp"}

// protocolNumbers is the reverse.
var protocolNumbers = func() map[string]byte {
	out := map[string]byte{}
	for p, name := range protocolNames {
		out[name] = p
	}
	return out
}()

// protocolText is a protocol as nft prints it where every nft knows its name, else its number.
func ProtocolText(p uint8) string {
	if name := protocolNames[p]; name != "" {
		return name
	}
	return fmt.Sprint(p)
}

// addrRange is a range of addresses of one family, both ends included.
type Range struct{ First, Last netip.Addr }

func (r Range) Key() string { return AddrKey(r.First) + AddrKey(r.Last) }

// text is the range as an address, a block or a range, whichever says it shortest.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	a, b, both := r.First.AsSlice(), r.Last.AsSlice(), 0 // bits in which both begin
	for i := range a {
		if a[i] != b[i] {
			both = 8*i + bits.LeadingZeros8(a[i]^b[i])
			break
		}
	}
	// A block begins where the bits that follow are 0, and so does what comes after it.
	begins := func(a netip.Addr) bool { return !a.IsValid() || netip.PrefixFrom(a, both).Masked().Addr() == a }
	if begins(r.First) && begins(r.Last.Next()) {
		return netip.PrefixFrom(r.First, both).String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// halves cuts in two a range of all addresses, which nft takes for no element.
func (r Range) Halves() []Range {
	if !r.First.IsUnspecified() || r.Last.Next().IsValid() {
		return []Range{r}
	}
	b := r.Last.AsSlice()
	b[0] >>= 1
	middle, _ := netip.AddrFromSlice(b)
	return []Range{{r.First, middle}, {middle.Next(), r.Last}}
}

// portText is a range of ports as nft writes it.
func PortText(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// durationText is a time as nft writes it: 10m, not 10m0s.
func DurationText(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}
