package base

import "github.com/tierwall/tierwall/policy/model"

// input is the way of packets to the node itself.
func (b *builder) input() {
	b.to = &b.tables.Filter
	b.hostChains(model.StageHost)
	local := b.localIn()
	b.toHost()
	b.linkChains()
	rules := append(b.discovery(Input), strict...)
	rules = append(rules, b.encapsulationHere()...)
	rules = append(rules, Rule{If: where(on(SrcIn, Pods)), Then: Goto, Chain: "pod-to-host", Comment: "local pods"})
	rules = append(rules, b.linkToHost()...)
	b.hook(Input, "input", "to the node itself", []Rule{established, {If: where(by(InIs, "lo")), Then: Accept}}, append(rules, local...)...)
}

// linkToHost is what packets to the node meet that come from pods' interfaces and
// bear no local pod's source.
func (b *builder) linkToHost() []Rule {
	const text = "a pod to its own node, with a source that no object lists"
	if !b.judgesLinks() {
		return b.unknown(SrcIn)
	}
	var rules []Rule
	if b.countsLinks() {
		if b.settings.EndpointToHost == model.ToHostDrop {
			for _, n := range b.linkSources() {
				src := where(Test{Kind: SrcNet, Net: n})
				rules = append(rules, Rule{If: src, Then: Count, Guard: model.GuardLinkName, Comment: "endpointToHostAction: Drop, counted only"}, Rule{If: src, Then: Return})
			}
		}
		b.chain("link-to-host", text, append(rules, Rule{Then: Goto, Chain: "from-link"})...)
		return b.unlisted("link-to-host")
	}
	b.chain("link-to-host", text, Rule{Then: Jump, Chain: "from-link"}, Rule{Then: Goto, Chain: "to-host"})
	rules = append(rules, Rule{If: where(notIn(SrcIn, Pods), is(FromLink)), Then: Goto, Chain: "link-to-host", Comment: "a source that no object lists"})
	return append(rules, b.unknown(SrcIn)...)
}

// localIn leads to the host endpoints that guard the node itself.
func (b *builder) localIn() []Rule {
	guards := b.dispatch(hostIn)
	if len(guards) == 0 {
		return nil
	}
	var rules []Rule
	if b.early() {
		rules = append(rules, Rule{If: where(marked(Early)), Then: Goto, Chain: "done", Comment: commentEarly})
		b.done()
	}
	rules = append(rules, b.failsafe(failsafeIn))
	b.chain("local-in", "host endpoints", append(rules, guards...)...)
	return []Rule{{Then: Goto, Chain: "local-in"}}
}

// done clears the bit that an early stage has set, and accepts.
func (b *builder) done() {
	b.once("done", "", Rule{Then: ClearMark, Bits: Early}, Rule{Then: Accept})
}

// returned leaves a pod's packets to the host endpoint of all interfaces: no other
// one guards the pod's.
func (b *builder) returned() []Rule {
	const text = "endpointToHostAction: Return"
	star := b.hosts.Wildcard()
	rules := []Rule{b.failsafe(failsafeIn), {Then: Goto, Chain: chainOf(star, hostIn.name), Comment: text}}
	switch {
	case b.early() && b.wildcardGuardsPods():
		b.done()
		return append([]Rule{{If: where(marked(Early)), Then: Goto, Chain: "done", Comment: commentEarly}}, rules...)
	case b.early(): // a guard that counts has set it
		return append([]Rule{{Then: ClearMark, Bits: Early}}, rules...)
	}
	return rules
}

// toHost is the way of a pod's packets to its own node.
func (b *builder) toHost() {
	var end []Rule
	switch {
	case b.settings.EndpointToHost == model.ToHostDrop:
		end = []Rule{{Then: Drop, Comment: "endpointToHostAction: Drop"}}
	case b.settings.EndpointToHost == model.ToHostReturn && b.hosts.Wildcard() != nil:
		end = b.returned()
	case b.early():
		b.done()
		end = []Rule{{If: where(marked(Early)), Then: Goto, Chain: "done"}}
	}
	b.chain("to-host", "endpointToHostAction", end...)
	b.chain("pod-to-host", "a pod to its own node",
		Rule{If: where(on(SrcIn, Governed)), Then: ByAddr, Direction: model.Egress, Comment: "egress of local pods"}, Rule{Then: Goto, Chain: "to-host"})
}

// output is the way of the node's own packets, and of others' by way of IPVS,
// which leave by one goto: the kernel checks all that a goto leads to once for
// each of them.
func (b *builder) output() {
	b.to = &b.tables.Filter
	own := Rule{Then: Accept}
	if guards := b.dispatch(hostOut); len(guards) > 0 {
		rules := b.toOwnPods()
		if b.early() {
			b.done()
			rules = append(rules, Rule{If: where(marked(Early)), Then: Goto, Chain: "done", Comment: commentUntracked})
		}
		rules = append(rules, b.failsafe(failsafeOut))
		b.chain("local-out", "host endpoints", append(rules, guards...)...)
		own = Rule{Then: Goto, Chain: "local-out"}
	}
	others := own
	own.If = where(notIn(SrcIn, Pods), notIn(DstIn, Pods))
	others.If, others.Comment = where(notIn(SrcIn, Pods), is(SrcLocal)), commentOwnPods
	common := []Rule{established, {If: where(by(OutIs, "lo"), is(DstLocal)), Then: Accept}}
	rules := append(append(b.discovery(Output), strict...), own, others, Rule{Then: Goto, Chain: "forward", Comment: "of others, by way of IPVS"})
	b.hook(Output, "output", "from the node itself", common, rules...)
}

// toOwnPods accepts what the node sends to its own pods, known or not yet: the
// kubelet's probes and the node's proxies.
func (b *facts) toOwnPods() []Rule {
	return []Rule{
		{If: where(on(DstIn, Pods)), Then: Accept, Comment: commentOwnPods},
		{If: where(on(DstIn, PodBlocks), notIn(DstIn, Foreign)), Then: Accept, Comment: commentOwnPods},
	}
}
