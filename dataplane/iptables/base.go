package iptables

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// Chains that have names of their own. Those of hooks are called as these.
const (
	chainDone      = chainPrefix + "done" // clears the marks and returns
	chainMidstream = chainPrefix + "midstream"
	chainForward   = chainPrefix + "forward"
	chainEgress    = chainPrefix + "egress"
	chainIngress   = chainPrefix + "ingress"
	chainSelf      = chainPrefix + "self"
	chainToHost    = chainPrefix + "pod-to-host"
	chainLocalIn   = chainPrefix + "local-in"
	chainLocalOut  = chainPrefix + "local-out"
)

// base writes all of a family: what hooks lead to.
func (g *generator) base() {
	g.nodeSets()
	if g.hosts.HasStage(model.StageUntracked) {
		g.in(tableRaw, g.untracked)
	}
	if g.hosts.HasStage(model.StagePreDNAT) {
		g.in(tableMangle, g.preDNAT)
	}
	g.in(tableFilter, func() {
		g.common()
		if len(g.hosts) > 0 {
			g.failsafe()
			g.hostChains(model.StageHost)
		}
		g.midstream()
		g.forward()
		g.input()
		g.output()
	})
}

// nodeSets writes the sets of the node itself.
func (g *generator) nodeSets() {
	pods := g.addrs(g.family)
	var podElems, guarded, own, cidrs, foreign []elem
	for _, a := range pods {
		podElems = append(podElems, single(a))
		if g.owners[a].HasPolicies(g.family) {
			guarded = append(guarded, single(a))
		}
	}
	hosts := slices.Clone(g.state.NodeAddrs)
	for _, h := range g.hosts {
		hosts = append(hosts, h.Addrs...)
	}
	for _, a := range hosts {
		if dataplane.FamilyOf(a) == g.family {
			own = append(own, single(a))
		}
	}
	for _, p := range g.state.PodCIDRs {
		if dataplane.FamilyOf(p.Addr()) == g.family {
			cidrs = append(cidrs, blocks(p)...)
		}
	}
	for _, a := range g.state.Foreign {
		if dataplane.FamilyOf(a) == g.family {
			foreign = append(foreign, single(a))
		}
	}
	g.pods = g.set("pods", typeAddrs, podElems)
	g.guarded = g.set("guarded", typeAddrs, guarded)
	g.hostAddrs = g.set("hosts", typeAddrs, own)
	g.podCIDRs = g.set("podcidrs", typeNets, cidrs)
	g.foreign = g.set("foreign", typeAddrs, foreign)
	// Equal sets of their own for rules to which they mean one thing only: so pods
	// come and go without a set being made anew and rules being written.
	if g.early() {
		g.earlyPods = g.set("early-pods", typeAddrs, podElems)
		g.note(g.key("early-pods"), opens, false)
	}
	if len(g.hosts) > 0 {
		g.outForeign = g.set("out-foreign", typeAddrs, foreign)
		g.note(g.key("out-foreign"), closes, false)
		if g.hosts.HasStage(model.StageUntracked) {
			g.note(g.key("out-foreign"), mixed, false) // whom raw does not judge, it cannot allow early either
		}
	}
	g.hasCIDRs = len(cidrs) > 0
	for _, key := range []string{"pods", "guarded", "hosts", "podcidrs"} {
		g.note(g.key(key), mixed, false)
	}
}

func (g *generator) early() bool {
	return g.hosts.HasStage(model.StageUntracked) || g.hosts.HasStage(model.StagePreDNAT)
}

// common writes chains that a table's other chains lead to.
func (g *generator) common() {
	g.chain(chainDone, rule{"", clearMark(g.opts.both()), ""})
	g.accept()
}

// hook writes a chain to which a built-in one jumps.
func (g *generator) hook(builtin string, rules ...rule) {
	name := chainPrefix + builtin
	g.t.hooks[builtin] = name
	g.chain(name, rules...)
}

const established = "-m conntrack --ctstate RELATED,ESTABLISHED"

