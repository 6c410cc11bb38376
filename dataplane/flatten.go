package dataplane

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// leafOf says what a rule does where it matches. Rules that can do nothing are not ok.
func leafOf(p *index.Policy, r *index.Rule, dir model.Direction) (Leaf, bool) {
	if r.Match.Never {
		return Leaf{}, false
	}
	l := Leaf{
		Log: r.Action == model.Log,
		Origin: Origin{
			Tier: p.Tier, Policy: p.Ref, Direction: dir,
			Rule: model.RuleIndex(r.Index), Action: r.Action, Audit: p.Audit,
		},
	}
	switch {
	case p.Audit || r.Action == model.Log:
		l.Verdict = Continue
		l.Log = l.Log && !p.Audit
	case r.Action == model.Allow:
		l.Verdict = Accept
	case r.Action == model.Pass:
		l.Verdict = Next
	default:
		l.Verdict = Drop
	}
	return l, true
}

// conditions returns the alternatives of a rule, each a list of conditions that
// must all hold; none if the rule cannot match in the family. A rule whose ports
// are ranges or names has one for the ranges and one for each name.
func (c *setStore) conditions(r *index.Rule, f Family) [][]Cond {
	m := &r.Match
	if m.IPVersion != 0 && Family(m.IPVersion) != f {
		return nil
	}
	own, other := model.ICMPv4, model.ICMPv6
	if f == IPv6 {
		own, other = other, own
	}
	var all []Cond
	switch m.Protocol {
	case model.AnyProtocol:
	case other: // no packet of this family has it
		return nil
	default:
		all = append(all, Cond{Kind: CondProtocol, Protocol: m.Protocol})
	}
	if m.NotProtocol != model.AnyProtocol && m.NotProtocol != other {
		all = append(all, Cond{Kind: CondProtocol, Protocol: m.NotProtocol, Not: true})
	}
	if m.ICMP != nil {
		if m.Protocol == model.AnyProtocol {
			all = append(all, Cond{Kind: CondProtocol, Protocol: own})
		}
		all = append(all, icmpCond(m.ICMP, false))
	}
	if m.NotICMP != nil {
		// Without a protocol beside it the type of other protocols means nothing.
		if m.Protocol == own {
			all = append(all, icmpCond(m.NotICMP, true))
		}
	}
	all, ok := c.addresses(all, &m.Source, &r.Source, f, CondSrcAddr)
	if !ok {
		return nil
	}
	all, ok = c.addresses(all, &m.Destination, &r.Destination, f, CondDstAddr)
	if !ok {
		return nil
	}
	var out [][]Cond
	for _, src := range c.portAlternatives(&m.Source, &r.Source, CondSrcPorts, CondSrcAddrPort) {
		for _, dst := range c.portAlternatives(&m.Destination, &r.Destination, CondDstPorts, CondDstAddrPort) {
			out = append(out, slices.Concat(all, src, dst))
		}
	}
	return out
}

func icmpCond(i *model.ICMP, not bool) Cond {
	c := Cond{Kind: CondICMP, Type: i.Type, Not: not}
	if i.Code != nil {
		c.Code, c.HasCode = *i.Code, true
	}
	return c
}

// addresses adds the conditions on one side's address. It is not ok if no
// address of the family can meet them.
func (c *setStore) addresses(conds []Cond, p *model.Peer, s *index.PeerSets, f Family, kind CondKind) ([]Cond, bool) {
	add := func(set *Set, not bool) { conds = append(conds, Cond{Kind: kind, Not: not, Set: set}) }
	if p.Nets != nil {
		nets := ofFamily(p.Nets, f)
		if len(nets) == 0 {
			return nil, false
		}
		add(c.literal(nets), false)
	}
	if nets := ofFamily(p.NotNets, f); len(nets) > 0 {
		add(c.literal(nets), true)
	}
	if s.Selector != nil {
		add(c.set(s.Selector), false)
	}
	if s.NotSelector != nil {
		add(c.set(s.NotSelector), true)
	}
	if s.Service != nil {
		set := c.set(s.Service)
		if set.Kind == index.SetAddrPorts {
			kind += CondSrcAddrPort - CondSrcAddr
		}
		add(set, false)
	}
	if s.Domains != nil {
		add(c.set(s.Domains), false)
	}
	return conds, true
}

// portAlternatives returns the ways in which one side's ports can match. A side
// without ports has one way, which asks for nothing.
func (c *setStore) portAlternatives(p *model.Peer, s *index.PeerSets, ports, named CondKind) [][]Cond {
	var not []Cond
	if r := c.ranges(p.NotPorts); len(r.list) > 0 {
		not = append(not, Cond{Kind: ports, Not: true, Ports: r.list, hash: r.hash})
	}
	for _, set := range s.NotNamedPorts {
		not = append(not, Cond{Kind: named, Not: true, Set: c.set(set)})
	}
	if p.Ports == nil {
		return [][]Cond{not}
	}
	var out [][]Cond
	if r := c.ranges(p.Ports); len(r.list) > 0 {
		out = append(out, append(slices.Clone(not), Cond{Kind: ports, Ports: r.list, hash: r.hash}))
	}
	for _, set := range s.NamedPorts {
		out = append(out, append(slices.Clone(not), Cond{Kind: named, Set: c.set(set)}))
	}
	return out
}

// portRanges are the numbers among ports, merged.
type portRanges struct {
	list []PortRange
	hash *digest // Cond.hash
}

// ranges returns the numbers among ports. Rules with one list of ports get one list
// of ranges.
func (c *setStore) ranges(ports []model.Port) portRanges {
	key := portListOf(ports)
	out, ok := c.ranged[key]
	if !ok {
		out.list = ranges(ports)
		out.hash = hashOf(out.list)
		c.ranged[key] = out
	}
	return out
}

// ranges returns the numbers among ports, merged.
func ranges(ports []model.Port) []PortRange {
	var out []PortRange
	for _, p := range ports {
		if p.Name == "" {
			out = append(out, PortRange{p.First, p.Last})
		}
	}
	slices.SortFunc(out, func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	merged := out[:0]
	for _, r := range out {
		if n := len(merged); n > 0 && int(r.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// ofFamily returns the blocks of a family, sorted, without those inside others.
func ofFamily(nets []netip.Prefix, f Family) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range nets {
		if FamilyOf(p.Addr()) == f {
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	kept := out[:0]
	for _, p := range out {
		if n := len(kept); n == 0 || !kept[n-1].Contains(p.Addr()) {
			kept = append(kept, p)
		}
	}
	return kept
}
