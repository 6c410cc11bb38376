package verdict

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// way is where a packet arrives at a node or leaves it, as named in its flow. In the
// zero way nothing is named: it is where its address belongs.
type way struct {
	// named is set unless the address belongs to what is there.
	named bool
	// toPods: an interface, or port of a bridge, that leads to local pods; pod is the
	// one behind it, nil if unknown.
	toPods bool
	pod    *index.Holder
	// judged: toPods, and the link guard is enforced, so that the pod behind it is
	// decisive if an address is not a pod's.
	judged bool
	// name of the interface, empty if unknown; port of a bridge.
	name, port string
	// own: the node itself sends or receives it.
	own bool
	// elsewhere: another node is there, so that it comes from or goes to the outside.
	elsewhere bool
}

// unnamed is the way of packets that arrive and leave where their addresses belong.
var unnamed way

// crossing is how a packet crosses a node if its flow names that, with the owners of
// its addresses in that case.
type crossing struct {
	from, to way
	s, d     End
}

// byLinks adds the stops of a connection whose flow names where it arrives or leaves:
// those of the node where it arrives, then those of the node where it leaves.
func (r *router) byLinks(s, d *End) {
	first, from := r.nodeAt(r.flow.In, s)
	last, to := r.nodeAt(r.flow.Out, d)
	if from && toItsNode(r.flow) {
		last, to = first, true
	}
	switch {
	case from:
		r.hop(first, s, d, d)
		r.shift += settledBits
	case r.flow.In.Kind == "":
		r.fixed(model.Ref{}, model.StageWorkload, model.Egress, model.Allow, model.ReasonNoEndpoint)
	}
	switch {
	case !to:
		r.fixed(model.Ref{}, model.StageWorkload, model.Ingress, model.Allow, model.ReasonNoEndpoint)
	case !from || first != last:
		r.hop(last, s, d, d)
	}
}

// toItsNode reports whether a flow is the copy that the node itself receives of a
// packet on its link.
func toItsNode(f *model.Flow) bool {
	return f.In.Kind != "" && f.In.Kind != model.KindNode && f.Out.Kind == "" && onLinkOnly(f.Dst.Unmap())
}

// nodeAt is the node at one end of a flow: the one that it names, otherwise that of the
// address. ok is false if the flow names a pod that does not exist, or if the address
// is outside.
func (r *router) nodeAt(named model.Ref, e *End) (node string, ok bool) {
	switch named.Kind {
	case "":
		return e.node, e.kind != endOutside
	case model.KindPod:
		if pod := r.ix.Find(named); pod != nil {
			return pod.Node(), true
		}
		return "", false
	case model.KindInterface:
		return named.Namespace, true
	case model.KindNode:
		return named.Name, true
	}
	return "", false
}

// cross determines where a packet arrives at the node and leaves it.
func (h *hop) cross(x *crossing) {
	f := h.flow
	x.from, x.to = h.way(f.In, h.s.addr), h.way(f.Out, h.d.addr)
	if h.comesHere(&x.from) && toItsNode(f) {
		x.to = way{named: true, own: true}
	}
	h.from, h.to = &x.from, &x.to
}

// comesHere reports whether the flow names this node as the one where the packet
// arrives.
func (h *hop) comesHere(from *way) bool { return h.flow.In.Kind != "" && !from.elsewhere }

// enter adds what is decided by where a packet arrives alone, and reports whether that
// is all.
func (h *hop) enter(before *End) (done bool) {
	if !h.from.named || h.from.own {
		if h.s.on(h.node, endPod) && h.s.pod == h.d.pod && before.addr != h.d.addr {
			h.beforeRouting(before)
		}
		if h.s.node == h.node && h.short(h.s, h.d) {
			return true
		}
	} else if h.forged() {
		h.deny(model.GuardSourceName)
		return true
	}
	return h.comesHere(h.from) && !h.from.own && h.discovery()
}

// end is the owner of an address at a node where its packet arrives or leaves by a way.
func (w *way) end(e End, node string) End {
	switch {
	case w.own && e.kind != endPod:
		return End{addr: e.addr, kind: endHost, node: node, ofNode: e.ofNode}
	case w.named && !w.own && e.on(node, endHost): // the node's own, but not there
		return End{addr: e.addr, ofNode: e.ofNode}
	}
	return e
}

