package diff

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/packets"
)

// class is a group of atoms that each world treats alike.
type class struct {
	atoms []*atom
	// clean: nothing that affects the class differs between the worlds.
	clean  bool
	byNode []nodeGroup // sorted
	// onNode are the positions in byNode by the node in each world; no entry for no
	// node.
	onNode [2]map[string][]int
}

// nodeGroup is the atoms of a class that are on the same node in each world.
type nodeGroup struct {
	a, b  string
	atoms []*atom
}

func (c *class) first() *atom  { return c.atoms[0] }
func (c *class) family() uint8 { return c.first().family }

// classes divides the atoms into classes, in the order of their first atoms.
func (w *worlds) classes() []*class {
	inA, inB := w.a.Halves(), w.b.Halves()
	both := packets.Common(inA, inB)
	byKey := map[string]*class{}
	var out []*class
	var key []byte
	for i := range w.atoms {
		x := &w.atoms[i]
		key = append(key[:0], x.family)
		// marks are where the role of each world begins and ends.
		var marks [2][2]int
		if x.a != nil {
			marks[0][0] = len(key) + 1
			key = w.a.Role(append(key, 'a'), x.a)
			marks[0][1] = len(key)
			key = binary.LittleEndian.AppendUint32(key, uint32(w.a.Sight(x.a, inA)))
		}
		if x.b != nil {
			marks[1][0] = len(key) + 1
			key = w.b.Role(append(key, 'b'), x.b)
			marks[1][1] = len(key)
			key = binary.LittleEndian.AppendUint32(key, uint32(w.b.Sight(x.b, inB)))
		}
		clean := x.a != nil && x.b != nil && x.a.Node == x.b.Node &&
			string(key[marks[0][0]:marks[0][1]]) == string(key[marks[1][0]:marks[1][1]]) &&
			w.a.Sight(x.a, both) == w.b.Sight(x.b, both)
		if clean {
			key = append(key, 'c')
		}
		if x.opens != 0 {
			key = binary.AppendUvarint(append(key, 'o'), uint64(x.opens))
		}
		c := byKey[string(key)]
		if c == nil {
			c = &class{clean: clean}
			byKey[string(key)] = c
			out = append(out, c)
		}
		c.atoms = append(c.atoms, x)
	}
	for _, c := range out {
		c.groupByNode()
	}
	return out
}

func (c *class) groupByNode() {
	index := map[[2]string]int{}
	for _, x := range c.atoms {
		var k [2]string
		if x.a != nil {
			k[0] = x.a.Node
		}
		if x.b != nil {
			k[1] = x.b.Node
		}
		i, ok := index[k]
		if !ok {
			i = len(c.byNode)
			index[k] = i
			c.byNode = append(c.byNode, nodeGroup{a: k[0], b: k[1]})
		}
		c.byNode[i].atoms = append(c.byNode[i].atoms, x)
	}
	slices.SortFunc(c.byNode, func(x, y nodeGroup) int {
		if d := strings.Compare(x.a, y.a); d != 0 {
			return d
		}
		return strings.Compare(x.b, y.b)
	})
	c.onNode = [2]map[string][]int{{}, {}}
	for i, g := range c.byNode {
		if g.a != "" {
			c.onNode[0][g.a] = append(c.onNode[0][g.a], i)
		}
		if g.b != "" {
			c.onNode[1][g.b] = append(c.onNode[1][g.b], i)
		}
	}
}

// relation reports whether two endpoints are on the same node, in each world.
type relation uint8

const (
	sameInA relation = 1 << iota
	sameInB
	relations = 4
)

// relationSet is a set of relations; 0 stands for any, if the relation makes no
// difference.
type relationSet uint8

// example is a pair of atoms that stands for all pairs of its relation.
type example struct {
	relation relation
	from, to *atom
}

// examples returns a pair of atoms of two classes for each relation in which members of
// them can be; only one pair if the relation makes no difference; none if nothing that
// affects the two classes has changed.
func examples(from, to *class) []example {
	f, t := from.first(), to.first()
	matters := false
	if f.a != nil && t.a != nil {
		matters = packets.NodeMatters(f.a, t.a)
	}
	if f.b != nil && t.b != nil {
		matters = matters || packets.NodeMatters(f.b, t.b)
	}
	if !matters {
		if x, y := distinct(from.atoms, to.atoms); x != nil {
			return []example{{0, x, y}}
		}
		return nil
	}
	var found [relations]*example
	try := func(g, h *nodeGroup) {
		r := relate(g, h)
		if found[r] != nil {
			return
		}
		if x, y := distinct(g.atoms, h.atoms); x != nil {
			found[r] = &example{r, x, y}
		}
	}
	// Few groups share a node in one world or the other.
	for i := range from.byNode {
		g := &from.byNode[i]
		for _, j := range to.onNode[0][g.a] {
			try(g, &to.byNode[j])
		}
		for _, j := range to.onNode[1][g.b] {
			try(g, &to.byNode[j])
		}
	}
	// Of those that share none, the first one will do.
apart:
	for i := range from.byNode {
		for j := range to.byNode {
			if relate(&from.byNode[i], &to.byNode[j]) == 0 {
				if try(&from.byNode[i], &to.byNode[j]); found[0] != nil {
					break apart
				}
			}
		}
	}
	var out []example
	for _, e := range found {
		if e != nil {
			out = append(out, *e)
		}
	}
	return out
}

func relate(g, h *nodeGroup) relation {
	var r relation
	if g.a != "" && g.a == h.a {
		r |= sameInA
	}
	if g.b != "" && g.b == h.b {
		r |= sameInB
	}
	return r
}

// distinct finds an atom in each list such that they do not belong to the same
// endpoint.
func distinct(from, to []*atom) (*atom, *atom) {
	for _, x := range from {
		for _, y := range to {
			if x.group >= 0 || x.who != y.who {
				return x, y
			}
		}
	}
	return nil, nil
}
