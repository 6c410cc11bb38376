package base

import (
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/policy/model"
)

// forward is the way of pods' packets, and of all that the node routes.
func (b *builder) forward() {
	b.to = &b.tables.Filter
	b.midstream()
	b.linkChains()
	rules := append(b.discovery(Forward), b.itself()...)
	rules = append(rules, strict...)
	rules = append(rules, b.encapsulation()...)
	rules = append(rules, Rule{If: where(on(SrcIn, Governed)), Then: ByAddr, Direction: model.Egress, Comment: "egress of local pods"})
	rules = append(rules, b.unlisted("from-link")...)
	rules = append(rules, b.passing()...)
	rules = append(rules, b.unknown(DstIn)...)
	rules = append(rules, Rule{If: where(on(DstIn, Governed)), Then: ByAddr, Direction: model.Ingress, Comment: "ingress of local pods"})
	rules = append(rules, b.toLink()...)
	if b.early() {
		rules = append(rules, Rule{If: where(marked(Early)), Then: ClearMark, Bits: Early})
	}
	b.hook(Forward, "forward", "pods, and all that the node routes", []Rule{established}, rules...)
}

// itself is the way of what a pod sends itself by way of a Service: what
// administrators' policies say of it holds, other policies let it pass.
func (b *builder) itself() []Rule {
	if b.opts.NoPairs {
		return nil
	}
	end := Rule{Then: Accept}
	if b.early() {
		b.done()
		end = Rule{Then: Goto, Chain: "done"}
	}
	b.chain("itself", "a pod to itself, by way of a Service",
		Rule{Then: BySelf, Direction: model.Egress}, Rule{Then: BySelf, Direction: model.Ingress}, end)
	return []Rule{{If: where(on(PairIn, Selves)), Then: Goto, Chain: "itself", Comment: commentItself}}
}

const commentItself = "a pod to itself"

// pastItself keeps what a pod sends itself from host endpoints, where it comes that far.
func (b *facts) pastItself() []Rule {
	star := b.hosts.Wildcard() != nil && b.settings.Guards.Wildcard != model.GuardOff
	named := slices.ContainsFunc(b.hosts.Named(), func(n dataplane.NamedHost) bool { return b.state.Links.LeadsToPods(n.Interface) })
	if !b.opts.NoPairs || !star && !named {
		return nil
	}
	return []Rule{{If: where(on(SrcIn, Pods), on(DstIn, Pods), on(PairIn, Selves)), Then: Return, Comment: commentItself}}
}

// strict leads to the chain for packets that go on with a TCP connection which
// the kernel does not know. It would take such a packet for the beginning of a
// connection (nf_conntrack_tcp_loose), and the wrong way round if it comes from
// the side that was called: so a connection that a policy has cut could go on by
// the other side's next packet. Endpoints with policies send such packets and get
// them only for connections that were cut, or forgotten: a reset ends these.
var strict = []Rule{
	{If: where(is(Unknown), is(FlowBarred)), Then: Jump, Chain: "barred", Comment: "cut by a policy"},
	{If: where(is(Midstream)), Then: Jump, Chain: "midstream", Comment: "of no known connection"},
	{If: where(is(SCTPMidstream)), Then: Jump, Chain: "midstream", Comment: "of no known connection"},
}

// SCTP shows what begins a connection, too; a HEARTBEAT begins a path of one, and
// is judged by policy. What shows no beginning is kept out by the bar, if it was cut.
func (b *builder) midstream() {
	b.chain("midstream", "what goes on with no known connection",
		Rule{If: where(proto(model.TCP), on(SrcIn, Governed)), Then: Reset},
		Rule{If: where(proto(model.TCP), on(DstIn, Governed)), Then: Reset},
		Rule{If: where(on(SrcIn, Governed)), Then: Drop},
		Rule{If: where(on(DstIn, Governed)), Then: Drop})
	b.chain("barred", "what a policy has cut, until it begins anew",
		Rule{If: where(is(SYN)), Then: Return},
		Rule{If: where(is(INIT)), Then: Return},
		Rule{Then: Renew},
		Rule{If: where(proto(model.TCP)), Then: Reset},
		Rule{Then: Drop})
}

// once writes a chain if the table does not have it yet.
func (b *builder) once(name, comment string, rules ...Rule) {
	for _, c := range *b.to {
		if c.Name == name {
			return
		}
	}
	b.chain(name, comment, rules...)
}

// unknown drops packets of addresses that should belong to local pods and belong
// to none that is known.
func (b *facts) unknown(side TestKind) []Rule {
	if b.settings.UnknownWorkloads != model.Deny || !b.blocks {
		return nil
	}
	return []Rule{{
		If:   where(notIn(side, Pods), on(side, PodBlocks), notIn(side, Foreign), notIn(side, Own)),
		Then: Drop, Comment: "unknownWorkloads: Deny",
	}}
}

// passing is what host endpoints say of forwarded packets: the one of the
// interface by which they leave, then the one by which they come.
func (b *builder) passing() []Rule {
	return append(b.forwardStage(model.Egress), b.forwardStage(model.Ingress)...)
}

func (b *builder) forwardStage(dir model.Direction) []Rule {
	name, kind, side, pods := "passing-out", OutIs, DstIn, ToLink
	if dir == model.Ingress {
		name, kind, side, pods = "passing-in", InIs, SrcIn, FromLink
	}
	var rules []Rule
	for _, h := range b.hosts.Named() {
		rules = append(rules, b.enterForward(h.Endpoint, dir, by(kind, h.Interface))...)
	}
	if star := b.hosts.Wildcard(); star != nil {
		enter := b.enterForward(star, dir)
		if len(enter) > 0 && !b.wildcardGuardsPods() {
			rules = append(rules, b.exemptForward(dir, on(side, Pods))...)
			if Links(b.state) {
				rules = append(rules, Rule{If: where(notIn(side, Pods), is(pods)), Then: Return, Comment: "pods' interfaces are not the host's"})
			}
		}
		rules = append(rules, enter...)
	}
	if !hasPrograms(rules) {
		return nil
	}
	if dir == model.Ingress && b.early() {
		early := where(marked(Early))
		if b.countsWildcard() { // of pods it is said further below
			early = append(early, notIn(SrcIn, Pods))
		}
		rules = append([]Rule{{If: early, Then: Return, Comment: commentEarly}}, rules...)
	}
	b.chain(name, "applyOnForward policies of host endpoints", append(b.pastItself(), rules...)...)
	return []Rule{{Then: Jump, Chain: name}}
}

// exemptForward leaves out pods' packets where the host endpoint of all interfaces
// does not guard the pods' own. If the guard counts they meet its program all the
// same, but for those that the early stages have counted or allowed.
func (b *facts) exemptForward(dir model.Direction, ofPods Test) []Rule {
	switch {
	case !b.countsWildcard():
		return []Rule{{If: where(ofPods), Then: Return, Comment: "pods' interfaces are not the host's"}}
	case dir == model.Ingress && b.early():
		return []Rule{{If: where(marked(Early)), Then: Return, Comment: "counted, or allowed, before routing"}}
	}
	return nil
}

func hasPrograms(rules []Rule) bool {
	for i := range rules {
		if rules[i].Then == Goto && rules[i].Chain != "" {
			return true
		}
	}
	return false
}
