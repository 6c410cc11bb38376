package dataplane

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// A rule of a native policy allows any number of blocks of addresses, each with
// exceptions of its own: it comes as one rule for each block and protocol, which
// differ in the blocks alone. Where they are many they are united: what they
// match together is said by a handful of rules, each with one list of blocks and
// one of exceptions.

// united is what rules have in common that can be one.
type united struct {
	index    int
	action   model.Action
	version  uint8
	protocol model.Protocol
	ports    portList
}

// portList is a list of ports that rules share.
type portList struct {
	first *model.Port
	n     int
}

func portListOf(ports []model.Port) portList {
	if len(ports) == 0 {
		return portList{}
	}
	return portList{&ports[0], len(ports)}
}

// unite returns rules in which those are united that differ in the blocks of
// their peer alone and are of one rule of the policy, if more than few are. It
// makes no difference which of them is tried first: they do the same.
func unite(rules []index.Rule, dir model.Direction, f Family, few int) []index.Rule {
	if len(rules) <= few {
		return rules
	}
	groups := map[united][]int{}
	for i := range rules {
		if u, ok := unitedBy(rules[i].Rule, dir); ok {
			groups[u] = append(groups[u], i)
		}
	}
	var out []index.Rule
	for i := range rules {
		u, ok := unitedBy(rules[i].Rule, dir)
		group := groups[u]
		switch {
		case !ok || len(group) <= few:
			out = append(out, rules[i])
		case group[0] == i:
			out = append(out, union(rules, group, dir, f)...)
		}
	}
	return out
}

// unitedBy returns what a rule has in common with those that it can be united
// with. It is not ok if the rule asks for more than one side's blocks, a protocol
// and destination ports.
func unitedBy(r *model.Rule, dir model.Direction) (united, bool) {
	m := r.Match
	u := united{r.Index, r.Action, m.IPVersion, m.Protocol, portListOf(m.Destination.Ports)}
	peer, other := &m.Source, &m.Destination
	if dir == model.Egress {
		peer, other = other, peer
	}
	blocks := peer.Nets != nil
	peer.Nets, peer.NotNets = nil, nil
	m.Destination.Ports = nil
	plain := func(p *model.Peer) bool {
		return p.Nets == nil && p.NotNets == nil && p.Selector == nil && p.NotSelector == nil &&
			p.Service == (model.ServiceRef{}) && p.Domains == nil && p.Ports == nil && p.NotPorts == nil
	}
	return u, blocks && !m.Never && m.NotProtocol == model.AnyProtocol && m.ICMP == nil && m.NotICMP == nil && plain(peer) && plain(other)
}

// union returns rules that match together what those of a group do.
func union(rules []index.Rule, group []int, dir model.Direction, f Family) []index.Rule {
	var edges []netEdge
	for n, i := range group {
		peer := &rules[i].Match.Source
		if dir == model.Egress {
			peer = &rules[i].Match.Destination
		}
		for _, p := range ofFamily(peer.Nets, f) {
			edges = append(edges, netEdge{p, n, false})
		}
		for _, p := range ofFamily(peer.NotNets, f) {
			edges = append(edges, netEdge{p, n, true})
		}
	}
	var out []index.Rule
	for _, l := range layersOf(edges, len(group)) {
		like := &rules[group[0]]
		r := *like.Rule
		peer := &r.Match.Source
		if dir == model.Egress {
			peer = &r.Match.Destination
		}
		peer.Nets, peer.NotNets = l.nets, l.notNets
		out = append(out, index.Rule{Rule: &r, Source: like.Source, Destination: like.Destination})
	}
	return out
}

// netEdge is a block of a peer, by number, or an exception of one.
type netEdge struct {
	net    netip.Prefix
	peer   int
	except bool
}

// layer is blocks, disjoint, and exceptions within them.
type layer struct{ nets, notNets []netip.Prefix }

// layersOf returns what peers match together, in as many layers as blocks and
// exceptions are nested: an address is matched if in one of the layers it is in
// one of the blocks and in no exception. Two blocks are either disjoint, or one
// holds the other: so a walk through them, sorted, is always within a chain of
// blocks, each in the one before.
func layersOf(edges []netEdge, peers int) []layer {
	slices.SortFunc(edges, func(a, b netEdge) int { return a.net.Compare(b.net) })
	w := layerWalk{within: make([]int, peers), excepted: make([]int, peers)}
	for i := 0; i < len(edges); {
		at := edges[i].net
		j := i
		for j < len(edges) && edges[j].net == at {
			j++
		}
		w.leave(at)
		w.enter(edges[i:j])
		i = j
	}
	return w.layers
}

// layerWalk is a walk through blocks.
type layerWalk struct {
	// within and excepted are how many blocks and exceptions of a peer the walk is
	// in, matching how many peers match there.
	within, excepted []int
	matching         int
	open             []openNet
	layers           []layer
}

// openNet is a block that the walk is in, with what is known of it there. Turns
// is how often what matches and what does not have taken turns from the outside.
type openNet struct {
	edges []netEdge
	turns int
}

func (w *layerWalk) turns() int {
	if len(w.open) == 0 {
		return 0
	}
	return w.open[len(w.open)-1].turns
}

// leave ends all open blocks that the next one is not in.
func (w *layerWalk) leave(next netip.Prefix) {
	for n := len(w.open) - 1; n >= 0 && !w.open[n].edges[0].net.Contains(next.Addr()); n-- {
		w.count(w.open[n].edges, -1)
		w.open = w.open[:n]
	}
}

// enter opens a block.
func (w *layerWalk) enter(edges []netEdge) {
	turns := w.turns()
	w.count(edges, 1)
	if matched := turns%2 == 1; (w.matching > 0) != matched {
		if !matched && turns/2 == len(w.layers) {
			w.layers = append(w.layers, layer{})
		}
		if l := &w.layers[turns/2]; matched {
			l.notNets = append(l.notNets, edges[0].net)
		} else {
			l.nets = append(l.nets, edges[0].net)
		}
		turns++
	}
	w.open = append(w.open, openNet{edges, turns})
}

func (w *layerWalk) count(edges []netEdge, n int) {
	for _, e := range edges {
		matches := func() bool { return w.within[e.peer] > 0 && w.excepted[e.peer] == 0 }
		before := matches()
		if e.except {
			w.excepted[e.peer] += n
		} else {
			w.within[e.peer] += n
		}
		switch after := matches(); {
		case after && !before:
			w.matching++
		case before && !after:
			w.matching--
		}
	}
}
