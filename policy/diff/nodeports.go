package diff

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
)

// nodePort is a port at which Services of both worlds answer: a node port, or a port of
// an external address.
type nodePort struct {
	door
	a, b service.Match
	ends []ending // of both worlds, sorted
	// onNode has the nodes of the ends in each world, and pods those that are pods.
	onNode [2]map[string]bool
	pods   map[model.Ref]bool
	// dirty: its ends differ between the worlds, or something that affects one does.
	dirty bool
	// sights numbers how ends are seen from two nodes: see portComparison.sight.
	sights map[[4]string]int
}

// ports finds what answers at each door that both worlds have.
func (d *differ) ports(classes []*class) map[door]*nodePort {
	out := map[door]*nodePort{}
	var of [2]map[netip.Addr]int
	for at, m := range d.doors[0] {
		n, both := d.doors[1][at]
		if !both {
			continue
		}
		if of[0] == nil {
			of = classesByAddress(classes)
		}
		p := &nodePort{door: at, a: m, b: n, pods: map[model.Ref]bool{}, sights: map[[4]string]int{}, dirty: m.Service.LocalExternal != n.Service.LocalExternal}
		ends := slices.Concat(m.Port.Endpoints, n.Port.Endpoints)
		slices.SortFunc(ends, netip.AddrPort.Compare)
		for _, to := range slices.Compact(ends) {
			e := ending{to: to}
			if slices.Contains(m.Port.Endpoints, to) {
				e.a = d.a.Party(to.Addr())
			}
			if slices.Contains(n.Port.Endpoints, to) {
				e.b = d.b.Party(to.Addr())
			}
			for i, x := range []*packets.Party{e.a, e.b} {
				c, known := of[i][to.Addr()]
				if !known {
					c = -1 - len(p.ends)
				}
				if e.classes[i] = c; x == nil {
					continue
				}
				if p.onNode[i] == nil {
					p.onNode[i] = map[string]bool{}
				}
				p.onNode[i][x.Node] = true
				if x.Pod != nil {
					p.pods[x.Pod.Ref] = true
				}
			}
			p.dirty = p.dirty || e.a == nil || e.b == nil || e.classes[0] != e.classes[1] || e.classes[0] < 0 || !classes[e.classes[0]].clean
			p.ends = append(p.ends, e)
		}
		out[at] = p
	}
	return out
}

// nodePorts compares what is sent to node ports and external addresses of Services. What
// the sender loses or gains with an endpoint directly, too, is left out: it is compared
// between these two.
func (d *differ) nodePorts(n *names, classes []*class) []Change {
	ports := d.ports(classes)
	if len(ports) == 0 {
		return nil
	}
	c := portComparison{differ: d, ports: ports, cache: map[portKey][]*portGroup{}, groups: map[string]*portGroup{}, sights: map[string]int{}}
	for _, to := range classes {
		if !slices.ContainsFunc(to.atoms, func(y *atom) bool { return y.opens != 0 }) {
			continue
		}
		for _, from := range classes {
			if from.family() == to.family() {
				c.pair(from, to)
			}
		}
	}
	return c.changes(n)
}

// portComparison collects the changes at the doors of both worlds.
type portComparison struct {
	*differ
	ports  map[door]*nodePort
	cache  map[portKey][]*portGroup
	groups map[string]*portGroup
	sights map[string]int // numbers of nodePort.sights
}

// portGroup is the pairs of atoms with the same change at one port.
type portGroup struct {
	group
	service model.Ref
}

// pair compares what one class sends to the doors of another.
func (c *portComparison) pair(from, to *class) {
	for i := range to.byNode {
		h := &to.byNode[i]
		for _, y := range h.atoms {
			for _, at := range c.opens[y.opens].doors {
				p := c.ports[at]
				if p == nil || !p.dirty && from.clean && to.clean {
					continue
				}
				for j := range from.byNode {
					c.atPort(p, from, to, &from.byNode[j], h, y)
				}
			}
		}
	}
}

// portKey is what the result for a port depends on.
type portKey struct {
	port     *nodePort
	from, to *class
	sight    int
	apart    [2]bool   // the sender is not on the host's node, in each world
	self     model.Ref // the sender, if it is an endpoint
}

// atPort compares what the members of a group send to one door of an atom.
func (c *portComparison) atPort(p *nodePort, from, to *class, g, h *nodeGroup, y *atom) {
	k := portKey{port: p, from: from, to: to, sight: c.sight(p, g, h), apart: [2]bool{g.a == "" || g.a != h.a, g.b == "" || g.b != h.b}}
	for _, x := range g.atoms {
		if x.group < 0 && x.who == y.who {
			continue
		}
		k.self = model.Ref{}
		if p.pods[x.who] {
			k.self = x.who
		}
		changes, known := c.cache[k]
		if !known {
			for _, found := range c.compareAt(p, x, y) {
				changes = append(changes, c.group(found, p, x.family))
			}
			c.cache[k] = changes
		}
		for _, gr := range changes {
			gr.rows[x.index] = append(gr.rows[x.index], y.index)
		}
	}
}

