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

// The base chains in iptables' language. What they do is said in package base.
//
// An accept is a RETURN: it leaves our chains for the built-in one. So whatever
// accepts is entered by -g from the hook on; chains that are included are written
// out, rule by rule. Where the way of a packet parts by interface, which no set
// of this backend can hold, a chain of one rule an interface leads there, and
// what is left of the chain at hand becomes a chain of its own that it ends in.

// attached is where the chains of a point hang.
var attached = map[base.Point]string{
	base.RawPrerouting: "PREROUTING", base.RawOutput: "OUTPUT", base.ManglePrerouting: "PREROUTING",
	base.Input: "INPUT", base.Forward: "FORWARD", base.Output: "OUTPUT",
}

// tableOf writes the base chains of one of the tables.
func (g *generator) tableOf(name string, chains []base.Chain) {
	if len(chains) == 0 {
		return
	}
	g.in(name, func() {
		g.included = map[string][]base.Rule{}
		for _, c := range chains {
			if c.Asked {
				g.included[c.Name] = c.Rules
			}
		}
		if name == tableFilter {
			g.dispatchers()
		}
		for _, c := range chains {
			if c.Asked {
				continue
			}
			if c.Point == base.Nowhere {
				g.write(chainPrefix+c.Name, c.Rules)
				continue
			}
			hook := chainPrefix + attached[c.Point]
			g.t.hooks[attached[c.Point]] = hook
			if c.Point != base.Forward { // which output leads to as well
				g.write(hook, c.Rules)
				continue
			}
			g.write(hook, append(slices.Clone(c.Rules[:c.Common]), base.Rule{Then: base.Goto, Chain: c.Name}))
			g.write(chainForward, c.Rules[c.Common:])
		}
	})
}

// write writes a chain.
func (g *generator) write(name string, list []base.Rule) {
	g.chain(name, g.rules(name, g.writtenOut(list))...)
}

// writtenOut puts the rules of included chains in their places.
func (g *generator) writtenOut(list []base.Rule) []base.Rule {
	var out []base.Rule
	for _, r := range list {
		if r.Then != base.Include {
			out = append(out, r)
			continue
		}
		for _, in := range g.included[r.Chain] {
			in.If = slices.Concat(r.If, in.If)
			out = append(out, in)
		}
	}
	return out
}

// rules writes rules. Where one parts by interface and does not come back, the
// rest is a chain of its own.
func (g *generator) rules(name string, list []base.Rule) []rule {
	var out []rule
	for i := range list {
		r := &list[i]
		tests := slices.DeleteFunc(slices.Clone(r.If), func(t base.Test) bool { return t.Kind == base.FromLink || t.Kind == base.ToLink })
		switch {
		case slices.ContainsFunc(r.If, isPair):
			out = append(out, g.pairs(r)...)
		case asksSources(r):
			return append(out, g.sourcesFirst(name, r, g.rules(name, list[i+1:]))...)
		case len(tests) == len(r.If):
			out = append(out, g.one(r)...)
		case comesBack(r.Then):
			helper := g.links(name, i, r)
			out = append(out, g.leading(tests, "-j "+helper, r)...)
		default:
			// Those that follow and part alike go by the same chain: each chain on the
			// way is one of 16 levels that the kernel's nftables takes.
			n := i + 1
			for n < len(list) && byLinkAndGone(&list[n]) {
				n++
			}
			rest := chainPrefix + "x-" + naming.Hash(name, fmt.Sprint(i))
			g.chain(rest, g.rules(rest, list[n:])...)
			return append(out, rule{"", "-g " + g.parting(name, list[i:n], rest), r.Comment})
		}
	}
	return out
}

func isPair(t base.Test) bool { return t.Kind == base.PairIn }

// pairs writes a rule for what a pod sends itself, of which no set holds the pairs of
// addresses: a tree of chains marks it, and what the mark leads to takes it off.
func (g *generator) pairs(r *base.Rule) []rule {
	plain := *r
	plain.If = slices.DeleteFunc(slices.Clone(r.If), isPair)
	selves := g.once(chainPrefix+"selves", func() []rule {
		tree := g.addrTree(chainPrefix+"self", "-s", g.addrs(g.family), func(a netip.Addr) []rule {
			var rules []rule
			for _, b := range g.mates(a) {
				rules = append(rules, rule{"-s " + a.String() + " -d " + b.String(), setMark(g.opts.Accepted), ""})
			}
			return rules
		})
		return []rule{{"", clearMark(g.opts.Accepted), ""}, {"", "-g " + tree, ""}}
	})
	unmarked := g.once(chainPrefix+"unmark", func() []rule { return []rule{{"", clearMark(g.opts.Accepted), ""}} })
	var out []rule
	for _, m := range g.tests(plain.If, mixed) {
		out = append(out, rule{m, "-j " + selves, r.Comment}, rule{strings.TrimSpace(m + " " + isMarked(g.opts.Accepted)), "-g " + unmarked, r.Comment})
	}
	return out
}

