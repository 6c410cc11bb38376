package diff

import (
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
)

// ending is an endpoint of a nodePort.
type ending struct {
	to netip.AddrPort
	// a and b are its party in each world; nil where it is no endpoint.
	a, b *packets.Party
	// classes in each world; different for parties without one.
	classes [2]int
}

// classesByAddress are the numbers of the classes of endpoints, in each world.
func classesByAddress(classes []*class) [2]map[netip.Addr]int {
	out := [2]map[netip.Addr]int{{}, {}}
	for i, c := range classes {
		for _, x := range c.atoms {
			if x.group >= 0 {
				continue
			}
			if x.a != nil {
				out[0][x.a.Addr] = i
			}
			if x.b != nil {
				out[1][x.b.Addr] = i
			}
		}
	}
	return out
}

// endsOf are the ends that matter for two atoms: of those that are alike to both, the
// first.
func (c *portComparison) endsOf(p *nodePort, x, y *atom) []ending {
	nodeOf := func(p *packets.Party) string {
		if p == nil {
			return ""
		}
		return p.Node
	}
	nodes := [4]string{nodeOf(x.a), nodeOf(y.a), nodeOf(x.b), nodeOf(y.b)}
	var out []ending
	seen := map[likeness]bool{}
	for i := range p.ends {
		e := p.ends[i]
		if e.to.Addr().Is4() != (y.family == 4) {
			continue
		}
		if like := likenessOf(&e, nodes, x.who); !seen[like] {
			seen[like] = true
			out = append(out, e)
		}
	}
	return out
}

// likeness is equal for ends that are alike to a sender and a host.
type likeness struct {
	classes [2]int
	port    uint16
	self    bool
	in      [2]bool
	near    [4]bool // it is on the node of the sender, of the host: in each world
}

func likenessOf(e *ending, nodes [4]string, sender model.Ref) likeness {
	l := likeness{classes: e.classes, port: e.to.Port(), in: [2]bool{e.a != nil, e.b != nil}}
	for i, x := range []*packets.Party{e.a, e.b} {
		if x == nil {
			continue
		}
		l.self = l.self || x.Pod != nil && x.Pod.Ref == sender
		l.near[2*i] = x.Node != "" && x.Node == nodes[2*i]
		l.near[2*i+1] = x.Node != "" && x.Node == nodes[2*i+1]
	}
	return l
}

// sight numbers how the ends of a port are seen from the nodes of a sender and a host in
// each world: equal numbers for equal likenesses in the same order.
func (c *portComparison) sight(p *nodePort, g, h *nodeGroup) int {
	at := [4]string{g.a, h.a, g.b, h.b}
	for i := range at {
		if !p.onNode[i/2][at[i]] {
			at[i] = ""
		}
	}
	if id, known := p.sights[at]; known {
		return id
	}
	var key []byte
	seen := map[likeness]bool{}
	for i := range p.ends {
		e := &p.ends[i]
		l := likenessOf(e, at, model.Ref{})
		// One for each family, and one for each of the pods.
		if like := fmt.Appendf(nil, "%v %t;", l, e.to.Addr().Is4()); !seen[l] {
			seen[l], key = true, append(key, like...)
		}
	}
	id, known := c.sights[string(key)]
	if !known {
		id = len(c.sights)
		c.sights[string(key)] = id
	}
	p.sights[at] = id
	return id
}

// delivers reports whether an end gets what a party sends to the door of another.
func delivers(m *service.Match, end, src, host *packets.Party) bool {
	if end == nil {
		return false
	}
	only, local := m.OnlyNode(placeOf(src), placeOf(host))
	return !local || end.Node == only
}

func placeOf(p *packets.Party) service.Place {
	return service.Place{Node: p.Node, Inside: p.Pod != nil || p.Host, Host: p.Host}
}
