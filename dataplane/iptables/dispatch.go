package iptables

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/policy/model"
)

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

// entry returns a chain that runs a program and clears the mark behind it, for
// rules that lead there by -g.
func (g *generator) entry(p *dataplane.Program, spare base.Sparing) string {
	inner := g.program(p, spare)
	return g.once(strings.Replace(inner, "p-", "e-", 1), func() []rule {
		return []rule{{"", "-j " + inner, ""}, {isMarked(g.opts.Accepted), clearMark(g.opts.Accepted), ""}}
	})
}
