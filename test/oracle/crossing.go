package oracle

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// crossing is where a packet comes into a node or leaves it, if its flow says so.
type crossing struct {
	named bool   // and its address is not that of whoever is there
	self  bool   // the node itself sends or gets it
	away  bool   // it comes from, or goes on to, another node
	iface string // empty if not known
	port  string
	leads bool   // local pods are behind the interface
	pod   *owner // the one that is, if it is known
}

// pod is the pod of a name, or nil.
func (w *World) pod(r model.Ref) *owner {
	for _, p := range w.pods {
		if p.ref == r {
			return p
		}
	}
	return nil
}

// neverRouted: such destinations are somebody's on the link only.
func neverRouted(a netip.Addr) bool {
	return a.IsMulticast() || a.Is6() && a.IsLinkLocalUnicast() || a == netip.MustParseAddr("255.255.255.255")
}

func (w *World) crossing(node string, r model.Ref, a netip.Addr) crossing {
	l := w.links[node]
	switch r.Kind {
	case "":
		return crossing{}
	case model.KindNode:
		return crossing{named: true, self: r.Name == node, away: r.Name != node}
	case model.KindInterface:
		if r.Namespace != node {
			return crossing{named: true, away: true}
		}
		return w.by(node, r.Name, "")
	}
	pod := w.pod(r)
	if pod == nil || pod.node != node {
		return crossing{named: true, away: true}
	}
	c := crossing{leads: true, pod: pod} // by objects alone, each pod has its own interface
	if l != nil {
		c = crossing{}
		// By the link of an address of the same family, if it has one.
		var same, any []model.PodLink
		for _, p := range l.Pods {
			if pod.has(p.Addr) {
				any = append(any, p)
				if p.Addr.Is4() == a.Is4() {
					same = append(same, p)
				}
			}
		}
		if all := slices.Concat(same, any); len(all) > 0 {
			c = w.by(node, all[0].Interface, all[0].Port)
		}
	}
	c.named = !pod.has(a)
	return c
}

// by is by an interface of a node, or the port of a bridge.
func (w *World) by(node, iface, port string) crossing {
	c := crossing{named: true, iface: iface, port: port}
	l := w.links[node]
	if l == nil || !leadsToPods(l, iface) {
		return c
	}
	c.leads = true
	for _, p := range l.Pods {
		if p.Interface != iface || p.Port != port || c.pod != nil {
			continue
		}
		for _, o := range w.pods { // sorted by name
			if o.node == node && o.has(p.Addr) {
				c.pod = o
				break
			}
		}
	}
	return c
}

// place is where an address is, as far as the crossing leaves that open: what comes by
// an interface has not been sent by the node, whatever its source.
func (c *crossing) place(node string, p place) place {
	switch {
	case c.self && p.pod == nil:
		return place{addr: p.addr, host: true, node: node, member: p.member}
	case c.named && !c.self && p.host && p.node == node:
		return place{addr: p.addr, member: p.member}
	}
	return p
}

// outsideInterface is the interface between a node and another node or the outside, for
// a packet whose peer address need not be there.
func (w *World) outsideInterface(node string, peer place, own netip.Addr, inbound bool) string {
	a := peer.addr
	if peer.node == node { // it is here by its address, so that is no help
		a = netip.IPv6Unspecified()
		if peer.addr.Is4() {
			a = netip.IPv4Unspecified()
		}
	}
	return w.interfaceTowards(node, a, own, inbound)
}

// byLink is what is decided of a packet by where it comes in alone: forged sources, and
// what a link needs. True: that is all of it.
func (d *decision) byLink(node string, in, out *crossing, src, dst place) bool {
	w, f := d.world, d.flow
	if in.self {
		return false
	}
	sender := model.Ref{}
	if in.pod != nil {
		sender = in.pod.ref
	} else if !in.named {
		sender = src.ref()
	}
	// "A packet with a local pod's address as source must come by that pod's Interface
	// (and Port); never by another."
	guard := in.named && w.settings.source == model.GuardEnforce
	if l := w.links[node]; guard && l == nil && src.pod != nil && src.node == node && src.pod != in.pod {
		d.guarded("source", sender)
		return true
	} else if guard && l != nil {
		attached := slices.DeleteFunc(slices.Clone(l.Pods), func(p model.PodLink) bool { return p.Addr != f.Src })
		ok := slices.ContainsFunc(attached, func(p model.PodLink) bool { return p.Interface == in.iface && (p.Port == "" || p.Port == in.port) })
		if len(attached) > 0 && !ok {
			d.guarded("source", sender)
			return true
		}
	}
	if f.In == (model.Ref{}) || in.away {
		return false
	}
	judged := in.leads && w.settings.link == model.GuardEnforce
	local := f.Src.IsLinkLocalUnicast()
	passes := false
	if f.Src.Is4() {
		passes = f.Protocol == 2 && f.Dst.IsMulticast()
	} else if f.Protocol == model.ICMPv6 {
		switch f.ICMPType {
		case 133, 135, 136:
			passes = true
		case 134:
			if judged {
				d.advertisement(node, in, out, sender, dst)
				return true
			}
			passes = true
		case 137:
			if judged {
				d.guarded("discovery", sender)
				return true
			}
			passes = true
		case 130, 131, 132:
			passes = local
		case 143:
			passes = local || f.Src.IsUnspecified()
		}
	}
	if passes {
		d.add(plain(model.Allow, model.Egress, model.ReasonLinkService), model.StageWorkload, sender)
	}
	return passes
}

