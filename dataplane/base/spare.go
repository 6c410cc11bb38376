package base

import (
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// A guard that counts sends packets through a program that must not deny them: what
// the program would deny is counted for the guard and goes on as if it were allowed.
// Such packets are known by their addresses, so one rendering of the program serves
// them and the packets that it does deny.

// Sparing names the packets that a program only counts.
type Sparing string

// The sparings.
const (
	SpareNone Sparing = ""
	// SpareFrom and SpareTo: from, or to, an address that no object lists; a local
	// pod's program meets others only by the pod's address.
	SpareFrom Sparing = "e"
	SpareTo   Sparing = "i"
	// SparePodsFrom and SparePodsTo: from, or to, a local pod, in programs of the
	// host endpoint of all interfaces.
	SparePodsFrom Sparing = "f"
	SparePodsTo   Sparing = "t"
)

// Spared are packets that count for a guard where a program denies them.
type Spared struct {
	Guard model.GuardName
	If    []Test
}

// Spared returns these packets of a family. A packet counts for the first that matches it.
func (s Sparing) Spared(f dataplane.Family) []Spared {
	switch s {
	case SpareFrom:
		return sparedByLink(notIn(SrcIn, Pods), f)
	case SpareTo:
		return sparedByLink(notIn(DstIn, Pods), f)
	case SparePodsFrom:
		return []Spared{{model.GuardWildcardName, where(on(SrcIn, Pods))}}
	case SparePodsTo:
		return []Spared{{model.GuardWildcardName, where(on(DstIn, Pods))}}
	}
	return nil
}

// sparedByLink adds the advertisements of routers, which meet no program by
// address: discovery accepts them before that.
func sparedByLink(unlisted Test, f dataplane.Family) []Spared {
	out := []Spared{{model.GuardLinkName, where(unlisted)}}
	if f == dataplane.IPv6 {
		return append([]Spared{{model.GuardDiscoveryName, icmp(routerAdvertisement, routerAdvertisement, is(HopLimit255))}}, out...)
	}
	return out
}

// SparingOf is what the program of a local endpoint's stage only counts.
func SparingOf(s *dataplane.State, e *dataplane.Endpoint, stage model.Stage, dir model.Direction) Sparing {
	switch {
	case s.Settings == nil || e.LocalEndpoint == nil:
		return SpareNone
	case e.Host != nil:
		return sparingOfHost(s.Settings, e, stage, dir)
	case stage != model.StageWorkload || !Links(s) || s.Settings.Guards.Link != model.GuardCount:
		return SpareNone
	case dir == model.Egress:
		return SpareFrom
	}
	return SpareTo
}

func sparingOfHost(s *model.Settings, e *dataplane.Endpoint, stage model.Stage, dir model.Direction) Sparing {
	early := stage == model.StageUntracked || stage == model.StagePreDNAT
	switch {
	case e.Host.Interface != "*" || s.Guards.Wildcard != model.GuardCount:
		return SpareNone
	case (early || stage == model.StageForward) && dir == model.Ingress:
		return SparePodsFrom
	case stage == model.StageForward:
		return SparePodsTo
	}
	return SpareNone
}

// Shape is what all chains of programs depend on besides the programs. Where it
// changes they are all written anew.
type Shape struct {
	accepted, early uint32
	link, wildcard  bool
	sampleDenied    bool
}

// ShapeOf returns the Shape of a State.
func ShapeOf(s *dataplane.State) Shape {
	var out Shape
	out.accepted, out.early = s.Settings.MarkBits()
	if s.Settings != nil {
		out.link = Links(s) && s.Settings.Guards.Link == model.GuardCount
		out.wildcard = s.Settings.Guards.Wildcard == model.GuardCount
	}
	out.sampleDenied = s.SampleDenied
	return out
}
