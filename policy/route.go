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
	// FromBlocks: a StopTunnels denies only what bears an address of the nodes' pod blocks.
	FromBlocks bool
	// Endpoint whose policy it is, or the node; zero where the address belongs to none.
	Endpoint model.Ref
	// StageChain tells the stage and the direction, and of a StopChain what decides.
	StageChain
	// Action and Reason are the verdict of a StopFixed; Reason also that of a StopFailsafe.
	Action model.Action
	Reason model.Reason
	// Guard that denies, at a StopFixed or StopTunnels; empty where none does.
	Guard model.GuardName
	// Tunnels of the node pass a StopFailsafe too; they are what a StopTunnels denies.
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
	// StopTunnels denies what goes to Tunnels of the node, and leaves no verdict for
	// others.
	StopTunnels
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
	for i := range r.stops[:r.n] {
		if s := &r.stops[i]; !s.FromBlocks || ix.inBlocks(src.addr) {
			buf = append(buf, *s)
		}
	}
	return buf
}

// maxStops bounds the stops of two nodes: three before routing at each, an egress and
// an ingress of each end, two of what is forwarded at each, failsafe ports and guards.
const maxStops = 18

// router gathers the stops of a route. They are in the router itself, so that a
// verdict costs no memory for them.
type router struct {
	ix    *Index
	flow  *model.Flow // where it names links; else nil
	shift int         // of the Settled bits of the node at hand
	n     int
	stops [maxStops]Stop
}

// connect adds the stops of all nodes on the way.
func (r *router) connect(s, d *End) {
	if r.flow != nil {
		r.byLinks(s, d)
		return
	}
	r.connection(s, d)
}

// connection adds those of a connection that comes and leaves as its addresses say.
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
		r.connect(&s, &d)
		return
	}
	rec := r.ix.nodes[node]
	s, d := r.ix.endAt(node, rec, after.Src), r.ix.endAt(node, rec, after.Dst)
	named := d
	if before.Dst != after.Dst {
		named = r.ix.endAt(node, rec, before.Dst)
	}
	if r.flow != nil {
		r.hop(node, &s, &d, &named)
		return
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

// hopOf begins the stops of one node. Pods whose node is not known have no host
// endpoints in their way.
func (r *router) hopOf(node string, s, d *End) hop {
	h := hop{router: r, node: node, s: s, d: d, from: &unnamed, to: &unnamed}
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
	// from and to are where it comes in and leaves, as far as its flow names that.
	from, to *way
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
	h.in = h.inLink(own)
	by := h.in
	by.pods = h.s.on(h.node, endPod) // what bears another source is not told apart yet
	guard := h.guard(by, own)
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
	case h.from.judged:
		h.unlisted()
	case s.on(h.node, endUnknown):
		h.fixed(model.Ref{}, model.StageWorkload, model.Egress, h.ix.settings.UnknownWorkloads, model.ReasonUnknownWorkload)
	case s.on(h.node, endHost):
		guard := h.rec.guard(h.outLink(s.addr), s.addr, true)
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
	if out := h.guard(h.outLink(none), none); out != nil {
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
		h.toLink()
	case !d.on(h.node, endHost):
		h.toLink()
	case h.fromPod():
		h.podToHost()
	default:
		h.toHost(h.rec.guard(h.in, d.addr, true))
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

// fromPod reports whether a packet is dealt with as a pod's of the node, and not as
// one that comes by an interface of the host's: by its source, or by where it comes in.
func (h *hop) fromPod() bool { return h.from.judged || h.s.on(h.node, endPod) }

// inLink is the interface by which a packet comes in, outLink that by which it leaves.
// own is the node's own address on it, if it has one.
func (h *hop) inLink(own netip.Addr) link {
	if !h.from.named {
		return h.linkTo(h.s, own, true)
	}
	return h.linkBy(h.from, h.s, own, true)
}

func (h *hop) outLink(own netip.Addr) link {
	if !h.to.named {
		return h.linkTo(h.d, own, false)
	}
	return h.linkBy(h.to, h.d, own, false)
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

// guard is the host endpoint that guards an interface before routing and for what is
// forwarded. In the stages of what ends or begins at the node itself, the one of all
// interfaces guards those of pods too, whatever the wildcard guard does.
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

// failsafe adds the ports that policies cannot close, and with other nodes of the
// cluster the node's tunnels.
func (h *hop) failsafe(o *owner, stage model.Stage, dir model.Direction, settles, unless Settled) {
	var tunnels []model.Tunnel
	peer := h.s
	if dir == model.Egress {
		peer = h.d
	}
	if peer.ofNode && h.rec.links != nil && !h.ix.settings.Guards.NoTunnelFailsafe {
		tunnels = h.rec.links.Tunnels
	}
	h.add(Stop{
		Kind: StopFailsafe, Endpoint: o.ref(), StageChain: StageChain{Stage: stage, Direction: dir},
		Reason: model.ReasonFailsafe, Tunnels: tunnels, Settles: settles, Unless: unless,
	})
}

// encapsulation adds the guard of the cluster's tunnels against pods: the node's own,
// and before its own tunnels those of other nodes, which are known by their blocks.
func (h *hop) encapsulation() {
	here := h.d.on(h.node, endHost)
	if !here && !h.d.ofNode || h.rec == nil || h.rec.links == nil || len(h.rec.links.Tunnels) == 0 ||
		h.ix.settings.Guards.Encapsulation != model.GuardEnforce {
		return
	}
	local := h.from.toPods || h.s.on(h.node, endPod)
	if !local && (!here || h.s.ofNode || h.s.on(h.node, endHost)) {
		return
	}
	h.add(Stop{
		Kind: StopTunnels, Endpoint: h.senderRef(), StageChain: StageChain{Stage: model.StageWorkload, Direction: model.Egress},
		Action: model.Deny, Reason: model.ReasonGuard, Guard: model.GuardEncapsulationName, Tunnels: h.rec.links.Tunnels, FromBlocks: !local,
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
