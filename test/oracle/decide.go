package oracle

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// place is where an address is.
type place struct {
	addr    netip.Addr
	pod     *owner // the pod that has the address; of several the first by name
	host    bool   // else: it is an address of the node itself
	unknown bool   // else: it is in the node's pod CIDRs
	node    string // of the three above; empty if unknown
	member  bool   // a node of the cluster has the address
}

// place is where in the cluster an address is.
func (w *World) place(a netip.Addr) place {
	for _, p := range w.pods {
		if p.has(a) {
			return place{addr: a, pod: p, node: p.node}
		}
	}
	for _, n := range w.nodeOwners {
		if n.has(a) {
			return place{addr: a, host: true, node: n.node, member: true}
		}
	}
	for _, h := range w.hosts {
		if h.has(a) {
			return place{addr: a, host: h.node != "", node: h.node}
		}
	}
	if n := w.blockOf(a); n != "" {
		return place{addr: a, unknown: true, node: n}
	}
	return place{addr: a}
}

// placeAt is where an address is as one node sees it, which knows its own addresses
// and pods.
func (w *World) placeAt(node string, a netip.Addr) place {
	p := w.place(a)
	if p.pod != nil {
		return p
	}
	owned := false
	for _, n := range w.nodeOwners {
		if n.has(a) {
			owned = true
			if n.node == node {
				return place{addr: a, host: true, node: node, member: true}
			}
		}
	}
	if owned {
		return place{addr: a, member: true}
	}
	listed := false
	for _, h := range w.hosts {
		if h.has(a) {
			listed = true
			if h.node == node {
				return place{addr: a, host: true, node: node}
			}
		}
	}
	switch l := w.links[node]; {
	case a.IsLoopback():
		return place{addr: a, host: true, node: node}
	case listed:
		return place{addr: a}
	case l != nil && slices.ContainsFunc(l.Addrs, func(x model.LinkAddr) bool { return x.Addr == a }):
		return place{addr: a, host: true, node: node}
	case w.inPodCIDRs(a, node):
		return place{addr: a, unknown: true, node: node}
	}
	return place{addr: a}
}

// ref names what is at a place, for verdicts that no policy gives.
func (p place) ref() model.Ref {
	switch {
	case p.pod != nil:
		return p.pod.ref
	case p.host:
		return model.Ref{Kind: model.KindNode, Name: p.node}
	}
	return model.Ref{}
}

func (w *World) hostsOn(node string) []*owner {
	var out []*owner
	for _, h := range w.hosts { // sorted by name
		if h.node == node && node != "" {
			out = append(out, h)
		}
	}
	return out
}

func (w *World) wildcard(node string) *owner {
	for _, h := range w.hostsOn(node) {
		if h.iface == "*" {
			return h
		}
	}
	return nil
}

// guard is the host endpoint that guards an interface of a node. own is the node's
// own address of the packet, or invalid where the packet is forwarded.
func (w *World) guard(node, iface string, own netip.Addr) *owner {
	for _, h := range w.hostsOn(node) {
		if iface != "" && h.iface == iface {
			return h
		}
	}
	for _, h := range w.hostsOn(node) {
		if own.IsValid() && h.iface == "" && h.has(own) {
			return h
		}
	}
	return w.wildcard(node)
}

// routeTo is the interface by which a node sends to an address.
func routeTo(l *model.Links, a netip.Addr) string {
	for _, p := range l.Pods {
		if p.Addr == a {
			return p.Interface
		}
	}
	best := model.LinkRoute{Net: netip.Prefix{}}
	for _, r := range l.Routes {
		longer := !best.Net.IsValid() || r.Net.Bits() > best.Net.Bits() || r.Net == best.Net && r.Interface < best.Interface
		if r.Net.Contains(a) && longer {
			best = r
		}
	}
	return best.Interface
}

func leadsToPods(l *model.Links, iface string) bool {
	return slices.ContainsFunc(l.Pods, func(p model.PodLink) bool { return p.Interface == iface })
}

