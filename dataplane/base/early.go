package base

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// raw is what stands before connection tracking.
func (b *builder) raw() {
	b.to = &b.tables.Raw
	switch {
	case b.hosts.HasStage(model.StageUntracked):
		var guard []Rule
		if rules := b.sourceGuard(Return); len(rules) > 0 {
			b.chain("source-guard", "what no pod may send", rules...)
			guard = []Rule{{Then: Jump, Chain: "source-guard"}}
		}
		b.untracked(guard)
	case b.settings.Guards.Source != model.GuardOff && Links(b.state):
		b.hook(RawPrerouting, "raw-prerouting", "what no pod may send", nil, b.sourceGuard(Accept)...)
		(*b.to)[len(*b.to)-1].ByAddress = true
	}
}

// sourceGuard drops what bears a local pod's source and does not come by that
// pod's interface. It stands before the rule for established connections, or a
// stranger could send packets of these; so every packet meets it, and a pod's own
// leave by the first look-up.
func (b *builder) sourceGuard(leave Action) []Rule {
	mode := b.settings.Guards.Source
	if !Links(b.state) || mode == model.GuardOff {
		return nil
	}
	genuine := Rule{If: where(on(LinkIn, Sources)), Then: leave, Comment: "a local pod's source by that pod's interface"}
	if HasPorts(b.state) && !b.opts.PortsAtPostrouting {
		b.chain("source-port", "what no pod on a bridge may send",
			Rule{Then: CheckPort, Guard: model.GuardSourceName, Counted: mode == model.GuardCount, Comment: "and port"})
		genuine.Then, genuine.Chain = Goto, "source-port"
	}
	var rules []Rule
	for _, bridge := range b.guardedBridges() {
		rules = append(rules, Rule{If: where(by(InIs, bridge)), Then: leave, Comment: "held to its port by the bridge's table"})
	}
	return append(append(rules, genuine), b.guarded(model.GuardSourceName, mode,
		where(on(SrcIn, Bound), Test{Kind: InIs, Name: "lo", Not: true}), "a local pod's source by another interface")...)
}

// guardedBridges are the interfaces whose ports the bridge's table holds all known sources
// to, before the hooks of IP see a packet. It knows sources behind ports alone: where local
// pods have interfaces of their own too, there are none.
func (b *facts) guardedBridges() []string {
	if !b.opts.PortsAtPostrouting {
		return nil
	}
	var bridges []string
	for i := range b.state.Links.Pods {
		p := &b.state.Links.Pods[i]
		if p.Port == "" {
			return nil
		}
		bridges = append(bridges, p.Interface)
	}
	slices.Sort(bridges)
	return slices.Compact(bridges)
}

// untracked writes the hooks of doNotTrack policies.
func (b *builder) untracked(guard []Rule) {
	b.chain("allowed-untracked", "", Rule{Then: ClearMark, Bits: Accepted}, Rule{Then: SetMark, Bits: Early}, Rule{Then: NoTrack}, Rule{Then: Accept})
	b.hostChains(model.StageUntracked)
	clear := Rule{Then: ClearMark, Bits: Accepted | Early}
	in := slices.Concat(guard, []Rule{{If: where(by(InIs, "lo")), Then: Accept}, clear})
	in = append(in, b.discovery(RawPrerouting)...)
	in = append(in, b.failsafe(failsafeIn), b.failsafe(failsafeOutReplies))
	b.hook(RawPrerouting, "raw-prerouting", "doNotTrack policies of host endpoints", nil, append(in, b.dispatch(rawIn)...)...)
	out := append([]Rule{{If: where(by(OutIs, "lo")), Then: Accept}, clear}, b.discovery(RawOutput)...)
	out = append(out, b.toOwnPods()...)
	out = append(out, b.failsafe(failsafeOut), b.failsafe(failsafeInReplies))
	b.hook(RawOutput, "raw-output", "doNotTrack policies of host endpoints", nil, append(out, b.dispatch(rawOut)...)...)
}

// mangle is what stands after connection tracking and before destination NAT.
func (b *builder) mangle() {
	b.to = &b.tables.Mangle
	if !b.hosts.HasStage(model.StagePreDNAT) {
		return
	}
	b.chain("allowed-early", "", Rule{Then: ClearMark, Bits: Accepted}, Rule{Then: SetMark, Bits: Early}, Rule{Then: Accept})
	b.hostChains(model.StagePreDNAT)
	common := []Rule{established, {If: where(by(InIs, "lo")), Then: Accept}}
	if b.hosts.HasStage(model.StageUntracked) {
		common = append(common, Rule{If: where(marked(Early)), Then: Accept, Comment: commentUntracked})
	}
	common = append(common, Rule{Then: ClearMark, Bits: Accepted | Early})
	rules := append(b.discovery(ManglePrerouting), b.failsafe(failsafeIn))
	b.hook(ManglePrerouting, "mangle-prerouting", "preDNAT policies of host endpoints", common, append(rules, b.dispatch(preDNAT)...)...)
}

// exemptPods leaves out local pods' packets where the host endpoint of all
// interfaces does not guard the pods' own, and none that names them. If the guard counts, what its program
// denies is counted, and later stages leave it alone, as they do what it allows.
func (b *builder) exemptPods(s hostStage) []Rule {
	star := b.hosts.Wildcard()
	if s != rawIn && s != preDNAT || star == nil || b.wildcardGuardsPods() {
		return nil
	}
	tests := where(on(SrcIn, Pods))
	exempt := Rule{If: tests, Then: Accept, Comment: "local pods come by no interface of the host's"}
	p := b.program(star, s.stage, s.dir)
	if p == nil || !b.countsWildcard() {
		return []Rule{exempt}
	}
	b.once("counted-early", "", Rule{Then: ClearMark, Bits: Accepted}, Rule{Then: SetMark, Bits: Early}, Rule{Then: Accept})
	name := chainOf(star, s.name) + "-n"
	b.chain(name, star.Ref.String()+", counted only", Rule{Then: ClearMark, Bits: Accepted}, Rule{Then: Run, Program: p, Spare: sparingOfHost(b.settings, star, s.stage, s.dir)},
		Rule{If: where(marked(Accepted)), Then: Goto, Chain: "counted-early"}, Rule{Then: Accept})
	return []Rule{{If: tests, Then: Goto, Chain: name, Comment: "guarded by the host endpoint of all interfaces, counted only"}}
}

// countsWildcard reports whether the wildcard guard counts and lets pass.
func (b *facts) countsWildcard() bool { return b.settings.Guards.Wildcard == model.GuardCount }

func (b *facts) wildcardGuardsPods() bool { return b.settings.Guards.Wildcard == model.GuardEnforce }

// early reports whether packets may have been allowed before routing.
func (b *facts) early() bool {
	return b.hosts.HasStage(model.StageUntracked) || b.hosts.HasStage(model.StagePreDNAT)
}
