package space

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// step is one stage on the way from one party to another.
type step struct {
	outcome *Outcome
	// endpoint whose policy it is; zero if none.
	endpoint model.Ref
	// onAllow is the step that follows for what is allowed here.
	onAllow int
	// quiet steps leave no verdict behind where they do not decide.
	quiet bool
}

// plan is the stages between two parties, in order.
func (e *Evaluator) plan(s, d *Party) []step {
	loopback := model.Verdict{Action: model.Allow, Direction: model.Egress, Stage: model.StageWorkload, Reason: model.ReasonLoopback}
	switch {
	case s.Pod != nil && d.Pod != nil && s.Pod.Ref == d.Pod.Ref:
		return e.fixed(nil, loopback, s.ref())
	case s.Host && d.Host && (sameNode(s, d) || s.Addr == d.Addr):
		loopback.Stage = model.StageHost
		return e.fixed(nil, loopback, s.ref())
	case s.Host && (d.Pod != nil && sameNode(s, d) || d.UnknownWorkload && s.node != nil && inNets(s.node.PodCIDRs, d.Addr)):
		return e.fixed(nil, model.Verdict{Action: model.Allow, Direction: model.Ingress, Stage: model.StageWorkload, Reason: model.ReasonOwnNode}, d.ref())
	}
	return e.planIngress(e.planEgress(nil, s, d), s, d)
}

func sameNode(s, d *Party) bool { return s.Node != "" && s.Node == d.Node }

// between says whether traffic stays between two pods of one node that it knows,
// or between one and the node itself.
func between(s, d *Party) bool { return sameNode(s, d) && !s.UnknownWorkload && !d.UnknownWorkload }

// fixed adds a stage whose verdict needs no policy.
func (e *Evaluator) fixed(steps []step, v model.Verdict, endpoint model.Ref) []step {
	v.Rule = model.RuleDefault
	return append(steps, step{outcome: e.t.outcome([]Part{{Space: all, Verdict: v}}), endpoint: endpoint, onAllow: len(steps) + 1})
}

// ref is whose the address is: a pod, the guarding host endpoint, or else the node.
func (p *Party) ref() model.Ref {
	switch {
	case p.Pod != nil:
		return p.Pod.Ref
	case p.Guard != nil:
		return p.Guard.Ref
	case p.node != nil:
		return p.node.Key()
	}
	return model.Ref{}
}

func (e *Evaluator) planEgress(steps []step, s, d *Party) []step {
	switch {
	case s.Pod != nil:
		steps = e.chainStep(steps, s.Effective, effective(s).Egress, model.Egress, model.StageWorkload, s.Pod.Ref, s, d)
		if s.forward != nil && !between(s, d) {
			steps = e.early(steps, forwardEffective(s).ForwardEgress, model.Egress, model.StageForward, s.forward.Ref, s, d)
		}
		return steps
	case s.Guard != nil:
		eff := effective(s)
		first := len(steps)
		steps = e.failsafeStep(steps, model.Egress, s, d)
		steps = e.early(steps, eff.UntrackedEgress, model.Egress, model.StageUntracked, s.Guard.Ref, s, d)
		steps = e.chainStep(steps, s.Effective, eff.Egress, model.Egress, model.StageHost, s.Guard.Ref, s, d)
		skipRest(steps[first:], len(steps))
		return steps
	}
	steps = e.unguarded(steps, model.Egress, s)
	// What goes on to the node itself or to its pods is looked at there.
	if e.passes(s) && !(sameNode(s, d) && !d.UnknownWorkload) {
		steps = e.transit(steps, s, s, d)
	}
	return steps
}

// passes says whether a node forwards for an unknown workload behind it.
func (e *Evaluator) passes(p *Party) bool {
	return p.UnknownWorkload && p.forward != nil && e.settings.UnknownWorkloads != model.Deny
}

// forwarded is the stages of the host endpoint that guards what a party's node
// forwards, for packets that none of its pods has sent.
func (e *Evaluator) forwarded(steps []step, behind, s, d *Party) []step {
	eff, guard := forwardEffective(behind), behind.forward.Ref
	first := len(steps)
	steps = e.early(steps, eff.UntrackedIngress, model.Ingress, model.StageUntracked, guard, s, d)
	steps = e.early(steps, eff.PreDNAT, model.Ingress, model.StagePreDNAT, guard, s, d)
	steps = e.early(steps, eff.ForwardIngress, model.Ingress, model.StageForward, guard, s, d)
	skipRest(steps[first:], len(steps))
	return steps
}

// transit is the stages of a node that forwards between two addresses of which
// none is a pod's that it knows.
func (e *Evaluator) transit(steps []step, behind, s, d *Party) []step {
	steps = e.early(steps, forwardEffective(behind).ForwardEgress, model.Egress, model.StageForward, behind.forward.Ref, s, d)
	return e.forwarded(steps, behind, s, d)
}

