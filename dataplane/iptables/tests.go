package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
	"github.com/tierwall/tierwall/policy/model"
)

const (
	established = "-m conntrack --ctstate RELATED,ESTABLISHED"
	// midstream matches what goes on with a TCP connection that the kernel does not know.
	midstream = "-p 6 -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"
	reset     = "-j REJECT --reject-with tcp-reset"
)

// tests returns the matches of which one must hold for all tests to hold. e is
// the effect of the rule.
func (g *generator) tests(list []base.Test, e effect) []string {
	out := []match{{}}
	for i := range list {
		var next []match
		for _, m := range out {
			next = append(next, g.test(m, &list[i], e)...)
		}
		out = next
	}
	texts := make([]string, 0, len(out))
	for _, m := range out {
		texts = append(texts, m.text())
	}
	return texts
}

// test adds a test to a match.
func (g *generator) test(m match, t *base.Test, e effect) []match {
	not := ""
	if t.Not {
		not = "! "
	}
	one := func(arg string) []match { return []match{m.and(arg)} }
	switch t.Kind {
	case base.Established:
		return one(established)
	case base.Midstream:
		m.protocol = model.TCP
		return []match{m.and(strings.TrimPrefix(midstream, "-p 6 "))}
	case base.SCTPMidstream:
		m.protocol = model.SCTP
		return []match{m.and("-m conntrack --ctstate NEW -m sctp ! --chunk-types only INIT -m sctp ! --chunk-types only HEARTBEAT")}
	case base.Unknown:
		return one("-m conntrack --ctstate NEW,INVALID")
	case base.FlowBarred:
		return one(inSet("", g.bar(), barFields))
	case base.SYN:
		m.protocol = model.TCP
		return []match{m.and("-m tcp --tcp-flags FIN,SYN,RST,ACK SYN")}
	case base.INIT:
		m.protocol = model.SCTP
		return []match{m.and("-m sctp --chunk-types only INIT")}
	case base.SrcIn:
		return one(inSet(not, g.baseSet(t.Set, e, t.Not), "src"))
	case base.DstIn:
		return one(inSet(not, g.baseSet(t.Set, e, t.Not), "dst"))
	case base.LinkIn:
		return one(inSet(not, g.baseSet(t.Set, e, t.Not), "src,src"))
	case base.InIs:
		return one(fmt.Sprintf("%s-i %q", not, naming.Plain(t.Name, 15)))
	case base.OutIs:
		return one(fmt.Sprintf("%s-o %q", not, naming.Plain(t.Name, 15)))
	case base.SrcLocal:
		return one("-m addrtype " + not + "--src-type LOCAL")
	case base.DstLocal:
		return one("-m addrtype " + not + "--dst-type LOCAL")
	case base.SrcNet:
		m.src = "-s " + netText(t.Net)
		return []match{m}
	case base.DstNet:
		m.dst = "-d " + netText(t.Net)
		return []match{m}
	case base.Proto:
		m.protocol = t.Protocol
		return []match{m}
	case base.DstPorts:
		return ports(m, "dports", t.Not, t.Ports)
	case base.SrcPorts:
		return ports(m, "sports", t.Not, t.Ports)
	case base.ICMPv6Type:
		var out []match
		m.protocol = model.ICMPv6
		for n := int(t.First); n <= int(t.Last); n++ {
			out = append(out, m.and(fmt.Sprintf("-m icmp6 --icmpv6-type %d", n)))
		}
		return out
	case base.HopLimit255:
		return one("-m hl --hl-eq 255")
	}
	bits := g.opts.Bits(t.Bits)
	return one(fmt.Sprintf("-m mark %s--mark 0x%08x/0x%08x", not, bits, bits))
}

// baseSet returns the kernel's name of a set of the base for a rule of an effect.
// Rules to which a set means one thing only have a copy of their own: so pods
// come and go without a set being made anew and those rules being written.
func (g *generator) baseSet(s base.Set, e effect, not bool) string {
	key := string(s)
	switch {
	case e == opens && !g.filter():
		key += "-early"
	case e == opens:
		key += "-o"
	case e == closes:
		key += "-c"
	}
	kind, elems := g.baseElems(s)
	name := g.set(key, kind, elems)
	g.note(g.key(key), e, not)
	return name
}

// baseElems are what a set of the base holds.
func (g *generator) baseElems(s base.Set) (kind string, elems []elem) {
	switch s {
	case base.Pods:
		return typeAddrs, g.singles(g.addrs(g.family))
	case base.Governed:
		return typeAddrs, g.singles(slices.DeleteFunc(g.addrs(g.family), func(a netip.Addr) bool { return !g.owners[a].HasPolicies(g.family) }))
	case base.Own:
		own := slices.Clone(g.state.NodeAddrs)
		for _, h := range g.hosts {
			own = append(own, h.Addrs...)
		}
		return typeAddrs, g.singles(own)
	case base.PodBlocks:
		return typeNets, g.blocks(g.state.PodCIDRs)
	case base.Foreign:
		return typeNets, append(g.singles(g.state.Foreign), g.blocks(g.state.ForeignNets)...)
	case base.Nodes:
		return typeAddrs, g.singles(g.state.ClusterAddrs)
	case base.ClusterBlocks:
		return typeNets, g.blocks(g.state.ClusterBlocks)
	case base.Sources:
		return typeLinks, g.sources()
	}
	var bound []netip.Addr
	if g.state.Links != nil {
		for _, p := range g.state.Links.Pods {
			bound = append(bound, p.Addr)
		}
	}
	return typeAddrs, g.singles(bound)
}

func (g *generator) singles(addrs []netip.Addr) []elem {
	var out []elem
	for _, a := range addrs {
		if dataplane.FamilyOf(a) == g.family {
			out = append(out, single(a))
		}
	}
	return out
}

func (g *generator) blocks(nets []netip.Prefix) []elem {
	var out []elem
	for _, p := range nets {
		if dataplane.FamilyOf(p.Addr()) == g.family {
			out = append(out, blocks(p)...)
		}
	}
	return out
}

// sources are addresses with the interfaces of their pods. (A set cannot be asked
// for ports of bridges by a rule: see portChecks.)
func (g *generator) sources() []elem {
	var out []elem
	for _, p := range g.state.Links.Pods {
		if dataplane.FamilyOf(p.Addr) == g.family {
			e := single(p.Addr)
			e.link = p.Interface
			out = append(out, e)
		}
	}
	return out
}
