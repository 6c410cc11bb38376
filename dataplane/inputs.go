package dataplane

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Inputs is the part of a State, beside what is compiled, that the rules of a node depend
// on. A backend keeps it to find out whether a later State asks for other rules.
type Inputs struct {
	settings    *model.Settings
	links       *model.Links
	nodeAddrs   []netip.Addr
	podCIDRs    []netip.Prefix
	foreign     []netip.Addr
	foreignNets []netip.Prefix
	cluster     []netip.Addr
	blocks      []netip.Prefix
	answers     *Answers
}

// InputsOf returns a State's Inputs. They share nothing that the State's owner may change.
func InputsOf(s *State) Inputs {
	return Inputs{
		s.Settings, s.Links, slices.Clone(s.NodeAddrs), slices.Clone(s.PodCIDRs), slices.Clone(s.Foreign), slices.Clone(s.ForeignNets),
		slices.Clone(s.ClusterAddrs), slices.Clone(s.ClusterBlocks), s.Answers,
	}
}

// Of reports whether a State has these Inputs.
func (in *Inputs) Of(s *State) bool {
	return s.Settings == in.settings && s.Links == in.links && slices.Equal(s.NodeAddrs, in.nodeAddrs) && slices.Equal(s.PodCIDRs, in.podCIDRs) &&
		slices.Equal(s.Foreign, in.foreign) && slices.Equal(s.ForeignNets, in.foreignNets) && slices.Equal(s.ClusterAddrs, in.cluster) &&
		slices.Equal(s.ClusterBlocks, in.blocks) && s.Answers.Equal(in.answers)
}