// mates are the addresses of the local pod that has an address.
func (g *generator) mates(a netip.Addr) []netip.Addr {
	e := g.owners[a]
	return slices.DeleteFunc(slices.Clone(e.Addrs), func(b netip.Addr) bool { return dataplane.FamilyOf(b) != g.family || g.owners[b].Ref != e.Ref })
}

// comesBack reports whether packets go on with the next rule, or never.
func comesBack(a base.Action) bool {
	switch a {
	case base.Accept, base.Return, base.Goto:
		return false
	}
	return true
}

// leading are the rules that lead to a helper.
func (g *generator) leading(tests []base.Test, target string, r *base.Rule) []rule {
	var out []rule
	for _, m := range g.tests(tests, mixed) {
		out = append(out, rule{m, target, r.Comment})
	}
	return out
}

// one writes a rule that does not part by interface.
func (g *generator) one(r *base.Rule) []rule {
	var out []rule
	for _, m := range g.tests(r.If, g.effectOfAction(r)) {
		for _, target := range g.targets(r) {
			out = append(out, rule{m, target, r.Comment})
		}
		if r.Then == base.ByAddr || r.Then == base.Run && r.Program.Default.Verdict != dataplane.Open {
			out = append(out, rule{strings.TrimSpace(m + " " + isMarked(g.opts.Accepted)), clearMark(g.opts.Accepted), ""})
		}
	}
	return out
}

// effectOfAction is what it does that more packets match a rule. In the early
// tables an accept leaves out policies that may allow, too.
func (g *generator) effectOfAction(r *base.Rule) effect {
	switch {
	case r.Then == base.Count:
		return neutral
	case r.Then == base.Drop:
		return closes
	case asksSources(r):
		return opens
	case r.Then == base.Accept && (g.filter() || leavesOutPods(r)):
		return opens
	}
	return mixed
}

// filter reports whether the filter table is being written.
func (g *generator) filter() bool { return g.t == g.rs.of(g.family)[tableFilter] }

// leavesOutPods reports whether a rule exempts what pods send: no policy of an
// early table allows such packets for later ones.
func leavesOutPods(r *base.Rule) bool {
	return len(r.If) == 1 && r.If[0].Kind == base.SrcIn && r.If[0].Set == base.Pods
}

func (g *generator) targets(r *base.Rule) []string {
	switch r.Then {
	case base.Drop:
		if r.Guard != "" {
			return []string{"-j " + g.guardChain(r.Guard, false)}
		}
		return []string{"-j DROP"}
	case base.Count:
		return []string{"-j " + g.guardChain(r.Guard, true)}
	case base.CheckPort:
		return []string{"-m physdev --physdev-is-in -j " + g.portChecks(r)}
	case base.Reset:
		return []string{reset}
	case base.Jump:
		return []string{"-j " + chainPrefix + r.Chain}
	case base.Goto:
		return []string{"-g " + chainPrefix + r.Chain}
	case base.Run:
		return []string{"-j " + g.program(r.Program, r.Spare)}
	case base.ByAddr:
		if r.Direction == model.Egress {
			return []string{"-j " + chainEgress}
		}
		return []string{"-j " + chainIngress}
	case base.ByLink:
		return []string{"-g " + g.byLink(r)}
	case base.SetMark:
		return []string{setMark(g.opts.Bits(r.Bits))}
	case base.ClearMark:
		return []string{clearMark(g.opts.Bits(r.Bits))}
	case base.Renew:
		return []string{fmt.Sprintf("-j SET --add-set %s %s --exist --timeout %d", g.bar(), barFields, barSeconds)}
	case base.NoTrack:
		return []string{"-j CT --notrack"}
	}
	return []string{"-j RETURN"}
}

// sparedChain is the chain that counts for a guard what a program would drop, and accepts it.
func (g *generator) sparedChain(name model.GuardName) string {
	o := dataplane.GuardOrigin(name, true)
	return g.once(chainPrefix+"g-"+string(name)+"-s", func() []rule {
		g.rs.origins[chainPrefix+"g-"+string(name)+"-s"] = o
		return []rule{{"", setMark(g.opts.Accepted), o.String()}}
	})
}

// guardChain is the chain that counts for a guard, and drops unless it only counts.
func (g *generator) guardChain(name model.GuardName, counted bool) string {
	chain := chainPrefix + "g-" + string(name)
	o := dataplane.GuardOrigin(name, counted)
	target := "-j DROP"
	if counted {
		chain, target = chain+"-n", ""
	}
	return g.once(chain, func() []rule {
		g.rs.origins[chain] = o
		return []rule{{"", target, o.String()}}
	})
}
