package verdict

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Decisions about packets by the link on which they arrive or leave, for addresses that
// belong to no pod, or to one that is elsewhere.

var broadcast4 = netip.MustParseAddr("255.255.255.255")

// onLinkOnly reports whether packets to a destination are never routed, so that only
// the link by which they leave tells receivers apart.
func onLinkOnly(a netip.Addr) bool {
	return a.IsMulticast() || a == broadcast4 || a.Is6() && a.IsLinkLocalUnicast()
}

// ofLink reports whether a source stands for whatever is on the link: a link-local or
// unspecified one.
func ofLink(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLinkLocalUnicast() // fe80::/10, 169.254.0.0/16
}

// forged reports whether the source guard drops a packet: its source is that of a local
// pod with a known interface, but it arrives by another one.
func (h *hop) forged() bool {
	if h.ix.Settings().Guards.Source != model.GuardEnforce {
		return false
	}
	if h.rec == nil || h.rec.Links() == nil {
		return h.s.on(h.node, endPod) && h.s.pod != h.from.pod
	}
	bound := false
	for i := range h.rec.Links().Pods {
		p := &h.rec.Links().Pods[i]
		if p.Addr.Unmap() != h.s.addr {
			continue
		}
		if p.Interface == h.from.name && (p.Port == "" || p.Port == h.from.port) {
			return false
		}
		bound = true
	}
	return bound
}

// ICMPv6 types.
const (
	icmpListenerQuery       = 130
	icmpListenerDone        = 132
	icmpRouterSolicitation  = 133
	icmpRouterAdvertisement = 134
	icmpRedirect            = 137
	icmpListenerReport2     = 143
)

const igmp model.Protocol = 2

// discovery adds the treatment of neighbour discovery and multicast listener reports,
// which pass before policy, and reports whether that decides. Pods are not routers:
// their policies apply to their router advertisements, and they cannot redirect their
// neighbours.
func (h *hop) discovery() bool {
	f, src := h.flow, h.s.addr
	pass := false
	switch t := f.ICMPType; {
	case f.Protocol == igmp:
		pass = h.d.addr.Is4() && h.d.addr.IsMulticast()
	case f.Protocol != model.ICMPv6 || !src.Is6():
	case t >= icmpRouterSolicitation && t <= icmpRedirect:
		if h.from.judged && t == icmpRedirect {
			h.deny(model.GuardDiscoveryName)
			return true
		}
		if h.from.judged && t == icmpRouterAdvertisement {
			h.advertised()
			return true
		}
		pass = true
	case t >= icmpListenerQuery && t <= icmpListenerDone:
		pass = src.IsLinkLocalUnicast()
	case t == icmpListenerReport2:
		pass = src.IsLinkLocalUnicast() || src.IsUnspecified()
	}
	if pass {
		h.fixed(h.senderRef(), model.StageWorkload, model.Egress, model.Allow, model.ReasonLinkService)
	}
	return pass
}

// advertised adds the treatment of a router advertisement on a pod's interface. It is
// subject to the policies of the pod behind the interface, whatever its source, and of
// its receiver; host endpoints do not apply to it, as to other neighbour discovery.
func (h *hop) advertised() {
	switch {
	case h.from.pod != nil:
		h.normal(h.from.pod, model.StageWorkload, model.Egress, 0)
	case h.ix.Settings().UnknownWorkloads == model.Deny:
		h.unknownByLink()
	}
	switch {
	case h.d.on(h.node, endHost) && h.ix.Settings().EndpointToHost == model.ToHostDrop:
		h.fixed(h.d.ref(), model.StageToHost, model.Ingress, model.Deny, model.ReasonEndpointToHost)
	case h.d.on(h.node, endHost):
		h.fixed(h.d.ref(), model.StageToHost, model.Ingress, model.Allow, model.ReasonLinkService)
	case h.d.on(h.node, endPod):
		h.normal(h.d.pod, model.StageWorkload, model.Ingress, 0)
	default:
		h.toLink()
	}
}

// isDHCP reports whether a packet is a request of a DHCP client.
func (h *hop) isDHCP() bool {
	f := h.flow
	if f.Protocol != model.UDP {
		return false
	}
	if f.Src.Is4() {
		return f.SrcPort == 68 && f.DstPort == 67
	}
	return f.SrcPort == 546 && f.DstPort == 547
}

// unlisted adds the treatment of a packet that arrives by a pod's interface with a
// source that is not a local pod's: a link-local source is that of the pod behind the
// interface; any other is an unknown workload's, and in addition subject to that pod's
// policy.
func (h *hop) unlisted() {
	switch {
	case h.isDHCP():
		h.fixed(h.senderRef(), model.StageWorkload, model.Egress, model.Allow, model.ReasonLinkService)
	case h.from.pod != nil && (ofLink(h.s.addr) || h.ix.Settings().UnknownWorkloads == model.Allow):
		h.normal(h.from.pod, model.StageWorkload, model.Egress, 0)
	default:
		h.unknownByLink()
	}
}

// unknownByLink adds that a packet on a pod's interface comes from an unknown workload.
func (h *hop) unknownByLink() {
	h.add(Stop{
		Kind: StopFixed, Endpoint: h.senderRef(), StageChain: index.StageChain{Stage: model.StageWorkload, Direction: model.Egress},
		Action: h.ix.Settings().UnknownWorkloads, Reason: model.ReasonUnknownWorkload, Guard: model.GuardLinkName,
	})
}

// toLink adds the ingress policy of the pod by whose interface a packet leaves for an
// address that is not a local pod's. The node itself can always reach its pods.
func (h *hop) toLink() {
	switch {
	case !h.to.judged || h.to.pod == nil:
	case h.s.on(h.node, endHost):
		h.fixed(h.to.pod.Ref(), model.StageWorkload, model.Ingress, model.Allow, model.ReasonOwnNode)
	default:
		h.normal(h.to.pod, model.StageWorkload, model.Ingress, 0)
	}
}
