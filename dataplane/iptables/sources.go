package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/naming"
)

// Every packet meets the source guard, those of established connections too. A set
// of addresses with interfaces takes the kernel several times as long as it takes to
// compare an address and an interface, which no match is called for. So what
// local pods send leaves the guard by such comparisons, found by blocks of
// addresses as programs are. They are short cuts: what they do not find is looked
// up in the sets, which alone decide, so that a short cut may be missing while rules
// change. To nftables comparisons are expressions like others: variant nft has none of them.

// commentShort is the comment of rules of short cuts, by which they are known in the kernel.
const commentShort = "a local pod by its own interface"

// shortChain begins the names of the chains of blocks.
const shortChain = chainPrefix + "near-"

// asksSources reports whether a rule lets local pods pass that come by their own interface.
func asksSources(r *base.Rule) bool {
	return slices.ContainsFunc(r.If, func(t base.Test) bool { return t.Kind == base.LinkIn && !t.Not })
}

// sourcesFirst writes the rule that asks for sources, behind the short cuts, and the rules that follow.
func (g *generator) sourcesFirst(name string, r *base.Rule, more []rule) []rule {
	links := map[netip.Addr][]rule{}
	for _, e := range g.sources() {
		if e.inKernel() {
			links[e.net.Addr()] = nil
		}
	}
	for i := range g.state.Links.Pods {
		p := &g.state.Links.Pods[i]
		if _, ok := links[p.Addr]; !ok {
			continue
		}
		match := fmt.Sprintf("-s %s -i %q", p.Addr, naming.Plain(p.Interface, 15))
		if p.Port != "" {
			match += fmt.Sprintf(" -m physdev --physdev-in %q", naming.Plain(p.Port, 15))
		}
		if short := (rule{match, "-j RETURN", commentShort}); !slices.Contains(links[p.Addr], short) {
			links[p.Addr] = append(links[p.Addr], short)
		}
	}
	addrs := make([]netip.Addr, 0, len(links))
	for a := range links {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	leaf := func(a netip.Addr) []rule { return links[a] }
	all := append(g.one(r), more...)
	if g.opts.Variant != Legacy {
		return all
	}
	t := tree{g: g, letter: shortChain, flag: "-s", comment: commentShort, leaf: leaf}
	if len(addrs) <= fanOut {
		return append(t.rules(name, addrs), all...)
	}
	rest := chainPrefix + "x-" + naming.Hash(name, "sources")
	g.chain(rest, all...)
	t.last = []rule{{"", "-g " + rest, ""}}
	return t.rules(name, addrs)
}

// portChecks are the chains in which what comes by a bridge is held to the port of
// its source's pod, found by address.
func (g *generator) portChecks(r *base.Rule) string {
	ports := map[netip.Addr]string{}
	var addrs []netip.Addr
	for _, p := range g.state.Links.Pods {
		if p.Port != "" && dataplane.FamilyOf(p.Addr) == g.family && ports[p.Addr] == "" {
			ports[p.Addr] = p.Port
			addrs = append(addrs, p.Addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	to := g.guardChain(r.Guard, r.Counted)
	return g.addrTree(chainPrefix+"ports", "-s", addrs, func(a netip.Addr) []rule {
		return []rule{{fmt.Sprintf("-s %s -m physdev ! --physdev-in %q", a, naming.Plain(ports[a], 15)), "-j " + to, ""}}
	})
}

// narrowed is the raw table that a family is to have, less the short cuts that
// the kernel does not hold: none stands before the rules that it is for.
func narrowed(have *tableShape, want *table) *table {
	if want == nil || have == nil {
		return want
	}
	out := newTable()
	out.hooks = want.hooks
	for c, rules := range want.chains {
		old, held := have.chains[c]
		if !held && strings.HasPrefix(c, shortChain) {
			continue
		}
		out.chains[c] = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool {
			return r.comment == commentShort && !slices.Contains(old, r.tagged())
		})
	}
	return out
}

// withoutShort is the table less its short cuts.
func (t *table) withoutShort() *table {
	if t == nil {
		return nil
	}
	out := newTable()
	out.hooks = t.hooks
	for c, rules := range t.chains {
		if !strings.HasPrefix(c, shortChain) {
			out.chains[c] = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.comment == commentShort })
		}
	}
	return out
}

// withoutShort is the same of a kernel's table.
func (t *tableShape) withoutShort() *tableShape {
	if t == nil {
		return nil
	}
	out := newTableShape()
	out.jumps = t.jumps
	for c, comments := range t.chains {
		if !strings.HasPrefix(c, shortChain) {
			out.chains[c] = slices.DeleteFunc(slices.Clone(comments), func(text string) bool { return strings.HasPrefix(text, commentShort+" #") })
		}
	}
	return out
}
