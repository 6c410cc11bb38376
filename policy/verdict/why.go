package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// why says of a packet why a criterion did not match; empty for Matched.
func (ix *Index) why(f *model.Flow, c Criterion) string {
	addr, port, side := f.Src, f.SrcPort, "sender"
	if strings.HasPrefix(string(c), "destination.") {
		addr, port, side = f.Dst, f.DstPort, "receiver"
	}
	switch c {
	case Matched:
		return ""
	case NeverMatches:
		return "the rule is invalid and matches nothing"
	case IPVersion:
		if f.Src.Is4() {
			return "the packet is IPv4"
		}
		return "the packet is IPv6"
	case Protocol, NotProtocol:
		return "the protocol is " + f.Protocol.String()
	case ICMP, NotICMP:
		if f.Protocol != model.ICMPv4 && f.Protocol != model.ICMPv6 {
			return "the protocol is " + f.Protocol.String()
		}
		return fmt.Sprintf("the ICMP type is %d, the code %d", f.ICMPType, f.ICMPCode)
	case SrcPorts, SrcNotPorts, DstPorts, DstNotPorts:
		if !f.Protocol.HasPorts() {
			return f.Protocol.String() + " has no ports"
		}
		return fmt.Sprintf("the %s's port is %d", side, port)
	case SrcNets, DstNets:
		return fmt.Sprintf("%s is in none of the nets", addr)
	case SrcNotNets, DstNotNets:
		return fmt.Sprintf("%s is in one of the excluded nets", addr)
	case SrcService, DstService:
		return fmt.Sprintf("%s is no endpoint of the service on that port", ix.who(addr))
	case SrcNotSelector, DstNotSelector:
		return ix.who(addr) + " is excluded"
	}
	return ix.who(addr) + " does not match"
}

// who names an address by its owner, or as it is.
func (ix *Index) who(a netip.Addr) string {
	if o := ix.ownerOf(a); o != nil {
		return o.ref().String()
	}
	if n := ix.NodeOf(a); n != nil {
		return n.Key().String()
	}
	return a.String()
}
