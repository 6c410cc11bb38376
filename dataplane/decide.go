package dataplane

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Decide runs a program as a kernel would, over what the Compiler holds. Tests
// hold it against the core's own evaluation, and backends against it.
func (c *Compiler) Decide(p *Program, f *model.Flow) Leaf {
	peer := f.Src
	for i := range p.Segments {
		s := &p.Segments[i]
		var l Leaf
		if s.Table == nil {
			l = c.try(s.Rules, f)
		} else {
			if s.Table.Side == CondDstAddr {
				peer = f.Dst
			}
			l = c.look(s.Table, peer, f)
		}
		if l.Verdict == Continue {
			l = s.End
		}
		if l.Verdict != Next {
			return l
		}
	}
	return p.Default
}

// look returns the leaf to which a table leads.
func (c *Compiler) look(t *Table, peer netip.Addr, f *model.Flow) Leaf {
	s := c.tables[t.ID].state
	if s.Linear() {
		return c.try(slices.Collect(t.Rules()), f)
	}
	rest := s.Rest(peer)
	if rest.Ports != nil {
		return rest.Ports.Leaf(f)
	}
	return c.try(rest.Rules, f)
}

// try returns the leaf of the first rule that decides, or one that continues.
func (c *setStore) try(rules []Rule, f *model.Flow) Leaf {
next:
	for i := range rules {
		for j := range rules[i].Conds {
			if c.holds(&rules[i].Conds[j], f) == rules[i].Conds[j].Not {
				continue next
			}
		}
		if rules[i].Leaf.Verdict != Continue {
			return rules[i].Leaf
		}
	}
	return Leaf{Verdict: Continue}
}

func (c *setStore) holds(cond *Cond, f *model.Flow) bool {
	switch cond.Kind {
	case CondProtocol:
		return cond.Protocol == f.Protocol
	case CondICMP:
		return cond.Type == f.ICMPType && (!cond.HasCode || cond.Code == f.ICMPCode)
	case CondSrcPorts:
		return f.Protocol.HasPorts() && inRanges(cond.Ports, f.SrcPort)
	case CondDstPorts:
		return f.Protocol.HasPorts() && inRanges(cond.Ports, f.DstPort)
	case CondSrcAddr:
		return c.contains(cond.Set, f.Src)
	case CondDstAddr:
		return c.contains(cond.Set, f.Dst)
	case CondSrcAddrPort:
		return c.containsPort(cond.Set, f.Src, f.Protocol, f.SrcPort)
	}
	return c.containsPort(cond.Set, f.Dst, f.Protocol, f.DstPort)
}

func (c *setStore) containsPort(s *Set, a netip.Addr, p model.Protocol, port uint16) bool {
	ports := c.sets[s.ID].ports
	m := index.Member{Prefix: netip.PrefixFrom(a, a.BitLen()), Protocol: p, Port: port}
	if _, ok := ports[m]; ok {
		return true
	}
	m.Port = 0
	_, ok := ports[m]
	return ok
}

// Leaf looks a packet up.
func (t *PortTable) Leaf(f *model.Flow) Leaf {
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Protocol == f.Protocol && (!f.Protocol.HasPorts() || e.First <= f.DstPort && f.DstPort <= e.Last) {
			return e.Leaf
		}
	}
	return t.Other
}
