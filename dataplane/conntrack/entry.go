package conntrack

import (
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Tuple is one direction of a connection.
type Tuple struct {
	Src, Dst netip.Addr
	Protocol model.Protocol
	// SrcPort and DstPort of protocols that have them.
	SrcPort, DstPort uint16
	// Type, Code and ID of ICMP and ICMPv6 queries.
	Type, Code uint8
	ID         uint16
}

// Entry is one connection that the kernel tracks.
type Entry struct {
	// Original is the first packet before any address translation, Reply an answer to it.
	Original, Reply Tuple
	// Master is the Original of the connection that a helper expected this one
	// of; the zero Tuple otherwise.
	Master Tuple
	// Zone of the entry; mostly 0.
	Zone uint16
	// Replied: packets of both directions have been seen. Assured: the kernel does
	// not drop the entry early.
	Replied, Assured bool

	// key is what the kernel needs to know the entry again: the attributes of its
	// original tuple, zone and ID as they came.
	key []byte
}

// Flow is the connection's first packet as the policy sees it: after
// destination NAT and before source NAT.
func (e *Entry) Flow() model.Flow {
	return model.Flow{
		Src: e.Original.Src, SrcPort: e.Original.SrcPort,
		Dst: e.Reply.Src, DstPort: e.Reply.SrcPort,
		Protocol: e.Original.Protocol,
		ICMPType: e.Original.Type, ICMPCode: e.Original.Code,
	}
}

// FlowBeforeNAT is the first packet as it came in, which is what policies
// before DNAT see.
func (e *Entry) FlowBeforeNAT() model.Flow { return e.Original.flow() }

// Related says that a helper expected the connection.
func (e *Entry) Related() bool { return e.Master.Src.IsValid() }

// Touches reports whether the connection is one of the addresses': they sent its
// first packet, were the destination of it, or answer it. The address that
// masquerading put in place of the sender's is not asked: nobody's policy sees it.
func (e *Entry) Touches(changed func(netip.Addr) bool) bool {
	return changed(e.Original.Src) || changed(e.Original.Dst) || (e.Reply.Src != e.Original.Dst && changed(e.Reply.Src))
}

func (t *Tuple) flow() model.Flow {
	return model.Flow{
		Src: t.Src, Dst: t.Dst, Protocol: t.Protocol, SrcPort: t.SrcPort, DstPort: t.DstPort,
		ICMPType: t.Type, ICMPCode: t.Code,
	}
}

// String is "TCP 10.0.0.1:4000 > 10.96.0.1:80".
func (t Tuple) String() string {
	switch {
	case t.Protocol.HasPorts():
		return fmt.Sprintf("%s %s > %s", t.Protocol, netip.AddrPortFrom(t.Src, t.SrcPort), netip.AddrPortFrom(t.Dst, t.DstPort))
	case t.Protocol == model.ICMPv4 || t.Protocol == model.ICMPv6:
		return fmt.Sprintf("%s %s > %s type %d code %d id %d", t.Protocol, t.Src, t.Dst, t.Type, t.Code, t.ID)
	}
	return fmt.Sprintf("%s %s > %s", t.Protocol, t.Src, t.Dst)
}

// String is the original tuple, and the reply's source where it was translated.
func (e *Entry) String() string {
	if e.Reply.Src == e.Original.Dst && e.Reply.SrcPort == e.Original.DstPort {
		return e.Original.String()
	}
	f := e.Flow()
	return fmt.Sprintf("%s (to %s)", e.Original, netip.AddrPortFrom(f.Dst, f.DstPort))
}