// guardTowards is the host endpoint of the interface between a node and a peer that is
// none of its pods. own is the node's own end, if it has one.
func (w *World) guardTowards(node string, peer, own netip.Addr, inbound bool) *owner {
	l := w.links[node]
	if l == nil {
		return w.guard(node, w.interfaceByObjects(node, own), own)
	}
	iface := ""
	for _, a := range l.Addrs { // sorted: of several interfaces the first
		if a.Addr != own || iface != "" {
			continue
		}
		tunnel := slices.ContainsFunc(l.Tunnels, func(t model.Tunnel) bool { return t.Interface == a.Interface })
		uplink := a.Interface != "lo" && !tunnel && !leadsToPods(l, a.Interface)
		if own.IsLinkLocalUnicast() || inbound && uplink {
			iface = a.Interface
		}
		break
	}
	if iface == "" {
		iface = routeTo(l, peer)
	}
	return w.guard(node, iface, own)
}

// guardOfPods is the host endpoint of the interface between a node and one of its
// pods, known or not.
func (w *World) guardOfPods(node string, pod, own netip.Addr) *owner {
	iface := ""
	if l := w.links[node]; l != nil {
		if to := routeTo(l, pod); leadsToPods(l, to) {
			iface = to
		}
	}
	return w.guard(node, iface, own)
}

// interfaceByObjects: without the node's Links, host endpoints tell of its interfaces.
func (w *World) interfaceByObjects(node string, own netip.Addr) string {
	var named []*owner
	for _, h := range w.hostsOn(node) {
		if h.iface != "" && h.iface != "*" {
			named = append(named, h)
		}
	}
	for _, h := range named {
		if own.IsValid() && h.expected && h.has(own) {
			return h.iface
		}
	}
	// The main interface.
	for _, h := range named {
		if !h.expected {
			return h.iface
		}
	}
	for _, n := range w.nodes {
		if addrs := nodeAddrs(n); n.Name == node && len(addrs) > 0 {
			for _, h := range named {
				if h.has(addrs[0]) {
					return h.iface
				}
			}
			return "" // one that none names
		}
	}
	names := map[string]bool{}
	for _, h := range named {
		names[h.iface] = true
	}
	if len(names) == 1 {
		return named[0].iface
	}
	return ""
}

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
	somewhere := func(p place) bool { return p.pod != nil || p.host || p.unknown }
	if d.own(src, dst) {
		return d.out
	}
	if !somewhere(src) {
		d.add(plain(model.Allow, model.Egress, model.ReasonNoEndpoint), model.StageWorkload, model.Ref{})
	}
	if somewhere(src) {
		d.hop(src.node, src, dst)
	}
	if somewhere(dst) && (!somewhere(src) || src.node != dst.node) {
		d.hop(dst.node, src, dst)
	}
	if !somewhere(dst) {
		d.add(plain(model.Allow, model.Ingress, model.ReasonNoEndpoint), model.StageWorkload, model.Ref{})
	}
	return d.out
}

// DecideAt follows a connection attempt through the stages of one node.
func (w *World) DecideAt(node string, f model.Flow) model.Decision {
	d := &decision{world: w, flow: f, out: model.Decision{Flow: f, Action: model.Allow}}
	src, dst := w.placeAt(node, f.Src), w.placeAt(node, f.Dst)
	if src.node != node || !d.own(src, dst) {
		d.hop(node, src, dst)
	}
	return d.out
}

// own is what no host endpoint has a say in: an endpoint that reaches itself, and a
// node that reaches its pods.
func (d *decision) own(src, dst place) bool {
	switch same := src.node == dst.node; {
	case src.pod != nil && src.pod == dst.pod:
		// By way of a Service: only ClusterNetworkPolicies hold a pod from itself.
		for _, dir := range []model.Direction{model.Egress, model.Ingress} {
			if chain := d.world.toItself(src.pod, dir); len(chain) > 0 {
				d.add(evaluate(chain, d.flow, dir, true, model.NoAction), model.StageWorkload, src.ref())
			}
		}
		d.add(plain(model.Allow, model.Egress, model.ReasonLoopback), model.StageWorkload, src.ref())
	case src.host && dst.host && same:
		d.add(plain(model.Allow, model.Egress, model.ReasonLoopback), model.StageHost, src.ref())
	case src.host && (dst.pod != nil || dst.unknown) && same:
		// "host→pod is always allowed (kubelet probes)", also one that is not known yet
		d.add(plain(model.Allow, model.Ingress, model.ReasonOwnNode), model.StageWorkload, dst.ref())
	default:
		return false
	}
	return true
}