// discovery returns what IPv6 cannot live without on a link; routed packets never look like this.
func (g *generator) discovery() []rule {
	if g.family != dataplane.IPv6 {
		return nil
	}
	var rules []rule
	for _, t := range []string{"133", "134", "135", "136", "137"} {
		rules = append(rules, rule{"-p 58 -m icmp6 --icmpv6-type " + t + " -m hl --hl-eq 255", "-j RETURN", "router and neighbour discovery"})
	}
	for _, t := range []string{"130", "131", "132", "143"} {
		rules = append(rules, rule{"-p 58 -s fe80::/10 -m icmp6 --icmpv6-type " + t, "-j RETURN", "multicast listeners"})
	}
	return append(rules, rule{"-p 58 -s ::/128 -m icmp6 --icmpv6-type 143", "-j RETURN", "multicast listeners, before the first address"})
}

// first are the rules that begin the hooks of the filter table.
func (g *generator) first(loopback string) []rule {
	rules := []rule{{established, "-j RETURN", "connections that are allowed already"}}
	if loopback != "" {
		rules = append(rules, rule{loopback, "-j RETURN", ""})
	}
	return append(rules, g.discovery()...)
}

// midstreamMatch matches what goes on with a TCP connection that the kernel does not know.
const (
	midstreamMatch = "-p 6 -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN"
	reset          = "-j REJECT --reject-with tcp-reset"
)

func strict() rule { return rule{midstreamMatch, "-j " + chainMidstream, "of no known connection"} }

// midstream writes the chain for packets of unknown connections of local pods.
func (g *generator) midstream() {
	g.chain(chainMidstream,
		rule{"-p 6 " + inSet("", g.guarded, "src"), reset, ""},
		rule{"-p 6 " + inSet("", g.guarded, "dst"), reset, ""})
}

// forward is the way of pods' packets, and of all that the node routes.
func (g *generator) forward() {
	pods := g.addrs(g.family)
	g.hook("FORWARD", append(g.first(""), rule{"", "-g " + chainForward, ""})...)
	g.addrTree(chainSelf, "-s", pods, func(a netip.Addr) []rule {
		var rules []rule
		for _, b := range g.owners[a].Addrs {
			if dataplane.FamilyOf(b) == g.family && g.owners[b].Ref == g.owners[a].Ref {
				rules = append(rules, rule{"-s " + a.String() + " -d " + b.String(), "-g " + g.accept(), ""})
			}
		}
		return rules
	})
	g.addrTree(chainEgress, "-s", pods, func(a netip.Addr) []rule { return g.dispatchPod(a, model.Egress) })
	g.addrTree(chainIngress, "-d", pods, func(a netip.Addr) []rule { return g.dispatchPod(a, model.Ingress) })
	clear, clearBoth := rule{"", clearMark(g.opts.Accepted), ""}, rule{"", clearMark(g.opts.both()), ""}
	rules := []rule{
		clear,
		{inSet("", g.pods, "src") + " " + inSet("", g.pods, "dst"), "-j " + chainSelf, "a pod to itself"},
		{isMarked(g.opts.Accepted), "-g " + chainDone, ""},
		strict(),
		{inSet("", g.pods, "src"), "-j " + chainEgress, "egress of local pods"},
	}
	if out := g.toOutside(); len(out) > 0 {
		g.chain(chainPrefix+"to-outside", out...)
		rules = append(rules, rule{inSet("! ", g.pods, "dst"), "-j " + chainPrefix + "to-outside", "from the node, or through it, to others"})
	}
	if in := g.fromOutside(); len(in) > 0 {
		g.chain(chainPrefix+"from-outside", in...)
		rules = append(rules, rule{inSet("! ", g.pods, "src"), "-j " + chainPrefix + "from-outside", "from others to the node's pods, or through it"})
	}
	g.chain(chainForward, append(rules, clearBoth,
		rule{inSet("", g.pods, "dst"), "-j " + chainIngress, "ingress of local pods"}, clearBoth)...)
}

// dispatchPod leads to a pod's program; without one nothing passes.
func (g *generator) dispatchPod(a netip.Addr, dir model.Direction) []rule {
	match := "-s " + a.String()
	if dir == model.Ingress {
		match = "-d " + a.String()
	}
	e := g.owners[a]
	if e.Policy != nil {
		if p := e.Policy.Program(model.StageWorkload, dir, g.family); p != nil {
			return []rule{{match, "-g " + g.program(p), ""}}
		}
	}
	return []rule{{match, "-j DROP", "no policy is known"}}
}

