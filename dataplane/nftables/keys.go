package nftables

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// Keys of elements are the kernel's own bytes, in strings, so that a set of a
// hundred thousand is compared with the kernel's without a text being made of
// it: fields one after the other, each padded to four bytes where there are
// several; in interval sets the first and the last value, both included.

func addrKey(a netip.Addr) string {
	if a.Is4() {
		b := a.As4()
		return string(b[:])
	}
	b := a.As16()
	return string(b[:])
}

func pairKey(a, b netip.Addr) string { return addrKey(a) + addrKey(b) }

// protocolKey is an address and a protocol.
func protocolKey(a netip.Addr, p model.Protocol) string {
	return addrKey(a) + string([]byte{byte(p), 0, 0, 0})
}

// servicePortKey is an address, a protocol and a port.
func servicePortKey(a netip.Addr, p model.Protocol, port uint16) string {
	return addrKey(a) + string([]byte{byte(p), 0, 0, 0, byte(port >> 8), byte(port), 0, 0})
}

// typeClass is the type of classes' numbers. nft knows it as a traffic class,
// which is what a packet's priority is to it.
const typeClass = "classid"

// typeLink is the type of names of interfaces.
const typeLink = "ifname"

// linkKey is the name of an interface.
func linkKey(name string) string { return string(ifname(name)) }

// linkAddrKey is an interface and an address.
func linkAddrKey(name string, a netip.Addr) string { return linkKey(name) + addrKey(a) }

// classKey is a class's number, in the order of bytes that the CPU has.
func classKey(n uint32) string {
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

func portKey(port uint16) string { return string([]byte{byte(port >> 8), byte(port)}) }

func portRangeKey(first, last uint16) string { return portKey(first) + portKey(last) }

// keyFields are the fields that keys have: nft's number of the type, by which
// nft lists elements, and the size in bytes.
var keyFields = map[string]struct {
	number uint32
	size   int
}{"ipv4_addr": {7, 4}, typeLink: {41, 16}, "ipv6_addr": {8, 16}, "inet_proto": {12, 1}, "inet_service": {13, 2}, typeClass: {23, 4}}

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

// keyText is a key as nft writes it.
func (s *set) keyText(key string) string {
	_, size := keyType(s.types)
	if !s.interval {
		return fieldsText(s.types, key)
	}
	if len(key) != 2*size {
		return fmt.Sprintf("%x", key)
	}
	if s.types == "inet_service" {
		return portText(port(key), port(key[size:]))
	}
	first, _ := netip.AddrFromSlice([]byte(key[:size]))
	last, _ := netip.AddrFromSlice([]byte(key[size:]))
	return addrRange{first, last}.text()
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
			out = append(out, protocol(model.Protocol(key[0])))
		case typeClass:
			out = append(out, classText(key))
		case typeLink:
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
var protocolNames = map[model.Protocol]string{model.TCP: "tcp", model.UDP: "udp", model.SCTP: "sctp", model.ICMPv4: "icmp"}

// protocolNumbers is the reverse.
var protocolNumbers = func() map[string]byte {
	out := map[string]byte{}
	for p, name := range protocolNames {
		out[name] = byte(p)
	}
	return out
}()

// protocol is a protocol as nft prints it where every nft knows its name, else its number.
func protocol(p model.Protocol) string {
	if name := protocolNames[p]; name != "" {
		return name
	}
	return fmt.Sprint(uint8(p))
}

// addrRange is a range of addresses of one family, both ends included.
type addrRange struct{ first, last netip.Addr }

func (r addrRange) key() string { return addrKey(r.first) + addrKey(r.last) }

// text is the range as an address, a block or a range, whichever says it shortest.
func (r addrRange) text() string {
	if r.first == r.last {
		return r.first.String()
	}
	a, b := r.first.AsSlice(), r.last.AsSlice()
	bits := 0
	for i := range a {
		for m := byte(0x80); m != 0; m >>= 1 {
			if a[i]&m != b[i]&m {
				if p := netip.PrefixFrom(r.first, bits); p.Masked().Addr() == r.first && dataplane.LastAddr(p) == r.last {
					return p.String()
				}
				return r.first.String() + "-" + r.last.String()
			}
			bits++
		}
	}
	return r.first.String()
}

// halves cuts in two a range of all addresses, which nft takes for no element.
func (r addrRange) halves() []addrRange {
	if !r.first.IsUnspecified() || r.last.Next().IsValid() {
		return []addrRange{r}
	}
	p := netip.PrefixFrom(r.first, 1)
	return []addrRange{{r.first, dataplane.LastAddr(p)}, {dataplane.LastAddr(p).Next(), r.last}}
}

func blockText(p netip.Prefix) string {
	return addrRange{p.Masked().Addr(), dataplane.LastAddr(p)}.text()
}

// mergeBlocks returns the blocks, which are of one family, as ranges that are
// sorted, disjoint and not adjacent; all addresses are two halves.
func mergeBlocks(blocks []netip.Prefix) []addrRange {
	slices.SortFunc(blocks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []addrRange
	for _, p := range blocks {
		r := addrRange{p.Addr(), dataplane.LastAddr(p)}
		if n := len(out); n > 0 {
			end := &out[n-1].last
			if next := end.Next(); !next.IsValid() || !next.Less(r.first) {
				if end.Less(r.last) {
					*end = r.last
				}
				continue
			}
		}
		out = append(out, r)
	}
	if len(out) == 1 {
		return out[0].halves()
	}
	return out
}

// portText is a range of ports as nft writes it.
func portText(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func ipOf(f dataplane.Family) string {
	if f == dataplane.IPv6 {
		return "ip6"
	}
	return "ip"
}
