package reach

import (
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Share is how much of what is asked about gets from one end to another.
type Share uint8

// The shares.
const (
	ShareNone Share = iota
	ShareSome
	ShareAll
	// ShareUnasked: an end and itself, or ends of two IP versions.
	ShareUnasked
)

// Named is the traffic to the ports that a unit names; all traffic if it names none.
func Named(u *Unit) packets.Space {
	if len(u.Ports) == 0 {
		return packets.All()
	}
	var s packets.Space
	for _, p := range u.Ports {
		s = s.Union(packets.DstPorts(p.Protocol, p.Port, p.Port))
	}
	return s
}

// ShareOf says how much of some traffic is open. Ping over the other IP version
// does not count as missing.
func ShareOf(ways []Way, question packets.Space) Share {
	some := Open(ways, true).Intersect(question)
	everywhere := Open(ways, false)
	for _, p := range []model.Protocol{model.ICMPv4, model.ICMPv6} {
		if everywhere.Intersect(packets.Protocol(p)).IsEmpty() {
			question = question.Subtract(packets.Protocol(p))
		}
	}
	switch {
	case some.IsEmpty():
		return ShareNone
	case everywhere.Covers(question):
		return ShareAll
	}
	return ShareSome
}