// unknown drops packets of addresses that should belong to local pods and belong
// to none that is known; side is src or dst.
func (g *generator) unknown(side string) []rule {
	if g.settings.UnknownWorkloads != model.Deny || !g.hasCIDRs {
		return nil
	}
	match := inSet("", g.podCIDRs, side)
	g.note(g.key("foreign"), closes, true) // who is in it is not dropped
	for _, s := range []string{g.pods, g.foreign, g.hostAddrs} {
		match += " " + inSet("! ", s, side)
	}
	return []rule{{match, "-j DROP", "unknownWorkloads: Deny"}}
}

// fromOutside is the rules for forwarded packets that no local pod has sent.
func (g *generator) fromOutside() []rule {
	rules := g.unknown("src")
	if p := g.forwardProgram(model.Ingress); p != "" {
		if g.early() {
			rules = append(rules, rule{isMarked(g.opts.Early), "-j RETURN", "allowed before routing"})
		}
		rules = append(rules, g.guarding(p)...)
	}
	return rules
}

// toOutside is the rules for forwarded packets that go to no local pod.
func (g *generator) toOutside() []rule {
	var rules []rule
	if p := g.forwardProgram(model.Egress); p != "" {
		rules = g.guarding(p)
	}
	return append(rules, g.unknown("dst")...)
}

// guarding is a host endpoint's policy for forwarded packets.
func (g *generator) guarding(program string) []rule {
	return []rule{
		{midstreamMatch, reset, ""},
		{"", clearMark(g.opts.Accepted), ""},
		{"", "-j " + program, g.hosts.Guard().Ref.String() + ", applyOnForward"},
	}
}

// input is the way of packets to the node itself.
func (g *generator) input() {
	rules := append(g.first("-i lo"), strict(),
		rule{inSet("", g.pods, "src"), "-g " + chainToHost, "local pods"})
	rules = append(rules, g.unknown("src")...)
	local := g.dispatch(stageIn)
	if len(local) > 0 {
		if g.early() {
			rules = append(rules, rule{isMarked(g.opts.Early), "-g " + chainDone, "allowed before routing"})
		}
		g.chain(chainLocalIn, append(g.passFailsafe("", chainFailsafeIn), local...)...)
		rules = append(rules, rule{"", "-g " + chainLocalIn, "host endpoints"})
	}
	g.hook("INPUT", rules...)

	clear := rule{"", clearMark(g.opts.both()), ""}
	toHost := []rule{clear, {"", "-j " + chainEgress, "egress of local pods"}, clear}
	switch {
	case g.settings.EndpointToHost == model.ToHostDrop:
		toHost = append(toHost, rule{"", "-j DROP", "endpointToHostAction: Drop"})
	case g.settings.EndpointToHost == model.ToHostReturn && len(local) > 0:
		toHost = append(toHost, rule{"", "-g " + chainLocalIn, "endpointToHostAction: Return"})
	}
	g.chain(chainToHost, toHost...)
}

// output is the way of the node's own packets, and of others' by way of IPVS.
func (g *generator) output() {
	own := "-j RETURN"
	if local := g.dispatch(stageOut); len(local) > 0 {
		own = "-g " + chainLocalOut
		rules := g.toOwnPods()
		if g.early() {
			rules = append(rules, rule{isMarked(g.opts.Early), "-g " + chainDone, "allowed untracked"})
		}
		rules = append(rules, g.passFailsafe("", chainFailsafeOut)...)
		g.chain(chainLocalOut, append(rules, local...)...)
	}
	g.hook("OUTPUT", append(g.first("-o lo"), strict(),
		rule{inSet("! ", g.pods, "src") + " " + inSet("! ", g.pods, "dst"), own, ""},
		rule{inSet("! ", g.pods, "src") + " -m addrtype --src-type LOCAL", own, "the node to its own pods"},
		rule{"", "-g " + chainForward, "of others, by way of IPVS"})...)
}

// toOwnPods lets pass what the node sends to its own pods, known or not yet: the
// kubelet's probes and the node's proxies.
func (g *generator) toOwnPods() []rule {
	return []rule{
		{inSet("", g.pods, "dst"), "-j RETURN", "the node to its own pods"},
		{inSet("", g.podCIDRs, "dst") + " " + inSet("! ", g.outForeign, "dst"), "-j RETURN", "the node to its own pods"},
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
