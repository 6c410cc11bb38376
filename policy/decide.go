package policy

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// StageTrace is a verdict and the steps that led to it.
type StageTrace struct {
	Verdict model.Verdict `json:"verdict"`
	Steps   []Step        `json:"steps,omitempty"`
}

// Explanation is a decision with every rule that was tried on the way.
type Explanation struct {
	model.Decision
	// Traces are parallel to the decision's stages.
	Traces []StageTrace `json:"traces"`
}

// Decide follows a connection attempt through every stage, up to the first that
// denies it, as of the last Flush. For the decision to be whole, all endpoints
// involved must be local.
func (ix *Index) Decide(f model.Flow) model.Decision {
	d := decider{ix: ix}
	d.decide(f)
	return d.Decision
}

// Explain is Decide with every rule that was tried.
func (ix *Index) Explain(f model.Flow) *Explanation {
	d := decider{ix: ix, explain: true}
	d.decide(f)
	return &Explanation{Decision: d.Decision, Traces: d.traces}
}

type decider struct {
	model.Decision
	ix      *Index
	explain bool
	traces  []StageTrace
}

// end is what is known of one end of a flow.
type end struct {
	pod  *owner      // the pod that has the address, or nil
	node *model.Node // the node that the pod is on or that has the address, or nil
	host *owner      // the host endpoint that guards the address of a host, or nil
	// behind is the node in whose pod blocks an address is that nobody has, or "".
	behind string
}

func (e *end) isHost() bool { return e.pod == nil && (e.node != nil || e.host != nil) }

func (e *end) isStranger() bool { return e.pod == nil && e.node == nil && e.host == nil }

// nodeName is the node that the end is on, or "".
func (e *end) nodeName() string {
	switch {
	case e.pod != nil:
		return e.pod.node
	case e.node != nil:
		return e.node.Name
	case e.host != nil:
		return e.host.node
	}
	return ""
}

func (d *decider) decide(f model.Flow) {
	f.Src, f.Dst = f.Src.Unmap(), f.Dst.Unmap()
	d.Flow, d.Action = f, model.Allow
	src, dst := d.ix.end(f, true), d.ix.end(f, false)
	sameNode := src.nodeName() != "" && src.nodeName() == dst.nodeName()
	switch {
	case src.pod != nil && src.pod == dst.pod:
		d.settle(src.ref(), model.Egress, model.StageWorkload, model.ReasonLoopback, model.Allow)
		return
	case src.isHost() && dst.isHost() && (sameNode || f.Src == f.Dst):
		d.settle(src.ref(), model.Egress, model.StageHost, model.ReasonLoopback, model.Allow)
		return
	case src.isHost() && (dst.pod != nil && sameNode || dst.isStranger() && src.node != nil && inBlocks(src.node, f.Dst)):
		d.settle(dst.ref(), model.Ingress, model.StageWorkload, model.ReasonOwnNode, model.Allow)
		return
	}
	if d.egress(&src, &dst, sameNode) {
		d.ingress(&src, &dst, sameNode)
	}
}

// egress takes the stages on the sender's side and says whether to go on.
func (d *decider) egress(src, dst *end, sameNode bool) bool {
	switch {
	case src.pod != nil:
		if !d.chain(src.pod, model.StageWorkload, model.Egress) {
			return false
		}
		if guard := d.ix.forwardGuard(src.pod.node); guard != nil && !sameNode {
			return d.chain(guard, model.StageForward, model.Egress)
		}
		return true
	case src.host != nil:
		if d.failsafe(src.host, model.Egress) {
			return true
		}
		if settled, ok := d.early(src.host, model.StageUntracked, model.Egress); settled {
			return ok
		}
		return d.chain(src.host, model.StageHost, model.Egress)
	case src.node != nil:
		return d.settle(model.Ref{Kind: model.KindNode, Name: src.node.Name}, model.Egress, model.StageHost, model.ReasonNoEndpoint, model.Allow)
	}
	if !d.stranger(src, model.Egress) {
		return false
	}
	// What goes on to the node itself or to its pods is looked at there.
	return src.behind == "" || src.behind == dst.nodeName() || d.transit(src.behind)
}

