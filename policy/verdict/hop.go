package verdict

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// hop adds the stops of one node. before is the receiver as the packet named it on
// arrival, if that has been translated; otherwise it is d.
func (r *router) hop(node string, s, d, before *End) {
	if !r.ix.IsLocal(node) {
		return
	}
	h := r.hopOf(node, s, d)
	if r.flow != nil {
		var x crossing
		h.cross(&x)
		x.s, x.d = x.from.end(*s, node), x.to.end(*d, node)
		h.s, h.d = &x.s, &x.d
		same := before.addr == d.addr
		if h.enter(before) {
			return
		}
		if same {
			before = h.d
		}
	}
	if !h.s.on(node, endHost) {
		h.beforeRouting(before)
	}
	if h.from.named && h.s.on(node, endPod) && h.s.pod == h.d.pod {
		h.toItself(h.s.pod)
		return
	}
	h.encapsulation()
	h.sender()
	if !h.s.on(node, endHost) && !h.d.on(node, endHost) {
		h.forwarded()
	}
	h.receiver()
}

// hopOf starts the stops of one node. Pods on an unknown node have no host endpoints on
// their route.
func (r *router) hopOf(node string, s, d *End) hop {
	h := hop{router: r, node: node, s: s, d: d, from: &unnamed, to: &unnamed}
	if node != "" {
		h.rec = r.ix.NodeState(node)
	}
	return h
}

// hop is one node on the route.
type hop struct {
	*router
	rec  *index.NodeState // nil where no host endpoint can be
	node string
	s, d *End
	in   index.Link // by which the packet comes in; none for what the node sends itself
	// from and to are where the packet arrives and leaves, as far as its flow names
	// that.
	from, to *way
}

// beforeRouting adds the stages before routing of the host endpoint that guards the
// interface by which the packet arrives, and determines that interface.
func (h *hop) beforeRouting(before *End) {
	if h.rec == nil {
		return
	}
	own := netip.Addr{}
	if before.on(h.node, endHost) && !h.s.on(h.node, endPod) {
		own = before.addr
	}
	h.in = h.inLink(own)
	by := h.in
	by.Pods = h.s.on(h.node, endPod) // what bears another source is not told apart yet
	guard := h.guard(by, own)
	if guard == nil {
		return
	}
	e := guard.Effective()
	if e == nil || len(e.UntrackedIngress)+len(e.PreDNAT) == 0 {
		return
	}
	first := model.StageUntracked
	if len(e.UntrackedIngress) == 0 {
		first = model.StagePreDNAT
	}
	h.failsafe(guard, first, model.Ingress, settledEarly, 0)
	h.chain(guard, e.Stage(model.StageUntracked, model.Ingress), settledEarly|settledIngress, settledEarly)
	h.chain(guard, e.Stage(model.StagePreDNAT, model.Ingress), settledEarly|settledIngress, settledEarly)
}

// sender adds the egress stages of a sender on the node.
func (h *hop) sender() {
	switch s := h.s; {
	case s.on(h.node, endPod):
		h.normal(s.pod, model.StageWorkload, model.Egress, 0)
	case h.from.judged:
		h.unlisted()
	case s.on(h.node, endUnknown):
		h.fixed(model.Ref{}, model.StageWorkload, model.Egress, h.ix.Settings().UnknownWorkloads, model.ReasonUnknownWorkload)
	case s.on(h.node, endHost):
		guard := h.rec.Guard(h.outLink(s.addr), s.addr, true)
		if guard == nil {
			h.unguarded(s, model.Egress)
			return
		}
		h.failsafe(guard, model.StageHost, model.Egress, settledEgress, 0)
		if e := guard.Effective(); e != nil {
			h.chain(guard, e.Stage(model.StageUntracked, model.Egress), settledEgress, settledEgress)
		}
		h.normal(guard, model.StageHost, model.Egress, settledEgress)
	}
}

// forwarded adds the applyOnForward policies of the host endpoint by whose interface
// the packet leaves, then of that by whose interface it has arrived.
func (h *hop) forwarded() {
	none := netip.Addr{}
	if out := h.guard(h.outLink(none), none); out != nil {
		if e := out.Effective(); e != nil {
			h.chain(out, e.Stage(model.StageForward, model.Egress), 0, 0)
		}
	}
	if in := h.guard(h.in, none); in != nil {
		if e := in.Effective(); e != nil {
			h.chain(in, e.Stage(model.StageForward, model.Ingress), 0, settledIngress)
		}
	}
}

// receiver adds the ingress stages of a receiver on the node.
func (h *hop) receiver() {
	switch d := h.d; {
	case d.on(h.node, endPod):
		h.normal(d.pod, model.StageWorkload, model.Ingress, 0)
	case d.on(h.node, endUnknown):
		h.fixed(model.Ref{}, model.StageWorkload, model.Ingress, h.ix.Settings().UnknownWorkloads, model.ReasonUnknownWorkload)
		h.toLink()
	case !d.on(h.node, endHost):
		h.toLink()
	case h.fromPod():
		h.podToHost()
	default:
		h.toHost(h.rec.Guard(h.in, d.addr, true))
	}
}

