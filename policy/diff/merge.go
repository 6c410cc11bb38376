package diff

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// grouping files pairs of classes by what changes between them.
type grouping struct {
	groups   map[string]*group
	families map[uint8][]*class
}

// group is all pairs of classes of one family with one change of one space.
type group struct {
	delta
	where  relationSet
	family uint8
	rows   map[int][]int // to-classes by from-class, both sorted
}

func (g *grouping) add(d delta, where relationSet, family uint8, from, to int) {
	key := fmt.Appendf(nil, "%d %d %d\n", d.kind.rank(), where, family)
	key = appendSides(appendSides(key, d.before), d.after)
	key = d.space.AppendKey(key)
	gr := g.groups[string(key)]
	if gr == nil {
		gr = &group{delta: d, where: where, family: family, rows: map[int][]int{}}
		g.groups[string(key)] = gr
	}
	gr.rows[from] = append(gr.rows[from], to)
}

func appendSides(b []byte, s sides) []byte {
	e, i := &s.egress, &s.ingress
	return fmt.Appendf(b, "%d %d %s %s %q %s %d %q %d %s %s %q %s %d %q\n", s.action,
		e.Action, e.Stage, e.Reason, e.Tier, e.Policy, e.Rule, e.RuleName,
		i.Action, i.Stage, i.Reason, i.Tier, i.Policy, i.Rule, i.RuleName)
}

// rectangle is every pair of a set of classes and another.
type rectangle struct {
	delta
	where    relationSet
	family   uint8
	from, to []int
}

