package policy

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Stop is a point on the way of a connection at which something is decided of it.
// Stops come in the order in which its first packet meets them; the first that
// denies ends the way.
type Stop struct {
	Kind StopKind
	// Endpoint whose policy it is, or the node; zero where the address belongs to none.
	Endpoint model.Ref
	// StageChain tells the stage and the direction, and of a StopChain what decides.
	StageChain
	// Action and Reason are the verdict of a StopFixed; Reason also that of a StopFailsafe.
	Action model.Action
	Reason model.Reason
	// Tunnels of the node pass a StopFailsafe too.
	Tunnels []model.Tunnel
	// Settles is what an Allow here settles. A stop is passed over, and leaves no
	// verdict, once something of its Unless is settled.
	Settles, Unless Settled
}

// StopKind is how a Stop decides.
type StopKind uint8

// The kinds of stops.
const (
	// StopChain decides by policies.
	StopChain StopKind = iota
	// StopFailsafe allows the failsafe ports of its direction, and leaves no verdict
	// for others.
	StopFailsafe
	// StopFixed gives one verdict to all packets.
	StopFixed
)

// Settled is a set of matters that an Allow can settle for later stops.
type Settled uint8

// What an Allow of a host endpoint settles at one node; a connection passes two at most.
const (
	settledEarly   Settled = 1 << iota // its stages before routing
	settledIngress                     // its later ingress stages
	settledEgress                      // its egress stages
	settledBits    = 3
)

// BeforeNAT reports whether a stop sees the packet as it came, before its
// destination is translated.
func (s *Stop) BeforeNAT() bool {
	return s.Stage == model.StageUntracked || s.Stage == model.StagePreDNAT
}

// Route appends the stops between two ends to buf: those of the sender's node,
// then those of the receiver's, or once those of the node that both are on. Nothing
// is known of nodes that are not local: their agents decide.
func (ix *Index) Route(buf []Stop, src, dst *End) []Stop {
	r := router{ix: ix}
	r.connection(src, dst)
	return append(buf, r.stops[:r.n]...)
}

// maxStops bounds the stops of two nodes: three before routing at each, an egress and
// an ingress of each end, two of what is forwarded at each, and failsafe ports.
const maxStops = 16

// router gathers the stops of a route. They are in the router itself, so that a
// verdict costs no memory for them.
type router struct {
	ix    *Index
	shift int // of the Settled bits of the node at hand
	n     int
	stops [maxStops]Stop
}

// connection adds the stops of all nodes on the way.
func (r *router) connection(s, d *End) {
	if r.short(s, d) {
		return
	}
	if s.kind == endOutside {
		r.unguarded(s, model.Egress)
	} else {
		r.hop(s.node, s, d, d)
		r.shift += settledBits
	}
	switch {
	case d.kind == endOutside:
		r.unguarded(d, model.Ingress)
	case s.kind == endOutside || s.node != d.node:
		r.hop(d.node, s, d, d)
	}
}

// at adds the stops of one node alone, for a packet before and after the translation
// of its destination.
func (r *router) at(node string, before, after *model.Flow) {
	if node == "" {
		s, d := r.ix.End(after.Src), r.ix.End(after.Dst)
		r.connection(&s, &d)
		return
	}
	rec := r.ix.nodes[node]
	s, d := r.ix.endAt(node, rec, after.Src), r.ix.endAt(node, rec, after.Dst)
	named := d
	if before.Dst != after.Dst {
		named = r.ix.endAt(node, rec, before.Dst)
	}
	if s.on(node, endPod) && s.pod == d.pod && before.Dst != after.Dst {
		h := r.hopOf(node, &s, &d)
		h.beforeRouting(&named)
	}
	if s.node != node || !r.short(&s, &d) {
		r.hop(node, &s, &d, &named)
	}
}

// short adds the stops of a connection that no other endpoint's policy governs, and
// reports whether it is one: an endpoint reaches itself, and a node its own pods.
func (r *router) short(s, d *End) bool {
	switch {
	case s.kind == endPod && s.pod == d.pod:
		r.toItself(s.pod)
	case s.kind == endHost && d.on(s.node, endHost):
		r.fixed(s.ref(), model.StageHost, model.Egress, model.Allow, model.ReasonLoopback)
	case s.kind == endHost && (d.on(s.node, endPod) || d.on(s.node, endUnknown)):
		r.fixed(d.ref(), model.StageWorkload, model.Ingress, model.Allow, model.ReasonOwnNode)
	default:
		return false
	}
	return true
}