// podToHost adds the stages for a pod that connects to its own node.
func (h *hop) podToHost() {
	switch h.ix.Settings().EndpointToHost {
	case model.ToHostAccept:
		h.fixed(h.d.ref(), model.StageToHost, model.Ingress, model.Allow, model.ReasonEndpointToHost)
	case model.ToHostDrop:
		h.fixed(h.d.ref(), model.StageToHost, model.Ingress, model.Deny, model.ReasonEndpointToHost)
	default:
		// Independent of whether it guards the pods' interfaces: endpointToHostAction
		// asks for it explicitly.
		var guard *index.Holder
		if h.rec != nil {
			guard = h.rec.Wildcard()
		}
		h.toHost(guard)
	}
}

// toHost adds the host endpoint's policy for traffic that ends at the host.
func (h *hop) toHost(guard *index.Holder) {
	if guard == nil {
		h.unguarded(h.d, model.Ingress)
		return
	}
	h.failsafe(guard, model.StageHost, model.Ingress, settledIngress, settledIngress)
	h.normal(guard, model.StageHost, model.Ingress, settledIngress)
}

// fromPod reports whether a packet is treated as one of the node's pods', and not as
// one that arrives by an interface of the host: by its source, or by where it arrives.
func (h *hop) fromPod() bool { return h.from.judged || h.s.on(h.node, endPod) }

// inLink is the interface by which a packet arrives, outLink that by which it leaves.
// own is the node's own address on it, if it has one.
func (h *hop) inLink(own netip.Addr) index.Link {
	if !h.from.named {
		return h.linkTo(h.s, own, true)
	}
	return h.linkBy(h.from, h.s, own, true)
}

func (h *hop) outLink(own netip.Addr) index.Link {
	if !h.to.named {
		return h.linkTo(h.d, own, false)
	}
	return h.linkBy(h.to, h.d, own, false)
}

// linkTo is the interface of the node that leads to an end. own is the node's own
// address on the packet, if it has one.
func (h *hop) linkTo(e *End, own netip.Addr, inbound bool) index.Link {
	switch {
	case e.on(h.node, endPod):
		return h.rec.PodLink(e.addr)
	case h.rec == nil:
		return index.Link{}
	case e.on(h.node, endUnknown):
		return h.rec.UnknownLink(e.addr)
	case !h.rec.HasSpecific() && h.ix.Settings().Guards.Wildcard == model.GuardEnforce:
		return index.Link{} // all interfaces have the same guard
	}
	return h.rec.LinkOf(e.addr, own, inbound)
}

// guard is the host endpoint that guards an interface before routing and for forwarded
// traffic. In the stages of traffic that ends or begins at the node itself, the host
// endpoint of all interfaces also guards those of pods, whatever the mode of the
// wildcard guard.
func (h *hop) guard(l index.Link, own netip.Addr) *index.Holder {
	return h.rec.Guard(l, own, h.ix.Settings().Guards.Wildcard == model.GuardEnforce)
}

// failsafe adds the ports that policies cannot close and, with other nodes of the
// cluster, the node's tunnels.
func (h *hop) failsafe(o *index.Holder, stage model.Stage, dir model.Direction, settles, unless Settled) {
	var tunnels []model.Tunnel
	peer := h.s
	if dir == model.Egress {
		peer = h.d
	}
	if peer.ofNode && h.rec.Links() != nil && !h.ix.Settings().Guards.NoTunnelFailsafe {
		tunnels = h.rec.Links().Tunnels
	}
	h.add(Stop{
		Kind: StopFailsafe, Endpoint: o.Ref(), StageChain: index.StageChain{Stage: stage, Direction: dir},
		Reason: model.ReasonFailsafe, Tunnels: tunnels, Settles: settles, Unless: unless,
	})
}

// encapsulation adds the guard that protects the cluster's tunnels from pods: from the
// node's own pods, and for its own tunnels also from those of other nodes, which are
// recognized by their blocks.
func (h *hop) encapsulation() {
	here := h.d.on(h.node, endHost)
	if !here && !h.d.ofNode || h.rec == nil || h.rec.Links() == nil || len(h.rec.Links().Tunnels) == 0 ||
		h.ix.Settings().Guards.Encapsulation != model.GuardEnforce {
		return
	}
	local := h.from.toPods || h.s.on(h.node, endPod)
	if !local && (!here || h.s.ofNode || h.s.on(h.node, endHost)) {
		return
	}
	h.add(Stop{
		Kind: StopTunnels, Endpoint: h.senderRef(), StageChain: index.StageChain{Stage: model.StageWorkload, Direction: model.Egress},
		Action: model.Deny, Reason: model.ReasonGuard, Guard: model.GuardEncapsulationName, Tunnels: h.rec.Links().Tunnels, FromBlocks: !local,
	})
}