// toItself is the part of a pod's policies that governs packets from itself: of tiers up to
// kube-admin the ClusterNetworkPolicies; behind it they are reached only as long as no
// enforced policy of another kind has had its say, which lets the pod through.
func (w *World) toItself(pod *owner, dir model.Direction) []tierChain {
	var out []tierChain
	behindAdmin := false
	for _, t := range w.tiers {
		c := tierChain{tier: t}
		stop := false
		for _, p := range w.policies {
			if stop || p.tier != t.name || !p.takesPart(pod, dir, normal) {
				continue
			}
			if p.ref.Kind == model.KindClusterNetworkPolicy {
				c.policies = append(c.policies, p)
			} else if behindAdmin && !p.audit {
				stop = true
			}
		}
		if len(c.policies) > 0 {
			out = append(out, c)
		}
		if stop {
			break
		}
		behindAdmin = behindAdmin || t.name == "kube-admin"
	}
	return out
}

// hop is all that one node has to say.
func (d *decision) hop(node string, src, dst place) {
	w := d.world
	at := func(p place) bool { return p.node == node }
	fromPod, fromSelf, fromUnknown := src.pod != nil && at(src), src.host && at(src), src.unknown && at(src)
	toPod, toSelf, toUnknown := dst.pod != nil && at(dst), dst.host && at(dst), dst.unknown && at(dst)
	none := netip.Addr{}

	// The interface by which it comes in, and what stands before routing.
	var in *owner
	ingressSettled := false
	if !fromSelf {
		own := none
		if toSelf {
			own = dst.addr
		}
		switch {
		case fromPod:
			in = w.guardOfPods(node, src.addr, none)
		case fromUnknown:
			in = w.guardOfPods(node, src.addr, own)
		default:
			in = w.guardTowards(node, src.addr, own, true)
		}
		ingressSettled = d.beforeRouting(node, in, src, dst)
	}

	switch {
	case fromPod:
		d.add(w.workload(src.pod, d.flow, model.Egress), model.StageWorkload, src.ref())
	case fromUnknown:
		d.unknownWorkload(model.Egress)
	case fromSelf:
		if out := w.guardTowards(node, dst.addr, src.addr, false); out == nil {
			d.add(plain(model.Allow, model.Egress, model.ReasonNoEndpoint), model.StageHost, src.ref())
		} else if d.safe(node, model.Egress, src, dst) {
			d.add(plain(model.Allow, model.Egress, model.ReasonFailsafe), model.StageHost, out.ref)
		} else if !d.optional(out, model.Egress, untracked) {
			d.host(out, model.Egress)
		}
	}

	if !fromSelf && !toSelf {
		var out *owner
		switch {
		case toPod:
			out = w.guardOfPods(node, dst.addr, none)
		case toUnknown:
			out = w.guardOfPods(node, dst.addr, none)
		default:
			out = w.guardTowards(node, dst.addr, none, false)
		}
		if out != nil {
			d.optional(out, model.Egress, forward)
		}
		if in != nil && !ingressSettled {
			d.optional(in, model.Ingress, forward)
		}
	}

	switch {
	case toPod:
		d.add(w.workload(dst.pod, d.flow, model.Ingress), model.StageWorkload, dst.ref())
	case toUnknown:
		d.unknownWorkload(model.Ingress)
	case toSelf && fromPod:
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
		d.toHost(node, in, ingressSettled, src, dst)
	}
}

// beforeRouting is failsafe ports, doNotTrack and preDNAT, where the host endpoint has
// such policies. True means that its other ingress stages are left out.
func (d *decision) beforeRouting(node string, in *owner, src, dst place) bool {
	if in == nil {
		return false
	}
	raw, mangle := d.world.chain(in, model.Ingress, untracked), d.world.chain(in, model.Ingress, preDNAT)
	if len(raw)+len(mangle) == 0 {
		return false
	}
	if d.safe(node, model.Ingress, src, dst) {
		stage := model.StagePreDNAT
		if len(raw) > 0 {
			stage = model.StageUntracked
		}
		d.add(plain(model.Allow, model.Ingress, model.ReasonFailsafe), stage, in.ref)
		return false
	}
	return d.optional(in, model.Ingress, untracked) || d.optional(in, model.Ingress, preDNAT)
}

