package verdict

import (
	"github.com/tierwall/tierwall/policy/index"
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
	index.StageChain
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

// maxStops bounds the stops of two nodes: three before routing at each, an egress and
// an ingress of each end, two of what is forwarded at each, failsafe ports and guards.
const maxStops = 18

// router gathers the stops of a route. They are in the router itself, so that a
// verdict costs no memory for them.
type router struct {
	ix    *index.Index
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

// chain adds a stage that is left out where it has no policies.
func (r *router) chain(o *index.Holder, c index.StageChain, settles, unless Settled) {
	if len(c.Chain) > 0 {
		r.add(Stop{Endpoint: o.Ref(), StageChain: c, Settles: settles, Unless: unless})
	}
}

func (r *router) fixed(ref model.Ref, stage model.Stage, dir model.Direction, a model.Action, reason model.Reason) {
	r.add(Stop{Kind: StopFixed, Endpoint: ref, StageChain: index.StageChain{Stage: stage, Direction: dir}, Action: a, Reason: reason})
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