// ingress takes the stages on the receiver's side.
func (d *decider) ingress(src, dst *end, sameNode bool) {
	switch {
	case dst.pod != nil:
		if guard := d.ix.forwardGuard(dst.pod.node); guard != nil && !sameNode && !d.forwarded(guard) {
			return
		}
		d.chain(dst.pod, model.StageWorkload, model.Ingress)
	case dst.isHost() && src.pod != nil && sameNode:
		d.toHost(dst)
	case dst.host != nil:
		d.toHostEndpoint(dst.host)
	case dst.node != nil:
		d.settle(model.Ref{Kind: model.KindNode, Name: dst.node.Name}, model.Ingress, model.StageHost, model.ReasonNoEndpoint, model.Allow)
	default:
		known := dst.behind == "" || dst.behind == src.nodeName() || dst.behind == src.behind // here already
		if known || d.ix.settings.UnknownWorkloads == model.Deny || d.transit(dst.behind) {
			d.stranger(dst, model.Ingress)
		}
	}
}

// forwarded takes the stages of the host endpoint that guards what a node
// forwards, for packets that none of its pods has sent.
func (d *decider) forwarded(guard *owner) bool {
	settled, ok := d.early(guard, model.StageUntracked, model.Ingress)
	if !settled {
		settled, ok = d.early(guard, model.StagePreDNAT, model.Ingress)
	}
	if !settled {
		ok = d.chain(guard, model.StageForward, model.Ingress)
	}
	return ok
}

// transit takes the stages of a node that forwards between two addresses of
// which none is a pod's that it knows.
func (d *decider) transit(node string) bool {
	guard := d.ix.forwardGuard(node)
	return guard == nil || d.chain(guard, model.StageForward, model.Egress) && d.forwarded(guard)
}

// toHost is traffic from a pod to its own node.
func (d *decider) toHost(dst *end) {
	switch d.ix.settings.EndpointToHost {
	case model.ToHostAccept:
		d.settle(dst.ref(), model.Ingress, model.StageToHost, model.ReasonEndpointToHost, model.Allow)
	case model.ToHostDrop:
		d.settle(dst.ref(), model.Ingress, model.StageToHost, model.ReasonEndpointToHost, model.Deny)
	default:
		// The packet comes in by the pod's interface, which is none of the host
		// endpoint's: its stages before routing are not on the way.
		switch {
		case dst.host == nil:
			d.settle(dst.ref(), model.Ingress, model.StageHost, model.ReasonNoEndpoint, model.Allow)
		case !d.failsafe(dst.host, model.Ingress):
			d.chain(dst.host, model.StageHost, model.Ingress)
		}
	}
}

func (d *decider) toHostEndpoint(h *owner) {
	if d.failsafe(h, model.Ingress) {
		return
	}
	if settled, _ := d.early(h, model.StageUntracked, model.Ingress); settled {
		return
	}
	if settled, _ := d.early(h, model.StagePreDNAT, model.Ingress); settled {
		return
	}
	d.chain(h, model.StageHost, model.Ingress)
}

// stranger is a side whose address belongs to nobody that is known. One in the
// blocks of a node is behind that node, which is the first to see what it
// sends and the last to see what it gets: its agent decides.
func (d *decider) stranger(e *end, dir model.Direction) bool {
	switch {
	case e.behind != "" && d.ix.isLocal(e.behind):
		return d.settle(model.Ref{}, dir, model.StageWorkload, model.ReasonUnknownWorkload, d.ix.settings.UnknownWorkloads)
	case e.behind != "": // another node's agent decides
		return true
	}
	return d.settle(model.Ref{}, dir, model.StageWorkload, model.ReasonNoEndpoint, model.Allow)
}

// failsafe allows what no policy can close.
func (d *decider) failsafe(h *owner, dir model.Direction) bool {
	list, peer := d.ix.settings.FailsafeInbound, d.Flow.Src
	if dir == model.Egress {
		list, peer = d.ix.settings.FailsafeOutbound, d.Flow.Dst
	}
	if !slices.ContainsFunc(list, func(p model.FailsafePort) bool {
		return p.Protocol == d.Flow.Protocol && p.Port == d.Flow.DstPort && (!p.Net.IsValid() || p.Net.Contains(peer))
	}) {
		return false
	}
	return d.settle(h.ref(), dir, model.StageHost, model.ReasonFailsafe, model.Allow)
}

// early is a stage that may leave the matter open: settled is false then.
func (d *decider) early(h *owner, stage model.Stage, dir model.Direction) (settled, allowed bool) {
	v := d.run(h, stage, dir)
	return v.Action != model.NoAction, v.Action != model.Deny
}

