package flows

import (
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// sourcePorts are the ports of sources that rules tell apart. Clients choose theirs at
// random: where no rule asks for it, connections from all ports are alike.
type sourcePorts struct {
	// begins are where ranges of ports begin that no rule tells apart, sorted; the first is
	// not 0.
	begins []uint16
	// all: a rule names a port of its source, or a Service, which may be any number.
	all bool
}

// newSourcePorts reads all policies.
func newSourcePorts(ix *index.Index) *sourcePorts {
	s := &sourcePorts{}
	add := func(list []model.Port) {
		for _, p := range list {
			switch {
			case p.Name != "":
				s.all = true
			default:
				if p.First > 0 {
					s.begins = append(s.begins, p.First)
				}
				if p.Last < 65535 {
					s.begins = append(s.begins, p.Last+1)
				}
			}
		}
	}
	for _, p := range ix.Policies() {
		for _, rules := range [][]model.Rule{p.IngressRules, p.EgressRules} {
			for i := range rules {
				add(rules[i].Match.Source.Ports)
				add(rules[i].Match.Source.NotPorts)
				s.all = s.all || rules[i].Match.Source.ServicePorts
			}
		}
	}
	slices.Sort(s.begins)
	s.begins = slices.Compact(s.begins)
	return s
}

// standIn is a port that all rules treat like this one.
func (s *sourcePorts) standIn(port uint16) uint16 {
	if s.all {
		return port
	}
	i, found := slices.BinarySearch(s.begins, port)
	switch {
	case found:
		return port
	case i == 0:
		return 0
	}
	return s.begins[i-1]
}
