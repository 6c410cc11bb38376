package oracle

import (
	"net/netip"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// decision collects the stages of a connection attempt; the first denial ends it.
type decision struct {
	world *World
	flow  model.Flow
	done  bool
	out   model.Decision
}

func (d *decision) add(v model.Verdict, stage model.Stage, endpoint model.Ref) {
	if d.done {
		return
	}
	v.Stage, v.Endpoint = stage, endpoint
	if v.Audit != nil {
		v.Audit.Stage, v.Audit.Endpoint = v.Stage, v.Endpoint
	}
	d.out.Stages = append(d.out.Stages, v)
	if v.Action == model.Deny {
		d.done, d.out.Action = true, model.Deny
	}
}

func plain(action model.Action, dir model.Direction, reason model.Reason) model.Verdict {
	return model.Verdict{Action: action, Direction: dir, Reason: reason, Rule: model.RuleDefault}
}

// Decide follows a connection attempt through every stage of the sender's node and of
// the receiver's.
func (w *World) Decide(f model.Flow) model.Decision {
	d := &decision{world: w, flow: f, out: model.Decision{Flow: f, Action: model.Allow}}
	src, dst := w.place(f.Src), w.place(f.Dst)
	if f.In == (model.Ref{}) && f.Out == (model.Ref{}) && d.own(src, dst) {
		return d.out
	}
	first, from := w.end(f.In, src)
	last, to := w.end(f.Out, dst)
	if f.In != (model.Ref{}) && f.In.Kind != model.KindNode && f.Out == (model.Ref{}) && from && neverRouted(f.Dst) {
		last, to = first, true // what the node itself gets of it
	}
	if !from && f.In == (model.Ref{}) {
		d.add(plain(model.Allow, model.Egress, model.ReasonNoEndpoint), model.StageWorkload, model.Ref{})
	}
	if from {
		d.hop(first, src, dst)
	}
	if to && (!from || first != last) {
		d.hop(last, src, dst)
	}
	if !to {
		d.add(plain(model.Allow, model.Ingress, model.ReasonNoEndpoint), model.StageWorkload, model.Ref{})
	}
	return d.out
}

// end is the node at one end: that of what the flow names, or of the address.
func (w *World) end(named model.Ref, p place) (node string, ok bool) {
	switch named.Kind {
	case "":
		return p.node, p.pod != nil || p.host || p.unknown
	case model.KindPod:
		if o := w.pod(named); o != nil {
			return o.node, true
		}
		return "", false
	case model.KindInterface:
		return named.Namespace, true
	}
	return named.Name, true
}

// DecideAt follows a connection attempt through the stages of one node.
func (w *World) DecideAt(node string, f model.Flow) model.Decision {
	d := &decision{world: w, flow: f, out: model.Decision{Flow: f, Action: model.Allow}}
	src, dst := w.placeAt(node, f.Src), w.placeAt(node, f.Dst)
	if f.In == (model.Ref{}) && f.Out == (model.Ref{}) && src.node == node && d.own(src, dst) {
		return d.out
	}
	d.hop(node, src, dst)
	return d.out
}

// hop is all that one node has to say.
func (d *decision) hop(node string, src, dst place) {
	w, f := d.world, d.flow
	linked := f.In != (model.Ref{}) || f.Out != (model.Ref{})
	in, out := w.crossing(node, f.In, f.Src), w.crossing(node, f.Out, f.Dst)
	if linked {
		if f.In != (model.Ref{}) && f.In.Kind != model.KindNode && !in.away && f.Out == (model.Ref{}) && neverRouted(f.Dst) {
			out = crossing{named: true, self: true}
		}
		src, dst = in.place(node, src), out.place(node, dst)
	}
	at := func(p place) bool { return p.node == node }
	fromPod, fromSelf, fromUnknown := src.pod != nil && at(src), src.host && at(src), src.unknown && at(src)
	toPod, toSelf, toUnknown := dst.pod != nil && at(dst), dst.host && at(dst), dst.unknown && at(dst)
	if linked && at(src) && (!in.named || in.self) && d.own(src, dst) {
		return
	}
	if linked && d.byLink(node, &in, &out, src, dst) {
		return
	}
	// A pod's packet by its source, or by the interface by which it comes.
	fromLink := in.leads && w.settings.link == model.GuardEnforce && !fromPod
	toLink := out.leads && w.settings.link == model.GuardEnforce && !toPod
	none := netip.Addr{}

	// The interface by which it comes in, and what stands before routing.
	ifaceIn, ofPods, wildcard := "", false, w.settings.wildcard
	ingressSettled := false
	if !fromSelf {
		own := none
		if toSelf && !fromPod {
			own = dst.addr
		}
		switch {
		case in.named && in.away:
			ifaceIn, ofPods = w.outsideInterface(node, src, own, true), fromPod
		case in.named:
			ifaceIn, ofPods = in.iface, fromPod || in.leads
		case fromPod, fromUnknown:
			ifaceIn = w.interfaceOfPods(node, src.addr)
			ofPods = fromPod || ifaceIn != ""
		default:
			ifaceIn = w.interfaceTowards(node, src.addr, own, true)
			ofPods = w.leadsToPods(node, ifaceIn)
		}
		// Before routing only what bears a pod's source is a pod's.
		early := w.guard(node, ifaceIn, fromPod && wildcard != model.GuardEnforce, own)
		ingressSettled = d.beforeRouting(node, early, src, dst)
	}
	if in.named && fromPod && src.pod == dst.pod { // a forged hairpin
		d.itself(src)
		return
	}

	d.encapsulation(node, &in, fromPod, src, toSelf, dst.member)
	switch {
	case fromPod:
		d.add(w.workload(src.pod, f, model.Egress), model.StageWorkload, src.ref())
	case fromLink:
		d.unlisted(&in)
	case fromUnknown:
		d.unknownWorkload(model.Egress)
	case fromSelf:
		guardOut := d.guardOut(node, &out, dst, src.addr, true)
		switch {
		case guardOut == nil:
			d.add(plain(model.Allow, model.Egress, model.ReasonNoEndpoint), model.StageHost, src.ref())
		case d.safe(node, model.Egress, src, dst):
			d.add(plain(model.Allow, model.Egress, model.ReasonFailsafe), model.StageHost, guardOut.ref)
		case !d.optional(guardOut, model.Egress, untracked):
			d.host(guardOut, model.Egress)
		}
	}

	if !fromSelf && !toSelf {
		if guardOut := d.guardOut(node, &out, dst, none, wildcard == model.GuardEnforce); guardOut != nil {
			d.optional(guardOut, model.Egress, forward)
		}
		if guardIn := w.guard(node, ifaceIn, ofPods && wildcard != model.GuardEnforce, none); guardIn != nil && !ingressSettled {
			d.optional(guardIn, model.Ingress, forward)
		}
	}

	switch {
	case toPod:
		d.add(w.workload(dst.pod, f, model.Ingress), model.StageWorkload, dst.ref())
	case toSelf && (fromPod || fromLink):
		// "pod→host passes the pod's egress policy and then endpointToHostAction"
		switch w.settings.toHost {
		case v1alpha1.EndpointToHostDrop:
			d.add(plain(model.Deny, model.Ingress, model.ReasonEndpointToHost), model.StageToHost, dst.ref())
		case v1alpha1.EndpointToHostReturn:
			d.toHost(node, w.wildcard(node), ingressSettled, src, dst)
		default:
			d.add(plain(model.Allow, model.Ingress, model.ReasonEndpointToHost), model.StageToHost, dst.ref())
		}
	case toSelf:
		// Here "*" guards all interfaces, whatever the wildcard guard does.
		d.toHost(node, w.guard(node, ifaceIn, false, dst.addr), ingressSettled, src, dst)
	default:
		if toUnknown {
			d.unknownWorkload(model.Ingress)
		}
		if toLink && out.pod != nil && fromSelf {
			d.add(plain(model.Allow, model.Ingress, model.ReasonOwnNode), model.StageWorkload, out.pod.ref)
		} else if toLink && out.pod != nil {
			d.add(w.workload(out.pod, f, model.Ingress), model.StageWorkload, out.pod.ref)
		}
	}
}

// guardOut is the host endpoint of the interface by which a packet leaves the node. own
// is the node's own address on it, if it sends it; all: "*" guards pods' interfaces too.
func (d *decision) guardOut(node string, out *crossing, dst place, own netip.Addr, all bool) *owner {
	w := d.world
	var iface string
	pods := dst.pod != nil && dst.node == node
	switch {
	case out.named && out.away:
		iface = w.outsideInterface(node, dst, own, false)
	case out.named:
		iface, pods = out.iface, pods || out.leads
	case pods, dst.unknown && dst.node == node:
		iface = w.interfaceOfPods(node, dst.addr)
		pods = pods || iface != ""
	default:
		iface = w.interfaceTowards(node, dst.addr, own, false)
		pods = w.leadsToPods(node, iface)
	}
	return w.guard(node, iface, pods && !all, own)
}