// toHost is traffic that ends at a host.
func (d *decision) toHost(node string, guard *owner, settled bool, src, dst place) {
	switch {
	case guard == nil:
		d.add(plain(model.Allow, model.Ingress, model.ReasonNoEndpoint), model.StageHost, dst.ref())
	case settled:
	case d.safe(node, model.Ingress, src, dst):
		d.add(plain(model.Allow, model.Ingress, model.ReasonFailsafe), model.StageHost, guard.ref)
	default:
		d.host(guard, model.Ingress)
	}
}

// safe reports whether a node's policies cannot close a packet: failsafe ports, and
// between nodes of the cluster the tunnels that the node has.
func (d *decision) safe(node string, dir model.Direction, src, dst place) bool {
	list, peer := d.world.settings.failsafeIn, d.flow.Src
	if dir == model.Egress {
		list, peer = d.world.settings.failsafeOut, d.flow.Dst
	}
	if isSafe(list, d.flow, peer) {
		return true
	}
	l := d.world.links[node]
	if l == nil || !src.member || !dst.member {
		return false
	}
	for _, t := range l.Tunnels {
		if t.Protocol == d.flow.Protocol && (t.Port == d.flow.DstPort || !hasPorts(t.Protocol)) {
			return true
		}
	}
	return false
}

func (d *decision) unknownWorkload(dir model.Direction) {
	action := model.Deny
	if d.world.settings.allowUnknownWorkloads {
		action = model.Allow
	}
	d.add(plain(action, dir, model.ReasonUnknownWorkload), model.StageWorkload, model.Ref{})
}

// blockOf is the first node by name in whose pod CIDRs an address is.
func (w *World) blockOf(a netip.Addr) string {
	first := ""
	for _, n := range w.nodes {
		if (first == "" || n.Name < first) && w.inPodCIDRs(a, n.Name) {
			first = n.Name
		}
	}
	return first
}

// inPodCIDRs says whether an address is in the pod CIDRs of a node, and not behind
// one of its tunnels: parts of the node's blocks that it reaches by tunnel are others'.
func (w *World) inPodCIDRs(a netip.Addr, node string) bool {
	for _, n := range w.nodes {
		if n.Name != node {
			continue
		}
		texts := n.Spec.PodCIDRs
		if len(texts) == 0 {
			texts = []string{n.Spec.PodCIDR}
		}
		for _, t := range texts {
			if p, err := netip.ParsePrefix(t); err == nil && p.Contains(a) {
				return !w.tunnelled(node, a, p)
			}
		}
	}
	return false
}

func (w *World) tunnelled(node string, a netip.Addr, block netip.Prefix) bool {
	l := w.links[node]
	if l == nil {
		return false
	}
	for _, r := range l.Routes {
		for _, t := range l.Tunnels {
			if t.Interface == r.Interface && r.Net.Contains(a) && r.Net.Bits() >= block.Bits() {
				return true
			}
		}
	}
	return false
}

// workload: "After the last tier: a workload endpoint allows".
func (w *World) workload(o *owner, f model.Flow, dir model.Direction) model.Verdict {
	return evaluate(w.chain(o, dir, normal), f, dir, true, model.Allow)
}

// host: "a host endpoint takes its spec.defaultAction for local traffic".
func (d *decision) host(h *owner, dir model.Direction) {
	def := model.Deny
	if h.allow {
		def = model.Allow
	}
	d.add(evaluate(d.world.chain(h, dir, normal), d.flow, dir, true, def), model.StageHost, h.ref)
}

// optional is a stage that there is only if a policy selects the host endpoint for
// it. True means that the later stages of this host endpoint are left out: it
// allowed, where an Allow is final, or it denied.
func (d *decision) optional(h *owner, dir model.Direction, v variant) bool {
	chain := d.world.chain(h, dir, v)
	if len(chain) == 0 {
		return false
	}
	stage := map[variant]model.Stage{forward: model.StageForward, untracked: model.StageUntracked, preDNAT: model.StagePreDNAT}[v]
	var verdict model.Verdict
	if v == forward {
		// "… and allows forwarded traffic"
		verdict = evaluate(chain, d.flow, dir, true, model.Allow)
	} else {
		// no end of tier, no default: the later stages decide
		verdict = evaluate(chain, d.flow, dir, false, model.NoAction)
	}
	d.add(verdict, stage, h.ref)
	return verdict.Action != model.NoAction
}
