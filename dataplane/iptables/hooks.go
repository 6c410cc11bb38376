package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
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
	base.HoldInput: "INPUT", base.HoldForward: "FORWARD", base.HoldOutput: "OUTPUT",
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
			rest := chainPrefix + "x-" + dataplane.Hash(name, fmt.Sprint(i))
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

// byLinkAndGone reports whether a rule parts by the interface by which a packet
// comes, for good.
func byLinkAndGone(r *base.Rule) bool {
	return !comesBack(r.Then) && slices.ContainsFunc(r.If, func(t base.Test) bool { return t.Kind == base.FromLink || t.Kind == base.ToLink })
}

// parting writes the chain that does what rules do for each interface, or port of
// a bridge, that leads to a local pod; all else goes on to rest.
func (g *generator) parting(name string, list []base.Rule, rest string) string {
	helper := chainPrefix + "k-" + dataplane.Hash(name, rest)
	rules := g.uplinks("-i", "-g "+rest)
	for i := range list {
		plain := list[i]
		plain.If = slices.DeleteFunc(slices.Clone(plain.If), func(t base.Test) bool { return t.Kind == base.FromLink || t.Kind == base.ToLink })
		out := slices.ContainsFunc(list[i].If, func(t base.Test) bool { return t.Kind == base.ToLink })
		for _, link := range g.linkMatches(out) {
			for _, t := range g.one(&plain) {
				rules = append(rules, rule{strings.TrimSpace(t.match + " " + link), t.target, t.comment})
			}
		}
	}
	g.chain(helper, append(rules, rule{"", "-g " + rest, ""})...)
	return helper
}

// links writes the chain that does what a rule does for each interface, or port
// of a bridge, that leads to a local pod, and comes back.
func (g *generator) links(name string, i int, r *base.Rule) string {
	helper := chainPrefix + "k-" + dataplane.Hash(name, fmt.Sprint(i))
	out := slices.ContainsFunc(r.If, func(t base.Test) bool { return t.Kind == base.ToLink })
	plain := *r
	plain.If = nil
	rules := g.uplinks("-i", "-j RETURN")
	if out {
		rules = g.uplinks("-o", "-j RETURN")
	}
	for _, match := range g.linkMatches(out) {
		for _, t := range g.one(&plain) {
			// What comes back from there has no other interface to be found here.
			rules = append(rules, rule{match, strings.Replace(t.target, "-j "+chainPrefix, "-g "+chainPrefix, 1), ""})
		}
	}
	g.chain(helper, rules...)
	return helper
}

// uplinks are rules for the interfaces by which most of what is not pods' comes
// and goes, so that it does not try those of all pods.
func (g *generator) uplinks(flag, target string) []rule {
	var rules []rule
	for _, r := range g.state.Links.Routes {
		one := rule{fmt.Sprintf("%s %q", flag, dataplane.Plain(r.Interface, 15)), target, ""}
		if r.Net.Bits() == 0 && dataplane.FamilyOf(r.Net.Addr()) == g.family && !g.state.Links.LeadsToPods(r.Interface) && !slices.Contains(rules, one) {
			rules = append(rules, one)
		}
	}
	return rules
}