// changes puts the pairs together to as few changes as is easily found.
func (g *grouping) changes(n *names) []Change {
	keys := make([]string, 0, len(g.groups))
	for k := range g.groups {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var sided []sidedRectangle
	for _, k := range keys {
		gr := g.groups[k]
		for _, r := range gr.rectangles(g.families[gr.family]) {
			sided = append(sided, n.sided(r, g.families[gr.family]))
		}
	}
	return n.joinFamilies(sided)
}

// rectangles divides the pairs into rectangles: by rows with equal columns, or
// by columns with equal rows, each also with the pairs of a single endpoint with
// itself, which mean nothing, filled in.
func (g *group) rectangles(classes []*class) []rectangle {
	plain := byRows(g.rows)
	best := plain
	if len(plain) > 1 {
		candidates := [][][2][]int{swap(byRows(transpose(g.rows)))}
		if full := withSelf(g.rows, classes); full != nil {
			candidates = append(candidates, byRows(full), swap(byRows(transpose(full))))
		}
		for _, c := range candidates {
			if len(c) < len(best) {
				best = c
			}
		}
	}
	out := make([]rectangle, len(best))
	for i, r := range best {
		out[i] = rectangle{g.delta, g.where, g.family, r[0], r[1]}
	}
	return out
}

// byRows joins the rows that are equal.
func byRows(rows map[int][]int) [][2][]int {
	froms := make([]int, 0, len(rows))
	for f := range rows {
		froms = append(froms, f)
	}
	slices.Sort(froms)
	index := map[string]int{}
	var out [][2][]int
	var key []byte
	for _, f := range froms {
		key = key[:0]
		for _, t := range rows[f] {
			key = binary.AppendUvarint(key, uint64(t))
		}
		i, ok := index[string(key)]
		if !ok {
			i = len(out)
			index[string(key)] = i
			out = append(out, [2][]int{nil, rows[f]})
		}
		out[i][0] = append(out[i][0], f)
	}
	return out
}

func transpose(rows map[int][]int) map[int][]int {
	froms := make([]int, 0, len(rows))
	for f := range rows {
		froms = append(froms, f)
	}
	slices.Sort(froms)
	out := map[int][]int{}
	for _, f := range froms {
		for _, t := range rows[f] {
			out[t] = append(out[t], f)
		}
	}
	return out
}

func swap(rs [][2][]int) [][2][]int {
	for i := range rs {
		rs[i][0], rs[i][1] = rs[i][1], rs[i][0]
	}
	return rs
}

// withSelf adds, for classes of one endpoint, the pair of the class with
// itself where the class occurs; nil if there is none to add.
func withSelf(rows map[int][]int, classes []*class) map[int][]int {
	occurs := map[int]bool{}
	for f, ts := range rows {
		occurs[f] = true
		for _, t := range ts {
			occurs[t] = true
		}
	}
	out := map[int][]int{}
	for f, ts := range rows {
		out[f] = ts
	}
	added := false
	for c := range occurs {
		if !classes[c].single() {
			continue
		}
		if i, found := slices.BinarySearch(out[c], c); !found {
			out[c] = slices.Insert(slices.Clone(out[c]), i, c)
			added = true
		}
	}
	if !added {
		return nil
	}
	return out
}

// single reports whether the class is of one endpoint.
func (c *class) single() bool {
	for _, x := range c.atoms {
		if x.group >= 0 || x.who != c.first().who {
			return false
		}
	}
	return true
}

// sidedRectangle is a rectangle with its members.
type sidedRectangle struct {
	rectangle
	fromMembers, toMembers members
	families               []uint8
}

func (n *names) sided(r rectangle, classes []*class) sidedRectangle {
	s := sidedRectangle{rectangle: r, families: []uint8{r.family}}
	s.fromMembers, s.toMembers = membersOf(r.from, classes), membersOf(r.to, classes)
	return s
}

// icmp is of one family by its nature.
var icmp = packets.Protocol(model.ICMPv4).Union(packets.Protocol(model.ICMPv6))

// joinFamilies joins what is the same for IPv4 and IPv6 and makes changes of the result.
func (n *names) joinFamilies(rs []sidedRectangle) []Change {
	type key struct {
		change
		where relationSet
		space string
	}
	keyOf := func(r *sidedRectangle) key {
		return key{r.change, r.where, string(r.space.Subtract(icmp).AppendKey(nil))}
	}
	four := map[key][]int{}
	var out []Change
	gone := make([]bool, len(rs))
	for i := range rs {
		if rs[i].family == 4 {
			four[keyOf(&rs[i])] = append(four[keyOf(&rs[i])], i)
		}
	}
	for i := range rs {
		if rs[i].family != 6 {
			continue
		}
		for _, j := range four[keyOf(&rs[i])] {
			x, y := &rs[j], &rs[i]
			if len(x.families) > 1 || !n.sameMembers(x.fromMembers, y.fromMembers) || !n.sameMembers(x.toMembers, y.toMembers) {
				continue
			}
			x.space = x.space.Union(y.space)
			x.fromMembers = x.fromMembers.join(y.fromMembers)
			x.toMembers = x.toMembers.join(y.toMembers)
			x.families = []uint8{4, 6}
			gone[i] = true
			break
		}
	}
	for i := range rs {
		if !gone[i] {
			out = append(out, n.change(&rs[i])...)
		}
	}
	return out
}

// change makes changes of a rectangle: one, or one for each relation in which
// the endpoints can be if it is limited to more than one, but not to all.
func (n *names) change(r *sidedRectangle) []Change {
	c := Change{
		Kind: r.kind, From: n.peers(r.fromMembers, r.toMembers, r.kind, r.families), To: n.peers(r.toMembers, r.fromMembers, r.kind, r.families),
		Traffic: Traffic{Space: r.space}, Before: outcomeOf(r.before), After: outcomeOf(r.after),
	}
	if len(r.families) == 1 {
		c.Traffic.family = r.family
	}
	if len(r.families) == 1 && !icmp.Covers(r.space) && n.hasOther(r.fromMembers, r.family) && n.hasOther(r.toMembers, r.family) {
		c.Family = fmt.Sprintf("IPv%d", r.family)
	}
	if r.where == 0 {
		return []Change{c}
	}
	var out []Change
	for rel, where := range []Where{DifferentNodes, MovedApart, MovedTogether, SameNode} {
		if r.where&(1<<rel) == 0 {
			continue
		}
		if c.Where = where; rel > 0 && (r.kind == Added || r.kind == Removed) {
			c.Where = SameNode // in the one world that has both
		}
		out = append(out, c)
	}
	return out
}