// toItself is a pod that reaches itself: directly, which no kernel but its own
// sees, or by way of a Service. ClusterNetworkPolicies govern the latter.
func (r *router) toItself(pod *owner) {
	if e := pod.effective(); e != nil {
		r.chain(pod, StageChain{model.StageWorkload, model.Egress, e.SelfEgress, true, model.NoAction}, 0, 0)
		r.chain(pod, StageChain{model.StageWorkload, model.Ingress, e.SelfIngress, true, model.NoAction}, 0, 0)
	}
	r.fixed(pod.ref(), model.StageWorkload, model.Egress, model.Allow, model.ReasonLoopback)
}

// hop adds the stops of one node. before is the receiver as the packet named it
// when it came, where that has been translated; else it is d.
func (r *router) hop(node string, s, d, before *End) {
	if !r.ix.isLocal(node) {
		return
	}
	h := r.hopOf(node, s, d)
	if !s.on(node, endHost) {
		h.beforeRouting(before)
	}
	h.sender()
	if !s.on(node, endHost) && !d.on(node, endHost) {
		h.forwarded()
	}
	h.receiver()
}

// hopOf begins the stops of one node. Pods whose node is not known have no host
// endpoints in their way.
func (r *router) hopOf(node string, s, d *End) hop {
	h := hop{router: r, node: node, s: s, d: d}
	if node != "" {
		h.rec = r.ix.nodes[node]
	}
	return h
}

// hop is one node on the way.
type hop struct {
	*router
	rec  *nodeRec // nil where no host endpoint can be
	node string
	s, d *End
	in   link // by which the packet comes in; none for what the node sends itself
}

// beforeRouting adds the stages before routing of the host endpoint that guards the
// interface by which the packet comes in, and determines that interface.
func (h *hop) beforeRouting(before *End) {
	if h.rec == nil {
		return
	}
	own := netip.Addr{}
	if before.on(h.node, endHost) && !h.s.on(h.node, endPod) {
		own = before.addr
	}
	h.in = h.linkTo(h.s, own, true)
	guard := h.guard(h.in, own)
	if guard == nil {
		return
	}
	e := guard.effective()
	if e == nil || len(e.UntrackedIngress)+len(e.PreDNAT) == 0 {
		return
	}
	first := model.StageUntracked
	if len(e.UntrackedIngress) == 0 {
		first = model.StagePreDNAT
	}
	h.failsafe(guard, first, model.Ingress, settledEarly, 0)
	h.chain(guard, e.of(model.StageUntracked, model.Ingress), settledEarly|settledIngress, settledEarly)
	h.chain(guard, e.of(model.StagePreDNAT, model.Ingress), settledEarly|settledIngress, settledEarly)
}

// sender adds the egress stages of a sender on the node.
func (h *hop) sender() {
	switch s := h.s; {
	case s.on(h.node, endPod):
		h.normal(s.pod, model.StageWorkload, model.Egress, 0)
	case s.on(h.node, endUnknown):
		h.fixed(model.Ref{}, model.StageWorkload, model.Egress, h.ix.settings.UnknownWorkloads, model.ReasonUnknownWorkload)
	case s.on(h.node, endHost):
		guard := h.guard(h.linkTo(h.d, s.addr, false), s.addr)
		if guard == nil {
			h.unguarded(s, model.Egress)
			return
		}
		h.failsafe(guard, model.StageHost, model.Egress, settledEgress, 0)
		if e := guard.effective(); e != nil {
			h.chain(guard, e.of(model.StageUntracked, model.Egress), settledEgress, settledEgress)
		}
		h.normal(guard, model.StageHost, model.Egress, settledEgress)
	}
}

// forwarded adds the applyOnForward policies of the host endpoint by whose interface
// the packet leaves, then of that by whose interface it has come in.
func (h *hop) forwarded() {
	none := netip.Addr{}
	if out := h.guard(h.linkTo(h.d, none, false), none); out != nil {
		if e := out.effective(); e != nil {
			h.chain(out, e.of(model.StageForward, model.Egress), 0, 0)
		}
	}
	if in := h.guard(h.in, none); in != nil {
		if e := in.effective(); e != nil {
			h.chain(in, e.of(model.StageForward, model.Ingress), 0, settledIngress)
		}
	}
}