func (e *Evaluator) planIngress(steps []step, s, d *Party) []step {
	switch {
	case d.Pod != nil:
		if d.forward != nil && !between(s, d) {
			steps = e.forwarded(steps, d, s, d)
		}
		return e.chainStep(steps, d.Effective, effective(d).Ingress, model.Ingress, model.StageWorkload, d.Pod.Ref, s, d)
	case s.Pod != nil && d.Host && sameNode(s, d):
		v := model.Verdict{Direction: model.Ingress, Stage: model.StageToHost, Reason: model.ReasonEndpointToHost}
		switch e.settings.EndpointToHost {
		case model.ToHostAccept:
			v.Action = model.Allow
			return e.fixed(steps, v, d.ref())
		case model.ToHostDrop:
			v.Action = model.Deny
			return e.fixed(steps, v, d.ref())
		}
		if d.Guard == nil {
			return e.unguarded(steps, model.Ingress, d)
		}
		// The packet comes in by the pod's interface, which is none of the host
		// endpoint's: its stages before routing are not on the way.
		return e.planGuard(steps, false, s, d)
	case d.Guard != nil:
		return e.planGuard(steps, true, s, d)
	}
	if e.passes(d) && !sameNode(s, d) {
		steps = e.transit(steps, d, s, d)
	}
	return e.unguarded(steps, model.Ingress, d)
}

// planGuard is the stages of a host endpoint for traffic to its host.
func (e *Evaluator) planGuard(steps []step, beforeRouting bool, s, d *Party) []step {
	eff := effective(d)
	first := len(steps)
	steps = e.failsafeStep(steps, model.Ingress, d, s)
	if beforeRouting {
		steps = e.early(steps, eff.UntrackedIngress, model.Ingress, model.StageUntracked, d.Guard.Ref, s, d)
		steps = e.early(steps, eff.PreDNAT, model.Ingress, model.StagePreDNAT, d.Guard.Ref, s, d)
	}
	steps = e.chainStep(steps, d.Effective, eff.Ingress, model.Ingress, model.StageHost, d.Guard.Ref, s, d)
	skipRest(steps[first:], len(steps))
	return steps
}

// skipRest lets an Allow in any of the steps go on after the last of them.
func skipRest(steps []step, next int) {
	for i := range steps {
		steps[i].onAllow = next
	}
}

// effective policy of a party that is an endpoint. Of one that is not local
// nothing is known: another node's agent decides.
func effective(p *Party) *policy.Effective {
	if p.Effective != nil {
		return p.Effective
	}
	return &policy.Effective{}
}

func forwardEffective(p *Party) *policy.Effective {
	if p.forwardEffective != nil {
		return p.forwardEffective
	}
	return &policy.Effective{}
}

// early adds a stage that is left out where it has no policies.
func (e *Evaluator) early(steps []step, c policy.Chain, dir model.Direction, stage model.Stage, endpoint model.Ref, s, d *Party) []step {
	if len(c) == 0 {
		return steps
	}
	f := frame{stage: stage}
	if stage == model.StageForward {
		f.endOfTier, f.def = true, model.Allow
	}
	return append(steps, step{outcome: e.evaluate(c, dir, f, s, d), endpoint: endpoint, onAllow: len(steps) + 1})
}

// chainStep adds the stage of an endpoint's own policy.
func (e *Evaluator) chainStep(steps []step, eff *policy.Effective, c policy.Chain, dir model.Direction, stage model.Stage, endpoint model.Ref, s, d *Party) []step {
	if eff == nil {
		return steps
	}
	f := frame{stage: stage, endOfTier: true, def: eff.DefaultAction}
	return append(steps, step{outcome: e.evaluate(c, dir, f, s, d), endpoint: endpoint, onAllow: len(steps) + 1})
}

// failsafeStep allows the failsafe ports between a host and its peer.
func (e *Evaluator) failsafeStep(steps []step, dir model.Direction, host, peer *Party) []step {
	return append(steps, step{outcome: e.failsafeOutcome(dir, peer), endpoint: host.ref(), quiet: true})
}

func (e *Evaluator) failsafeOutcome(dir model.Direction, peer *Party) *Outcome {
	if peer.failsafe[dir] == nil {
		open := e.FailsafeSpace(dir, peer.Addr)
		v := model.Verdict{Action: model.Allow, Direction: dir, Stage: model.StageHost, Reason: model.ReasonFailsafe, Rule: model.RuleDefault}
		peer.failsafe[dir] = e.t.outcome([]Part{
			{Space: open, Verdict: v},
			{Space: open.Complement(), Verdict: model.Verdict{Direction: dir, Stage: model.StageHost}},
		})
	}
	return peer.failsafe[dir]
}

// FailsafeSpace is the traffic of a host with a peer that no policy can close:
// with dir Ingress from the peer to the host, with Egress from the host to the peer.
func (e *Evaluator) FailsafeSpace(dir model.Direction, peer netip.Addr) Space {
	list := e.settings.FailsafeInbound
	if dir == model.Egress {
		list = e.settings.FailsafeOutbound
	}
	var s Space
	for _, f := range list {
		if !f.Net.IsValid() || f.Net.Contains(peer) {
			s = s.Union(DstPorts(f.Protocol, f.Port, f.Port))
		}
	}
	return s
}

// unguarded is the verdict for a party without policies of its own.
func (e *Evaluator) unguarded(steps []step, dir model.Direction, p *Party) []step {
	v := model.Verdict{Action: model.Allow, Direction: dir, Stage: model.StageWorkload, Reason: model.ReasonNoEndpoint}
	switch {
	case p.Host:
		v.Stage = model.StageHost
	case p.UnknownWorkload:
		v.Reason, v.Action = model.ReasonUnknownWorkload, e.settings.UnknownWorkloads
	}
	return e.fixed(steps, v, p.ref())
}
