package nflog

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/tierwall/tierwall/policy/model"
)

// Packet is one packet that a rule logged. Fields that it does not have, or that
// were cut off, are zero.
type Packet struct {
	// Prefix is the prefix that the rule sets.
	Prefix string
	// Hook at which the rule is.
	Hook Hook
	// In and Out are names of the interfaces by which the packet came and will
	// leave: Out is empty before routing and at the host itself, In for packets that
	// the host sends. "#7" is an interface whose name is not to be had.
	In, Out string
	// InIndex and OutIndex are the interfaces' numbers, 0 for none.
	InIndex, OutIndex uint32
	// Mark of the packet.
	Mark uint32
	// Src and Dst are invalid if the packet is neither IPv4 nor IPv6.
	Src, Dst netip.Addr
	// Protocol is the one after all extension headers; AnyProtocol (0) if it cannot be
	// determined.
	Protocol model.Protocol
	// SrcPort and DstPort of TCP, UDP, UDPLite and SCTP.
	SrcPort, DstPort uint16
	// ICMPType and ICMPCode of ICMP and ICMPv6; they mean something if HasICMP.
	ICMPType, ICMPCode uint8
	HasICMP            bool
	// Fragment is true for all but the first fragment: they have no ports.
	Fragment bool
	// Length of the whole packet in bytes, according to its IP header.
	Length int

	// seq counts the packets of a group, as the kernel does; present if hasSeq.
	seq    uint32
	hasSeq bool
}

// Hook is the point in a packet's way at which a rule sits, as the kernel numbers it.
type Hook uint8

// The hooks.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
)

var hookNames = [...]string{"prerouting", "input", "forward", "output", "postrouting"}

// String is the hook's name; unknown ones are their number.
func (h Hook) String() string {
	if int(h) < len(hookNames) {
		return hookNames[h]
	}
	return strconv.Itoa(int(h))
}

// String is the packet for people: "TCP 10.0.0.1:4000 → 10.0.0.2:80".
func (p *Packet) String() string {
	at := func(a netip.Addr, port uint16) string {
		switch {
		case !a.IsValid():
			return "?"
		case port == 0:
			return a.String()
		}
		return netip.AddrPortFrom(a, port).String()
	}
	return fmt.Sprintf("%s %s → %s", p.Protocol, at(p.Src, p.SrcPort), at(p.Dst, p.DstPort))
}