// receiver adds the ingress stages of a receiver on the node.
func (h *hop) receiver() {
	switch d := h.d; {
	case d.on(h.node, endPod):
		h.normal(d.pod, model.StageWorkload, model.Ingress, 0)
	case d.on(h.node, endUnknown):
		h.fixed(model.Ref{}, model.StageWorkload, model.Ingress, h.ix.settings.UnknownWorkloads, model.ReasonUnknownWorkload)
	case d.on(h.node, endHost) && h.s.on(h.node, endPod):
		h.podToHost()
	case d.on(h.node, endHost):
		h.toHost(h.guard(h.in, d.addr))
	}
}

// podToHost adds what a pod meets that reaches its own node.
func (h *hop) podToHost() {
	switch h.ix.settings.EndpointToHost {
	case model.ToHostAccept:
		h.fixed(h.d.ref(), model.StageToHost, model.Ingress, model.Allow, model.ReasonEndpointToHost)
	case model.ToHostDrop:
		h.fixed(h.d.ref(), model.StageToHost, model.Ingress, model.Deny, model.ReasonEndpointToHost)
	default:
		// Whether it guards the pods' interfaces or not: this is asked for by name.
		var guard *owner
		if h.rec != nil {
			guard = h.rec.wildcard
		}
		h.toHost(guard)
	}
}

// toHost adds the host endpoint's policy for what ends at the host.
func (h *hop) toHost(guard *owner) {
	if guard == nil {
		h.unguarded(h.d, model.Ingress)
		return
	}
	h.failsafe(guard, model.StageHost, model.Ingress, settledIngress, settledIngress)
	h.normal(guard, model.StageHost, model.Ingress, settledIngress)
}

// linkTo is the interface of the node that leads to an end. own is the node's own
// address on the packet, if it has one.
func (h *hop) linkTo(e *End, own netip.Addr, inbound bool) link {
	switch {
	case e.on(h.node, endPod):
		return h.rec.podLink(e.addr)
	case h.rec == nil:
		return link{}
	case e.on(h.node, endUnknown):
		return h.rec.unknownLink(e.addr)
	case !h.rec.special && h.ix.settings.Guards.Wildcard == model.GuardEnforce:
		return link{} // all interfaces have the same guard
	}
	return h.rec.linkOf(e.addr, own, inbound)
}

func (h *hop) guard(l link, own netip.Addr) *owner {
	return h.rec.guard(l, own, h.ix.settings.Guards.Wildcard == model.GuardEnforce)
}

// normal adds the stage of an endpoint's own policy, which has a default.
func (r *router) normal(o *owner, stage model.Stage, dir model.Direction, unless Settled) {
	if e := o.effective(); e != nil {
		r.add(Stop{Endpoint: o.ref(), StageChain: e.of(stage, dir), Unless: unless})
	}
}

// chain adds a stage that is left out where it has no policies.
func (r *router) chain(o *owner, c StageChain, settles, unless Settled) {
	if len(c.Chain) > 0 {
		r.add(Stop{Endpoint: o.ref(), StageChain: c, Settles: settles, Unless: unless})
	}
}

// failsafe adds the ports that policies cannot close, and between two nodes of the
// cluster the node's tunnels.
func (h *hop) failsafe(o *owner, stage model.Stage, dir model.Direction, settles, unless Settled) {
	var tunnels []model.Tunnel
	if h.s.ofNode && h.d.ofNode && h.rec.links != nil && !h.ix.settings.Guards.NoTunnelFailsafe {
		tunnels = h.rec.links.Tunnels
	}
	h.add(Stop{
		Kind: StopFailsafe, Endpoint: o.ref(), StageChain: StageChain{Stage: stage, Direction: dir},
		Reason: model.ReasonFailsafe, Tunnels: tunnels, Settles: settles, Unless: unless,
	})
}

func (r *router) fixed(ref model.Ref, stage model.Stage, dir model.Direction, a model.Action, reason model.Reason) {
	r.add(Stop{Kind: StopFixed, Endpoint: ref, StageChain: StageChain{Stage: stage, Direction: dir}, Action: a, Reason: reason})
}

// unguarded adds that no policy applies to an end.
func (r *router) unguarded(e *End, dir model.Direction) {
	stage := model.StageWorkload
	if e.kind == endHost {
		stage = model.StageHost
	}
	r.fixed(e.ref(), stage, dir, model.Allow, model.ReasonNoEndpoint)
}

func (r *router) add(s Stop) {
	s.Settles <<= r.shift
	s.Unless <<= r.shift
	r.stops[r.n] = s
	r.n++
}
