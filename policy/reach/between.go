package reach

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Way is traffic that is allowed between two units, and what allows it.
type Way struct {
	// Traffic that is allowed this way.
	Traffic packets.Space
	// Family is 4 or 6 if the way is open only to addresses of that family although
	// both units have the other as well; otherwise 0.
	Family uint8
	// Nodes names the pairs for which the way is open, if that makes a difference.
	Nodes Nodes
	// Egress and Ingress are the verdicts that allowed the traffic in each direction.
	// Their Endpoint is empty, and so is the whole verdict if nothing could decide.
	Egress, Ingress model.Verdict
}

// Nodes relates the nodes of the two ends of a way.
type Nodes string

// The values of Nodes.
const (
	AnyNodes       Nodes = ""
	SameNode       Nodes = "same node"
	DifferentNodes Nodes = "different nodes"
)

// Between returns the ways from one unit to another that are open to each pair of their
// members, in a fixed order; from a unit to itself, those between different members. An
// empty result means that nothing is allowed, or that there is no such pair.
func (m *Map) Between(from, to *Unit) []Way {
	if len(from.members) == 1 && len(to.members) == 1 && from.members[0].ref == to.members[0].ref && from.members[0].ref != (model.Ref{}) {
		return nil
	}
	if packets.NodeMatters(from.members[0].parties[0], to.members[0].parties[0]) {
		return m.merge(from, to)
	}
	k := [2]int{from.class, to.class}
	ways, ok := m.between[k]
	if !ok {
		ways = m.merge(from, to)
		m.between[k] = ways
	}
	return ways
}

// merge evaluates a pair for each family and, where it matters, for each relation of nodes.
func (m *Map) merge(from, to *Unit) []Way {
	var lists [][]Way
	matters := packets.NodeMatters(from.members[0].parties[0], to.members[0].parties[0])
	var relations []Nodes
	for _, r := range []Nodes{SameNode, DifferentNodes} {
		f, t := pair(from, to, r, matters)
		if f == nil {
			continue
		}
		relations = append(relations, r)
		lists = append(lists, m.families(f, t))
		if !matters {
			break
		}
	}
	switch {
	case len(lists) == 0:
		return nil
	case len(lists) == 1:
		return lists[0]
	}
	var out []Way
	for _, w := range lists[0] {
		if i := slices.IndexFunc(lists[1], func(x Way) bool {
			return x.Family == w.Family && sameDeciders(&x, &w) && x.Traffic.Equal(w.Traffic)
		}); i >= 0 {
			lists[1] = slices.Delete(lists[1], i, i+1)
		} else {
			w.Nodes = relations[0]
		}
		out = append(out, w)
	}
	for _, w := range lists[1] {
		w.Nodes = relations[1]
		out = append(out, w)
	}
	return out
}

// pair finds two different members that are related in this way; nil if there are none.
// If the nodes make no difference, any two members will do.
func pair(from, to *Unit, r Nodes, matters bool) (f, t *member) {
	for i := range from.members {
		for j := range to.members {
			f, t := &from.members[i], &to.members[j]
			if f.ref == t.ref && f.ref != (model.Ref{}) {
				continue
			}
			a, b := f.parties[0].Node, t.parties[0].Node
			if !matters || (a != "" && a == b) == (r == SameNode) {
				return f, t
			}
		}
	}
	return nil, nil
}

// families joins what is allowed over IPv4 and over IPv6.
func (m *Map) families(f, t *member) []Way {
	var of [2][]Way
	both := 0
	for _, x := range f.parties {
		for _, y := range t.parties {
			if x.Addr.Is4() != y.Addr.Is4() {
				continue
			}
			both++
			i := 1
			if x.Addr.Is4() {
				i = 0
			}
			of[i] = m.one(x, y)
		}
	}
	if both < 2 {
		return slices.Concat(of[0], of[1])
	}
	pings := packets.Protocol(model.ICMPv4).Union(packets.Protocol(model.ICMPv6))
	var out []Way
	for _, w := range of[0] {
		i := slices.IndexFunc(of[1], func(x Way) bool {
			return sameDeciders(&x, &w) && x.Traffic.Subtract(pings).Equal(w.Traffic.Subtract(pings))
		})
		if i < 0 {
			w.Family = 4
		} else {
			w.Traffic = w.Traffic.Union(of[1][i].Traffic)
			of[1] = slices.Delete(of[1], i, i+1)
		}
		out = append(out, w)
	}
	for _, w := range of[1] {
		w.Family = 6
		out = append(out, w)
	}
	return out
}

// one evaluates one pair of addresses.
func (m *Map) one(x, y *packets.Party) []Way {
	if !m.ev.MayPass(x, y) {
		return nil
	}
	version := uint8(6)
	if x.Addr.Is4() {
		version = 4
	}
	there := packets.Family(version)
	var out []Way
	for _, c := range m.ev.Fate(x, y).Courses {
		traffic := c.Space.Intersect(there)
		if c.Action != model.Allow || traffic.IsEmpty() {
			continue
		}
		w := Way{Traffic: traffic}
		w.Egress, _ = c.Deciding(model.Egress)
		w.Ingress, _ = c.Deciding(model.Ingress)
		if i := slices.IndexFunc(out, func(o Way) bool { return sameDeciders(&o, &w) }); i >= 0 {
			out[i].Traffic = out[i].Traffic.Union(traffic)
		} else {
			out = append(out, w)
		}
	}
	return out
}

func sameDeciders(a, b *Way) bool { return same(&a.Egress, &b.Egress) && same(&a.Ingress, &b.Ingress) }

func same(a, b *model.Verdict) bool {
	return a.Reason == b.Reason && a.Stage == b.Stage && a.Tier == b.Tier && a.Policy == b.Policy && a.Rule == b.Rule
}

// Open is all traffic that is allowed by ways that are open to all pairs or, with some,
// also by ways that are open to only some of them.
func Open(ways []Way, some bool) packets.Space {
	var everywhere, somewhere packets.Space
	parts := map[[2]string]packets.Space{}
	for _, w := range ways {
		somewhere = somewhere.Union(w.Traffic)
		if w.Family == 0 && w.Nodes == AnyNodes {
			everywhere = everywhere.Union(w.Traffic)
			continue
		}
		k := [2]string{string(rune('0' + w.Family)), string(w.Nodes)}
		parts[k] = parts[k].Union(w.Traffic)
	}
	if some {
		return somewhere
	}
	// Traffic that each family, or each relation of nodes, allows by a separate way is
	// allowed everywhere.
	both := func(a, b packets.Space) packets.Space { return a.Intersect(b) }
	everywhere = everywhere.Union(both(parts[[2]string{"4", ""}], parts[[2]string{"6", ""}]))
	everywhere = everywhere.Union(both(parts[[2]string{"0", string(SameNode)}], parts[[2]string{"0", string(DifferentNodes)}]))
	return everywhere
}

// Comparable reports whether members of two units have addresses of one family.
func (m *Map) Comparable(from, to *Unit) bool {
	for _, x := range from.members[0].parties {
		for _, y := range to.members[0].parties {
			if x.Addr.Is4() == y.Addr.Is4() {
				return true
			}
		}
	}
	return false
}
