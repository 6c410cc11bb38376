package verdict

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// why describes why a criterion did not match a packet; empty for Matched.
func why(ix *index.Index, f *model.Flow, c Criterion) string {
	addr, port, side := f.Src, f.SrcPort, "sender"
	if strings.HasPrefix(string(c), "destination.") {
		addr, port, side = f.Dst, f.DstPort, "receiver"
	}
	switch c {
	case Matched:
		return ""
	case CriterionNever:
		return "the rule is invalid and matches nothing"
	case CriterionIPVersion:
		if f.Src.Is4() {
			return "the packet is IPv4"
		}
		return "the packet is IPv6"
	case CriterionProtocol, CriterionNotProtocol:
		return "the protocol is " + f.Protocol.String()
	case CriterionICMP, CriterionNotICMP:
		if f.Protocol != model.ICMPv4 && f.Protocol != model.ICMPv6 {
			return "the protocol is " + f.Protocol.String()
		}
		return fmt.Sprintf("the ICMP type is %d, the code %d", f.ICMPType, f.ICMPCode)
	case CriterionSrcPorts, CriterionSrcNotPorts, CriterionDstPorts, CriterionDstNotPorts:
		if !f.Protocol.HasPorts() {
			return f.Protocol.String() + " has no ports"
		}
		return fmt.Sprintf("the %s's port is %d", side, port)
	case CriterionSrcNets, CriterionDstNets:
		return fmt.Sprintf("%s is in none of the nets", addr)
	case CriterionSrcNotNets, CriterionDstNotNets:
		return fmt.Sprintf("%s is in one of the excluded nets", addr)
	case CriterionSrcService, CriterionDstService:
		return fmt.Sprintf("%s is no endpoint of the service on that port", who(ix, addr))
	case CriterionSrcNotSelector, CriterionDstNotSelector:
		return who(ix, addr) + " is excluded"
	}
	return who(ix, addr) + " does not match"
}

// who names an address by its owner, or as it is.
func who(ix *index.Index, a netip.Addr) string {
	if r := ix.Owner(a); r != (model.Ref{}) {
		return r.String()
	}
	if n := ix.NodeOf(a); n != nil {
		return n.Key().String()
	}
	return a.String()
}