// linkMatches match each interface and each port of a bridge that leads to a
// local pod, for packets that come or, with out, leave by it; and the bridge, for
// packets of workloads by ports of it that no local pod is known to be behind.
func (g *generator) linkMatches(out bool) []string {
	if g.state.Links == nil {
		return nil
	}
	var list []string
	for i := range g.state.Links.Pods {
		p := g.state.Links.Pods[i]
		list = append(list, linkMatch(&p, out))
		p.Port = ""
		list = append(list, linkMatch(&p, out))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func linkMatch(p *model.PodLink, out bool) string {
	switch {
	case p.Port != "" && out:
		return fmt.Sprintf("-m physdev --physdev-is-bridged --physdev-out %q", dataplane.Plain(p.Port, 15))
	case p.Port != "":
		return fmt.Sprintf("-m physdev --physdev-in %q", dataplane.Plain(p.Port, 15))
	case out:
		return fmt.Sprintf("-o %q", dataplane.Plain(p.Interface, 15))
	}
	return fmt.Sprintf("-i %q", dataplane.Plain(p.Interface, 15))
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
	case r.Then == base.Count, isHold(r):
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
	case base.Queue:
		return []string{queueTarget}
	case base.Hold:
		return []string{fmt.Sprintf("-j SET --add-set %s dst --exist --timeout %d", g.hold(), dataplane.HoldTime/time.Second), "-j DROP"}
	case base.Release:
		return []string{fmt.Sprintf("-j SET --del-set %s dst", g.hold()), "-j DROP"}
	}
	return []string{"-j RETURN"}
}

// entry returns a chain that runs a program and clears the mark behind it, for
// rules that lead there by -g.
func (g *generator) entry(p *dataplane.Program, spare base.Sparing) string {
	inner := g.program(p, spare)
	return g.once(strings.Replace(inner, "p-", "e-", 1), func() []rule {
		return []rule{{"", "-j " + inner, ""}, {isMarked(g.opts.Accepted), clearMark(g.opts.Accepted), ""}}
	})
}

// dispatchers write the trees that lead from addresses of pods to their programs.
func (g *generator) dispatchers() {
	pods := slices.DeleteFunc(g.addrs(g.family), func(a netip.Addr) bool { return !g.owners[a].HasPolicies(g.family) })
	g.addrTree(chainEgress, "-s", pods, func(a netip.Addr) []rule { return g.dispatchPod(a, model.Egress) })
	g.addrTree(chainIngress, "-d", pods, func(a netip.Addr) []rule { return g.dispatchPod(a, model.Ingress) })
}

// dispatchPod leads to a pod's program; without one nothing passes. What it sends
// itself by way of a Service meets what governs that alone.
func (g *generator) dispatchPod(a netip.Addr, dir model.Direction) []rule {
	match := "-s " + a.String()
	if dir == model.Ingress {
		match = "-d " + a.String()
	}
	e, peer := g.owners[a], " -d "
	if dir == model.Ingress {
		peer = " -s "
	}
	own := "-j RETURN"
	if e.Policy != nil {
		if p := e.Policy.Program(model.StageSelf, dir, g.family); p != nil {
			own = "-g " + g.program(p, base.SpareNone)
		}
	}
	var rules []rule
	for _, b := range g.mates(a) {
		rules = append(rules, rule{match + peer + b.String(), own, "a pod to itself"})
	}
	return append(rules, g.toPod(match, e, dir, g.program))
}

// toPod leads to a pod's program, by the chain that enter returns.
func (g *generator) toPod(match string, e dataplane.Endpoint, dir model.Direction, enter func(*dataplane.Program, base.Sparing) string) rule {
	if e.Policy != nil {
		if p := e.Policy.Program(model.StageWorkload, dir, g.family); p != nil {
			return rule{match, "-g " + enter(p, base.SparingOf(g.state, &e, model.StageWorkload, dir)), ""}
		}
	}
	return rule{match, "-j DROP", "no policy is known"}
}

// byLink is the chain that leads from interfaces and ports to the programs of the pods behind them.
// What no pod is behind is dropped for a guard, or counted, if there is one.
func (g *generator) byLink(r *base.Rule) string {
	dir := r.Direction
	name := chainPrefix + "by-link-" + map[model.Direction]string{model.Egress: "e", model.Ingress: "i"}[dir]
	return g.once(name, func() []rule {
		var rules []rule
		for i := range g.state.Links.Pods {
			p := &g.state.Links.Pods[i]
			e, ok := g.owners[p.Addr]
			match := linkMatch(p, dir == model.Ingress)
			switch {
			case !ok || slices.ContainsFunc(rules, func(r rule) bool { return r.match == match }):
			case r.Counted && e.Policy == nil:
			case !e.HasPolicies(g.family):
				rules = append(rules, rule{match, "-j RETURN", ""})
			default:
				rules = append(rules, g.toPod(match, e, dir, g.entry))
			}
		}
		if r.Guard != "" {
			rules = append(rules, rule{"", "-j " + g.guardChain(r.Guard, r.Counted), ""})
		}
		return rules
	})
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