// guarded is a denial by a guard.
func (d *decision) guarded(name string, sender model.Ref) {
	v := plain(model.Deny, model.Egress, model.ReasonGuard)
	v.Policy = model.Ref{Kind: model.KindGuard, Name: name}
	d.add(v, model.StageWorkload, sender)
}

// advertisement is a router advertisement by a pod's interface: under the policies of
// that pod and of the pod that gets it, and endpointToHostAction: Drop.
func (d *decision) advertisement(node string, in, out *crossing, sender model.Ref, dst place) {
	w := d.world
	if in.pod != nil {
		d.add(w.workload(in.pod, d.flow, model.Egress), model.StageWorkload, in.pod.ref)
	} else if !w.settings.allowUnknownWorkloads {
		v := plain(model.Deny, model.Egress, model.ReasonUnknownWorkload)
		v.Policy = model.Ref{Kind: model.KindGuard, Name: "link"}
		d.add(v, model.StageWorkload, sender)
	}
	here := dst.node == node
	switch {
	case here && dst.host && w.settings.toHost == v1alpha1.EndpointToHostDrop:
		d.add(plain(model.Deny, model.Ingress, model.ReasonEndpointToHost), model.StageToHost, dst.ref())
	case here && dst.host:
		d.add(plain(model.Allow, model.Ingress, model.ReasonLinkService), model.StageToHost, dst.ref())
	case here && dst.pod != nil:
		d.add(w.workload(dst.pod, d.flow, model.Ingress), model.StageWorkload, dst.pod.ref)
	case out.leads && out.pod != nil: // the link guard is on, or this would not be asked
		d.add(w.workload(out.pod, d.flow, model.Ingress), model.StageWorkload, out.pod.ref)
	}
}

// encapsulation: "A local pod's packet to a cluster node's own address with protocol and
// port of a tunnel that this node has: dropped."
func (d *decision) encapsulation(node string, in *crossing, fromPod bool, src place, toSelf, toMember bool) {
	l := d.world.links[node]
	fromLocal := fromPod || in.leads
	// Pods of other nodes are known by the blocks of pod addresses.
	fromRemote := toSelf && !src.member && !(src.host && src.node == node) && d.world.inAnyBlock(d.flow.Src)
	if l == nil || !toSelf && !toMember || !fromLocal && !fromRemote || d.world.settings.encapsulation != model.GuardEnforce {
		return
	}
	sender := model.Ref{}
	if in.pod != nil {
		sender = in.pod.ref
	} else if !in.named {
		sender = src.ref()
	}
	for _, t := range l.Tunnels {
		if t.Protocol == d.flow.Protocol && (!hasPorts(t.Protocol) || t.Port != 0 && t.Port == d.flow.DstPort) {
			d.guarded("encapsulation", sender)
			return
		}
	}
}

func (d *decision) isDHCP() bool {
	client, server := uint16(546), uint16(547)
	if d.flow.Src.Is4() {
		client, server = 68, 67
	}
	return d.flow.Protocol == model.UDP && d.flow.SrcPort == client && d.flow.DstPort == server
}

// unlisted is a source that no local pod has, by a pod's interface: "a link-local (or
// unspecified) source is that pod, under its egress policy; any other is an unknown workload".
func (d *decision) unlisted(in *crossing) {
	sender := model.Ref{}
	if in.pod != nil {
		sender = in.pod.ref
	}
	src := d.flow.Src
	switch {
	case d.isDHCP():
		d.add(plain(model.Allow, model.Egress, model.ReasonLinkService), model.StageWorkload, sender)
	case in.pod != nil && (src.IsLinkLocalUnicast() || src.IsUnspecified() || d.world.settings.allowUnknownWorkloads):
		d.add(d.world.workload(in.pod, d.flow, model.Egress), model.StageWorkload, in.pod.ref)
	default:
		action := model.Deny
		if d.world.settings.allowUnknownWorkloads {
			action = model.Allow
		}
		v := plain(action, model.Egress, model.ReasonUnknownWorkload)
		v.Policy = model.Ref{Kind: model.KindGuard, Name: "link"}
		d.add(v, model.StageWorkload, sender)
	}
}
