package packets

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Decide is Evaluator.Decide for two addresses.
func Decide(ix *index.Index, src, dst netip.Addr) []Region {
	e := NewEvaluator(ix)
	return e.Decide(e.Party(src), e.Party(dst))
}

// Of is the packet of a flow alone.
func Of(f model.Flow) Space {
	s := Protocol(f.Protocol)
	if f.Protocol == model.AnyProtocol {
		s = Space{others: [4]uint64{1}}
	}
	switch part := partOf(f.Protocol); {
	case part >= partICMP:
		s.parts[part] = product(spans{{uint16(f.ICMPType), uint16(f.ICMPType)}}, spans{{uint16(f.ICMPCode), uint16(f.ICMPCode)}})
	case part >= 0:
		s.parts[part] = product(spans{{f.DstPort, f.DstPort}}, spans{{f.SrcPort, f.SrcPort}})
	}
	return s
}