// way is where a packet with an address arrives or leaves, as named in the flow.
func (h *hop) way(named model.Ref, a netip.Addr) way {
	switch named.Kind {
	case "":
		return way{}
	case model.KindPod:
		pod := h.ix.Find(named)
		if pod == nil || pod.Node() != h.node {
			break
		}
		w := h.wayOfPod(pod, a)
		w.named = !slices.Contains(pod.Addrs(), a)
		return w
	case model.KindInterface:
		if named.Namespace == h.node {
			return h.wayBy(named.Name, "")
		}
	case model.KindNode:
		if named.Name == h.node {
			return way{named: true, own: true}
		}
	}
	return way{named: true, elsewhere: true}
}

// wayOfPod is the link of a pod of the node: that of its address of a's family,
// otherwise of another address. If nothing is known about the node's interfaces, each
// pod has its own.
func (h *hop) wayOfPod(pod *index.Holder, a netip.Addr) way {
	if h.rec == nil || h.rec.Links() == nil {
		return way{named: true, toPods: true, judged: h.ix.Settings().Guards.Link == model.GuardEnforce, pod: pod}
	}
	var found *model.PodLink
	for i := range h.rec.Links().Pods {
		p := &h.rec.Links().Pods[i]
		if b := p.Addr.Unmap(); slices.Contains(pod.Addrs(), b) && (found == nil || b.Is4() == a.Is4() && found.Addr.Unmap().Is4() != a.Is4()) {
			found = p
		}
	}
	if found == nil {
		return way{named: true}
	}
	return h.wayBy(found.Interface, found.Port)
}

// wayBy is an interface of the node, or a port on it.
func (h *hop) wayBy(name, port string) way {
	w := way{named: true, name: name, port: port}
	if h.rec == nil || h.rec.Links() == nil || name == "" || !h.rec.Links().LeadsToPods(name) {
		return w
	}
	w.toPods = true
	w.judged = h.ix.Settings().Guards.Link == model.GuardEnforce
	for i := range h.rec.Links().Pods {
		if p := &h.rec.Links().Pods[i]; p.Interface == name && p.Port == port {
			if w.pod = podAt(h.ix, p.Addr.Unmap(), h.node); w.pod != nil {
				break
			}
		}
	}
	return w
}

// podAt is the pod of a node that has an address; the first by name if there are
// several.
func podAt(ix *index.Index, a netip.Addr, node string) *index.Holder {
	var first *index.Holder
	ix.EachHolder(a, func(o *index.Holder) bool {
		if o.IsPod() && o.Node() == node && (first == nil || o.Ref().Compare(first.Ref()) < 0) {
			first = o
		}
		return true
	})
	return first
}

// linkBy is the interface of a way. A packet with a pod's address counts as a pod's,
// like one that arrives or leaves by a pod's interface.
func (h *hop) linkBy(w *way, e *End, own netip.Addr, inbound bool) index.Link {
	pods := w.toPods || e.on(h.node, endPod)
	switch {
	case h.rec == nil || !w.elsewhere:
		return index.Link{Name: w.name, Pods: pods}
	case e.node == h.node: // it claims to be here
		e = &End{addr: unspecified(e.addr)}
	}
	return index.Link{Name: h.rec.LinkOf(e.addr, own, inbound).Name, Pods: pods}
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// senderRef is the pod by whose interface a packet arrives, or that has its source
// address.
func (h *hop) senderRef() model.Ref {
	switch {
	case h.from.pod != nil:
		return h.from.pod.Ref()
	case h.from.named:
		return model.Ref{}
	}
	return h.s.ref()
}

// deny adds that a guard drops the packet.
func (h *hop) deny(g model.GuardName) {
	h.add(Stop{
		Kind: StopFixed, Endpoint: h.senderRef(), StageChain: index.StageChain{Stage: model.StageWorkload, Direction: model.Egress},
		Action: model.Deny, Reason: model.ReasonGuard, Guard: g,
	})
}
