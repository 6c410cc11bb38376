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
	// a and b are what answers in each world.
	a, b answering
	// dirty: its endpoints differ between the worlds, or something that affects one does.
	dirty bool
}

// answering is the port of a Service that answers at a door in one world.
type answering struct {
	service.Match
	// nodes on which its endpoints are, and pods that are its endpoints.
	nodes map[string]bool
	pods  map[model.Ref]bool
}

// ports finds what answers at each door that both worlds have.
func (d *differ) ports(classes []*class) map[door]*nodePort {
	clean := map[netip.Addr]bool{}
	for _, c := range classes {
		for _, x := range c.atoms {
			if c.clean && x.group < 0 && x.a.Addr == x.b.Addr {
				clean[x.a.Addr] = true
			}
		}
	}
	out := map[door]*nodePort{}
	for at, m := range d.doors[0] {
		if n, both := d.doors[1][at]; both {
			p := &nodePort{door: at, a: answeringAt(d.a, m), b: answeringAt(d.b, n)}
			p.dirty = m.Service.LocalExternal != n.Service.LocalExternal || !slices.Equal(m.Port.Endpoints, n.Port.Endpoints) ||
				slices.ContainsFunc(m.Port.Endpoints, func(to netip.AddrPort) bool { return !clean[to.Addr()] })
			out[at] = p
		}
	}
	return out
}

func answeringAt(e *packets.Evaluator, m service.Match) answering {
	out := answering{Match: m, nodes: map[string]bool{}, pods: map[model.Ref]bool{}}
	for _, to := range m.Port.Endpoints {
		p := e.Party(to.Addr())
		if p.Node != "" {
			out.nodes[p.Node] = true
		}
		if p.Pod != nil {
			out.pods[p.Pod.Ref] = true
		}
	}
	return out
}

// endpoints are those that get what a party sends to the door at an address, of the
// address's family.
func (s *answering) endpoints(e *packets.Evaluator, src, host *packets.Party) []netip.AddrPort {
	only, local := s.OnlyNode(placeOf(src), placeOf(host))
	var out []netip.AddrPort
	for _, to := range s.Port.Endpoints {
		if to.Addr().Is4() == host.Addr.Is4() && (!local || e.Party(to.Addr()).Node == only) {
			out = append(out, to)
		}
	}
	return out
}

func placeOf(p *packets.Party) service.Place {
	return service.Place{Node: p.Node, Inside: p.Pod != nil || p.Host, Host: p.Host}
}

// nodePorts compares what is sent to node ports and external addresses of Services. What
// the sender loses or gains with an endpoint directly, too, is left out: it is compared
// between these two.
func (d *differ) nodePorts(n *names, classes []*class) []Change {
	ports := d.ports(classes)
	if len(ports) == 0 {
		return nil
	}
	c := portComparison{differ: d, ports: ports, cache: map[portKey][]delta{}, groups: map[string]*portGroup{}}
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
	cache  map[portKey][]delta
	groups map[string]*portGroup
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
	door
	from, to *class
	// sender and host are the nodes of the two in each world, if endpoints are on them.
	sender, host [2]string
	apart        [2]bool   // the sender is not on the host's node, in each world
	self         model.Ref // the sender, if it is an endpoint
}

// atPort compares what the members of a group send to one door of an atom.
func (c *portComparison) atPort(p *nodePort, from, to *class, g, h *nodeGroup, y *atom) {
	k := portKey{door: p.door, from: from, to: to, apart: [2]bool{g.a == "" || g.a != h.a, g.b == "" || g.b != h.b}}
	for i, w := range []struct {
		in           *answering
		sender, host string
	}{{&p.a, g.a, h.a}, {&p.b, g.b, h.b}} {
		if w.in.nodes[w.sender] {
			k.sender[i] = w.sender
		}
		if w.in.nodes[w.host] {
			k.host[i] = w.host
		}
	}
	for _, x := range g.atoms {
		if x.group < 0 && x.who == y.who {
			continue
		}
		k.self = model.Ref{}
		if p.a.pods[x.who] || p.b.pods[x.who] {
			k.self = x.who
		}
		deltas, known := c.cache[k]
		if !known {
			deltas = c.compareAt(p, x, y)
			c.cache[k] = deltas
		}
		for i := range deltas {
			c.note(&deltas[i], p.b.Service.Ref, x, y)
		}
	}
}

// compareAt returns what differs for what one atom sends to a door of another.
func (c *portComparison) compareAt(p *nodePort, x, y *atom) []delta {
	unknown := len(p.a.Port.Endpoints) == 0 || len(p.b.Port.Endpoints) == 0
	results := func(in *answering, e *packets.Evaluator, src, host *packets.Party) []packets.Course {
		switch {
		case src == nil || host == nil:
			return nil
		case unknown: // as far as policies decide whatever the endpoint
			return e.BeforeTranslation(src, host).Courses
		}
		return e.Answers(src, host, p.protocol, p.port, in.endpoints(e, src, host))
	}
	before, after := results(&p.a, c.a, x.a, y.a), results(&p.b, c.b, x.b, y.b)
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
				s = s.Subtract(c.direct(p, x, y, a.Action))
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
func (c *portComparison) direct(p *nodePort, x, y *atom, was model.Action) packets.Space {
	var out packets.Space
	after := p.b.endpoints(c.b, x.b, y.b)
	for _, to := range p.a.endpoints(c.a, x.a, y.a) {
		if !slices.Contains(after, to) {
			continue
		}
		end, now := c.a.Party(to.Addr()), c.b.Party(to.Addr())
		for _, f := range c.a.Fate(x.a, end).Courses {
			for _, g := range c.b.Fate(x.b, now).Courses {
				if f.Action == was && g.Action != was {
					out = out.Union(f.Space.Intersect(g.Space).Redirect(p.protocol, to.Port(), p.port))
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

func (c *portComparison) note(found *delta, answers model.Ref, x, y *atom) {
	key := fmt.Appendf(nil, "%s %d %d\n", answers, found.kind.rank(), x.family)
	key = found.space.AppendKey(appendSides(appendSides(key, found.before), found.after))
	gr := c.groups[string(key)]
	if gr == nil {
		gr = &portGroup{group{delta: *found, family: x.family, rows: map[int][]int{}}, answers}
		c.groups[string(key)] = gr
	}
	if i, there := slices.BinarySearch(gr.rows[x.index], y.index); !there {
		gr.rows[x.index] = slices.Insert(gr.rows[x.index], i, y.index)
	}
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
