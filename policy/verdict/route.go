package verdict

import (
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Stop is a point on the route of a connection at which something is decided about it.
// Stops come in the order in which the connection's first packet meets them; the first
// that denies ends the route.
type Stop struct {
	Kind StopKind
	// FromBlocks: a StopTunnels denies only packets with a source in the nodes' pod
	// blocks.
	FromBlocks bool
	// Endpoint whose policy it is, or the node; zero if the address belongs to none.
	Endpoint model.Ref
	// StageChain has the stage and the direction, and for a StopChain the policies that
	// decide.
	index.StageChain
	// Action and Reason are the verdict of a StopFixed; Reason also that of a StopFailsafe.
	Action model.Action
	Reason model.Reason
	// Guard that denies, at a StopFixed or StopTunnels; empty if none does.
	Guard model.GuardName
	// Tunnels of the node also pass a StopFailsafe; a StopTunnels denies them.
	Tunnels []model.Tunnel
	// Settles is what an Allow at this stop settles. A stop is passed over, and leaves
	// no verdict, once anything in its Unless is settled.
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
	// StopTunnels denies packets into Tunnels of the node, and leaves no verdict for
	// others.
	StopTunnels
)

// Settled is a set of groups of stops that an Allow at an earlier stop can settle.
type Settled uint16

// What an Allow of a host endpoint settles at one node. A connection passes at most
// three nodes: one that translates its destination may be neither end's.
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

// Route appends the stops between two ends to buf: those of the sender's node, then
// those of the receiver's, or those of the node once if both are on it. Nothing is
// known about nodes that are not local: their agents decide.
func Route(ix *index.Index, buf []Stop, src, dst *End) []Stop {
	r := router{ix: ix}
	r.connection(src, dst)
	for i := range r.stops[:r.n] {
		if s := &r.stops[i]; !s.FromBlocks || ix.InPodBlocks(src.addr) {
			buf = append(buf, *s)
		}
	}
	return buf
}

// maxStops bounds the stops of two nodes: three before routing at each, one egress and
// one ingress stop for each end, two for forwarded traffic at each, failsafe ports and
// guards.
const maxStops = 18

// router collects the stops of a route. They are stored in the router itself, so that a
// verdict allocates no memory for them.
type router struct {
	ix    *index.Index
	flow  *model.Flow // where it names links; else nil
	shift int         // of the Settled bits of the node at hand
	n     int
	stops [maxStops]Stop
}

// connect adds the stops of all nodes on the route.
func (r *router) connect(s, d *End) {
	if r.flow != nil {
		r.byLinks(s, d)
		return
	}
	r.connection(s, d)
}

// connection adds those of a connection that arrives and leaves where its addresses
// belong.
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
		s, d := EndOf(r.ix, after.Src), EndOf(r.ix, after.Dst)
		r.connect(&s, &d)
		return
	}
	rec := r.ix.NodeState(node)
	s, d := endAt(r.ix, node, rec, after.Src), endAt(r.ix, node, rec, after.Dst)
	named := d
	if before.Dst != after.Dst {
		named = endAt(r.ix, node, rec, before.Dst)
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
// reports whether it is one: an endpoint that connects to itself, or a node to its own
// pods.
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

// toItself adds the stops of a pod that connects to itself: directly, which no kernel
// but the pod's own sees, or through a Service, which ClusterNetworkPolicies govern.
func (r *router) toItself(pod *index.Holder) {
	if e := pod.Effective(); e != nil {
		r.chain(pod, index.StageChain{Stage: model.StageWorkload, Direction: model.Egress, Chain: e.SelfEgress, EndOfTier: true}, 0, 0)
		r.chain(pod, index.StageChain{Stage: model.StageWorkload, Direction: model.Ingress, Chain: e.SelfIngress, EndOfTier: true}, 0, 0)
	}
	r.fixed(pod.Ref(), model.StageWorkload, model.Egress, model.Allow, model.ReasonLoopback)
}

// normal adds the stage of an endpoint's own policy, which has a default.
func (r *router) normal(o *index.Holder, stage model.Stage, dir model.Direction, unless Settled) {
	if o.IsGhost() {
		if o.IsLocal() {
			r.fixed(o.Ref(), stage, dir, model.Deny, model.ReasonGhost)
		}
		return
	}
	if o.IsDenied() {
		r.fixed(o.Ref(), stage, dir, model.Deny, model.ReasonPastBudget)
		return
	}
	if e := o.Effective(); e != nil {
		r.add(Stop{Endpoint: o.Ref(), StageChain: e.Stage(stage, dir), Unless: unless})
	}
}

// chain adds a stage that is omitted if it has no policies.
func (r *router) chain(o *index.Holder, c index.StageChain, settles, unless Settled) {
	if len(c.Chain) > 0 {
		r.add(Stop{Endpoint: o.Ref(), StageChain: c, Settles: settles, Unless: unless})
	}
}

func (r *router) fixed(ref model.Ref, stage model.Stage, dir model.Direction, a model.Action, reason model.Reason) {
	r.add(Stop{Kind: StopFixed, Endpoint: ref, StageChain: index.StageChain{Stage: stage, Direction: dir}, Action: a, Reason: reason})
}

// unguarded adds a stop to which no policy applies.
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