// compareAt returns what differs for what one atom sends to a door of another.
func (c *portComparison) compareAt(p *nodePort, x, y *atom) []delta {
	ends := c.endsOf(p, x, y)
	unknown := len(p.a.Port.Endpoints) == 0 || len(p.b.Port.Endpoints) == 0
	results := func(e *packets.Evaluator, m *service.Match, src, host *packets.Party, second bool) []packets.Course {
		switch {
		case src == nil || host == nil:
			return nil
		case unknown: // as far as policies decide whatever the endpoint
			return e.BeforeTranslation(src, host).Courses
		}
		var list []netip.AddrPort
		for i := range ends {
			end := ends[i].a
			if second {
				end = ends[i].b
			}
			if delivers(m, end, src, host) {
				list = append(list, ends[i].to)
			}
		}
		return e.Answers(src, host, p.protocol, p.port, list)
	}
	before, after := results(c.a, &p.a, x.a, y.a, false), results(c.b, &p.b, x.b, y.b, true)
	port := packets.DstPorts(p.protocol, p.port, p.port)
	switch {
	case x.a == nil || y.a == nil:
		return allowedOf(Added, after, port)
	case x.b == nil || y.b == nil:
		return allowedOf(Removed, before, port)
	}
	var out []delta
	for i := range before {
		for j := range after {
			a, b := &before[i], &after[j]
			s := a.Space.Intersect(b.Space).Intersect(port)
			if a.Action == b.Action || s.IsEmpty() {
				continue
			}
			if !unknown {
				s = s.Subtract(c.direct(p, ends, x, y, a.Action))
			}
			if ch, ok := c.changeOf(a, b); ok && !s.IsEmpty() {
				out = add(out, delta{ch, s})
			}
		}
	}
	return out
}

// direct is the traffic to a door of which the result also changes from was if it is sent
// straight to an endpoint.
func (c *portComparison) direct(p *nodePort, ends []ending, x, y *atom, was model.Action) packets.Space {
	var out packets.Space
	for i := range ends {
		e := &ends[i]
		if !delivers(&p.a, e.a, x.a, y.a) || !delivers(&p.b, e.b, x.b, y.b) {
			continue
		}
		for _, f := range c.a.Fate(x.a, e.a).Courses {
			for _, g := range c.b.Fate(x.b, e.b).Courses {
				if f.Action == was && g.Action != was {
					out = out.Union(f.Space.Intersect(g.Space).Redirect(p.protocol, e.to.Port(), p.port))
				}
			}
		}
	}
	return out
}

// allowedOf is the traffic to a door that is allowed in the only world with both ends.
func allowedOf(kind Kind, courses []packets.Course, port packets.Space) []delta {
	var s packets.Space
	for i := range courses {
		if courses[i].Action == model.Allow {
			s = s.Union(courses[i].Space)
		}
	}
	if s = s.Intersect(port); s.IsEmpty() {
		return nil
	}
	return []delta{{change{kind: kind}, s}}
}

// group is the group of a change at a port.
func (c *portComparison) group(found delta, p *nodePort, family uint8) *portGroup {
	key := fmt.Appendf(nil, "%s %d %d\n", p.b.Service.Ref, found.kind.rank(), family)
	key = found.space.AppendKey(appendSides(appendSides(key, found.before), found.after))
	gr := c.groups[string(key)]
	if gr == nil {
		gr = &portGroup{group{delta: found, family: family, rows: map[int][]int{}}, p.b.Service.Ref}
		c.groups[string(key)] = gr
	}
	return gr
}

// changes merges the pairs into as few changes as is easily possible.
func (c *portComparison) changes(n *names) []Change {
	each := make([]*class, len(c.atoms))
	for i := range c.atoms {
		each[i] = &class{atoms: []*atom{&c.atoms[i]}}
	}
	keys := make([]string, 0, len(c.groups))
	for k := range c.groups {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	found := map[model.Ref][]sidedRectangle{}
	var services []model.Ref
	for _, k := range keys {
		gr := c.groups[k]
		for x, ys := range gr.rows {
			slices.Sort(ys)
			gr.rows[x] = slices.Compact(ys)
		}
		if found[gr.service] == nil {
			services = append(services, gr.service)
		}
		for _, r := range gr.rectangles(each) {
			found[gr.service] = append(found[gr.service], n.sided(r, each))
		}
	}
	var out []Change
	for _, s := range services {
		for _, ch := range n.joinFamilies(found[s]) {
			ch.To.Text += ", at a port of " + s.String()
			out = append(out, ch)
		}
	}
	return out
}
