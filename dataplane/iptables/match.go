package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// match is what a rule asks of a packet. iptables takes one -p, one -s and one -d.
type match struct {
	protocol model.Protocol // AnyProtocol: none is asked for
	not      model.Protocol // the protocol is another one
	src, dst string         // -s and -d, complete
	rest     []string
}

func (m match) text() string {
	var parts []string
	switch {
	case m.protocol != model.AnyProtocol:
		parts = append(parts, fmt.Sprintf("-p %d", m.protocol))
	case m.not != model.AnyProtocol:
		parts = append(parts, fmt.Sprintf("! -p %d", m.not))
	}
	for _, s := range []string{m.src, m.dst} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(append(parts, m.rest...), " ")
}

// and is a match that asks for one thing more.
func (m match) and(arg string) match {
	m.rest = append(slices.Clone(m.rest), arg)
	return m
}

// withProtocol asks for a protocol; not ok if no packet has it and what is asked for already.
func (m match) withProtocol(p model.Protocol) (match, bool) {
	if m.protocol != model.AnyProtocol && m.protocol != p || m.not == p {
		return m, false
	}
	m.protocol, m.not = p, model.AnyProtocol
	return m, true
}

// withoutProtocol asks for any other protocol. Rules have one such condition at most.
func (m match) withoutProtocol(p model.Protocol) (match, bool) {
	switch m.protocol {
	case p:
		return m, false
	case model.AnyProtocol:
		m.not = p
	}
	return m, true
}

// matches returns the matches of which one must hold for all conditions to hold,
// and never more than one does; none if that cannot be.
func (g *programWriter) matches(conds []dataplane.Cond) []match {
	conds = slices.Clone(conds)
	slices.SortStableFunc(conds, func(x, y dataplane.Cond) int { return cost(&x) - cost(&y) })
	out := []match{{}}
	for i := range conds {
		var next []match
		for _, m := range out {
			next = append(next, g.cond(m, &conds[i])...)
		}
		out = next
	}
	return out
}

// cost orders conditions: protocols, what looks at the packet alone, then look-ups.
func cost(c *dataplane.Cond) int {
	switch {
	case c.Kind == dataplane.CondProtocol:
		return 0
	case c.Set == nil:
		return 1
	case !c.Set.IsCore():
		return 2
	}
	return 3
}

// cond adds a condition to a match.
func (g *programWriter) cond(m match, c *dataplane.Cond) []match {
	switch c.Kind {
	case dataplane.CondProtocol:
		with := match.withProtocol
		if c.Not {
			with = match.withoutProtocol
		}
		if m, ok := with(m, c.Protocol); ok {
			return []match{m}
		}
		return nil
	case dataplane.CondICMP:
		return []match{m.and(g.icmp(c))}
	case dataplane.CondSrcPorts:
		return ports(m, "sports", c.Not, c.Ports)
	case dataplane.CondDstPorts:
		return ports(m, "dports", c.Not, c.Ports)
	case dataplane.CondSrcAddrPort, dataplane.CondDstAddrPort:
		return g.addrPorts(m, c)
	}
	return g.addr(m, c)
}

// icmp is a condition on type and code. To iptables type 255 of IPv4 means all types.
func (g *sink) icmp(c *dataplane.Cond) string {
	not := ""
	if c.Not {
		not = "! "
	}
	value := fmt.Sprint(c.Type)
	if c.HasCode {
		value += fmt.Sprintf("/%d", c.Code)
	}
	switch {
	case g.family == dataplane.IPv6:
		return "-m icmp6 " + not + "--icmpv6-type " + value
	case c.Type == 255 && c.HasCode:
		return fmt.Sprintf("-m u32 %s--u32 \"0>>22&0x3C@0>>16=%d\"", not, 255<<8|int(c.Code))
	case c.Type == 255:
		return fmt.Sprintf("-m u32 %s--u32 \"0>>22&0x3C@0>>24=255\"", not)
	}
	return "-m icmp " + not + "--icmp-type " + value
}

// maxPorts is how many ports the multiport match takes; a range counts as two.
const maxPorts = 15

// ports asks for a port. The ranges are disjoint.
func ports(m match, field string, not bool, list []dataplane.PortRange) []match {
	if m.protocol != model.AnyProtocol && !m.protocol.HasPorts() || len(list) == 0 {
		if not { // no packet has such a port
			return []match{m}
		}
		return nil
	}
	var texts []string
	var text []string
	room := maxPorts
	for _, r := range list {
		s, n := fmt.Sprint(r.First), 1
		if r.First != r.Last {
			s, n = fmt.Sprintf("%d:%d", r.First, r.Last), 2
		}
		if room < n {
			texts, text, room = append(texts, strings.Join(text, ",")), nil, maxPorts
		}
		text, room = append(text, s), room-n
	}
	texts = append(texts, strings.Join(text, ","))
	if not {
		for _, t := range texts {
			m = m.and("-m multiport ! --" + field + " " + t)
		}
		return []match{m}
	}
	var out []match
	for _, t := range texts {
		out = append(out, m.and("-m multiport --"+field+" "+t))
	}
	return out
}

// addr asks for an address.
func (g *programWriter) addr(m match, c *dataplane.Cond) []match {
	not, field, flag, direction := "", &m.src, "-s", "src"
	if c.Kind == dataplane.CondDstAddr {
		field, flag, direction = &m.dst, "-d", "dst"
	}
	if c.Not {
		not = "! "
	}
	if !c.Set.IsCore() && len(c.Set.Nets) == 1 {
		switch all := c.Set.Nets[0].Bits() == 0; {
		case all && c.Not:
			return nil
		case all:
			return []match{m}
		case *field == "":
			*field = not + flag + " " + netText(c.Set.Nets[0])
			return []match{m}
		}
	}
	return []match{m.and(inSet(not, g.coreSet(c.Set, c.Not), direction))}
}

func inSet(not, name, direction string) string {
	return "-m set " + not + "--match-set " + name + " " + direction
}

func netText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.Masked().String()
}

// addrPorts asks for an address, a protocol and a port together.
func (g *programWriter) addrPorts(m match, c *dataplane.Cond) []match {
	direction := "src"
	if c.Kind == dataplane.CondDstAddrPort {
		direction = "dst"
	}
	if c.Set.Kind != index.SetAddrPorts {
		return nil
	}
	name, whole := g.portSets(c.Set, c.Not)
	pair := direction + "," + direction
	if c.Not { // all of them must not hold
		out := []match{m.and(inSet("! ", name, pair))}
		for _, w := range whole {
			var next []match
			for _, m := range out {
				if other, ok := m.withoutProtocol(w.protocol); ok {
					next = append(next, other)
				}
				if same, ok := m.withProtocol(w.protocol); ok {
					next = append(next, same.and(inSet("! ", w.name, direction)))
				}
			}
			out = next
		}
		return out
	}
	out := []match{m.and(inSet("", name, pair))}
	for _, w := range whole {
		if with, ok := m.withProtocol(w.protocol); ok {
			// Never both: what has all ports is asked for where no single port has matched.
			out = append(out, with.and(inSet("! ", name, pair)).and(inSet("", w.name, direction)))
		}
	}
	return out
}