// chain is a stage that settles the matter, and says whether it allows.
func (d *decider) chain(o *owner, stage model.Stage, dir model.Direction) bool {
	return d.run(o, stage, dir).Action != model.Deny
}

// run evaluates one stage of one endpoint and records the verdict. A stage
// without policies that has no default of its own is left out.
func (d *decider) run(o *owner, stage model.Stage, dir model.Direction) model.Verdict {
	e := o.effective()
	if e == nil { // not local: another node's agent decides
		return model.Verdict{}
	}
	c, endOfTier, def := e.stage(stage, dir)
	if len(c) == 0 && (stage == model.StageForward || def == model.NoAction) {
		return model.Verdict{}
	}
	var steps []Step
	var trace func(Step)
	if d.explain {
		trace = func(s Step) {
			s.Why = d.ix.why(&d.Flow, s.Failed)
			steps = append(steps, s)
		}
	}
	v := c.evaluate(&d.Flow, dir, endOfTier, def, trace)
	v.Endpoint, v.Stage = o.ref(), stage
	if v.Audit != nil {
		v.Audit.Endpoint, v.Audit.Stage = v.Endpoint, stage
	}
	d.record(v, steps)
	return v
}

// stage returns the chain of a stage, whether the tiers' default actions count
// in it, and what holds if no tier decides.
func (e *Effective) stage(s model.Stage, dir model.Direction) (c Chain, endOfTier bool, def model.Action) {
	pick := func(in, out Chain) Chain {
		if dir == model.Ingress {
			return in
		}
		return out
	}
	switch s {
	case model.StageUntracked:
		return pick(e.UntrackedIngress, e.UntrackedEgress), false, model.NoAction
	case model.StagePreDNAT:
		return pick(e.PreDNAT, nil), false, model.NoAction
	case model.StageForward:
		return pick(e.ForwardIngress, e.ForwardEgress), true, model.Allow
	}
	return pick(e.Ingress, e.Egress), true, e.DefaultAction
}

// settle records a verdict that needs no policy, and says whether it allows.
func (d *decider) settle(r model.Ref, dir model.Direction, stage model.Stage, reason model.Reason, a model.Action) bool {
	d.record(model.Verdict{Action: a, Direction: dir, Stage: stage, Endpoint: r, Reason: reason, Rule: model.RuleDefault}, nil)
	return a != model.Deny
}

func (d *decider) record(v model.Verdict, steps []Step) {
	d.Stages = append(d.Stages, v)
	if d.explain {
		d.traces = append(d.traces, StageTrace{v, steps})
	}
	if v.Action == model.Deny {
		d.Action = model.Deny
	}
}

func (e *end) ref() model.Ref {
	switch {
	case e.pod != nil:
		return e.pod.ref()
	case e.host != nil:
		return e.host.ref()
	case e.node != nil:
		return e.node.Key()
	}
	return model.Ref{}
}

// end finds out who is at one end of a flow.
func (ix *Index) end(f model.Flow, source bool) (e end) {
	a := f.Dst
	if source {
		a = f.Src
	}
	o := ix.ownerOf(a)
	if o != nil && o.host() == nil {
		e.pod = o
		return e
	}
	e.node = ix.NodeOf(a)
	if e.node == nil && o != nil { // an address that only a host endpoint says
		e.node = ix.Node(o.node)
	}
	var name string
	switch {
	case e.node != nil:
		name = e.node.Name
	case o != nil:
		name = o.node
	default:
		e.behind = ix.behind(a)
		return e
	}
	// The host endpoint of the address itself guards it, else the one of all interfaces.
	rec := ix.nodes[name]
	if rec == nil {
		return e
	}
	for _, h := range rec.hosts {
		switch {
		case h.host().Interface == "*":
			if e.host == nil {
				e.host = h
			}
		case slices.Contains(h.addrs, a):
			e.host = h
			return e
		}
	}
	return e
}

// forwardGuard is the host endpoint whose policy traffic through a node meets:
// the one of all interfaces, else the first by name.
func (ix *Index) forwardGuard(node string) *owner {
	rec := ix.nodes[node]
	if rec == nil || node == "" || len(rec.hosts) == 0 {
		return nil
	}
	for _, h := range rec.hosts {
		if h.host().Interface == "*" {
			return h
		}
	}
	return rec.hosts[0]
}
