package oracle

import (
	"net/netip"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// place is where in the cluster an address is.
type place struct {
	pod   *owner // the pod that has the address; of several the first by name
	host  bool   // else: a node or a host endpoint has it
	node  string // of the pod or the host; empty if unknown
	guard *owner // the host endpoint for traffic that starts or ends at this host address
	block string // else: the node in whose pod CIDRs the address is; empty if in none
}

func (w *World) place(a netip.Addr) place {
	for _, p := range w.pods {
		if p.has(a) {
			return place{pod: p, node: p.node}
		}
	}
	at := place{}
	for _, n := range w.nodeOwners {
		if n.has(a) {
			at.host, at.node = true, n.node
			break
		}
	}
	if !at.host {
		for _, h := range w.hosts {
			if h.has(a) {
				at.host, at.node = true, h.node
				at.guard = h
				break
			}
		}
	}
	if at.node == "" {
		if !at.host {
			at.block = w.blockOf(a)
		}
		return at
	}
	// Which host endpoint guards: the one of the node with a specific interface or
	// none whose addresses contain this one, else the node's "*".
	at.guard = nil
	for _, h := range w.hosts {
		if h.node == at.node && h.iface != "*" && h.has(a) {
			at.guard = h
			return at
		}
	}
	at.guard = w.wildcard(at.node)
	return at
}

// ref names what is at a place, for verdicts that no policy gives.
func (p place) ref() model.Ref {
	switch {
	case p.pod != nil:
		return p.pod.ref
	case p.guard != nil:
		return p.guard.ref
	case p.host:
		return model.Ref{Kind: model.KindNode, Name: p.node}
	}
	return model.Ref{}
}

func (w *World) wildcard(node string) *owner {
	for _, h := range w.hosts {
		if h.node == node && h.iface == "*" {
			return h
		}
	}
	return nil
}

// forwardGuard is the host endpoint for traffic through a node: its "*", else the first by name.
func (w *World) forwardGuard(node string) *owner {
	if node == "" {
		return nil
	}
	if h := w.wildcard(node); h != nil {
		return h
	}
	for _, h := range w.hosts {
		if h.node == node {
			return h
		}
	}
	return nil
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

// Decide follows a connection attempt through every stage that DESIGN 3 names:
// it "must pass A's egress and B's ingress, each evaluated alone".
func (w *World) Decide(f model.Flow) model.Decision {
	d := &decision{world: w, flow: f, out: model.Decision{Flow: f, Action: model.Allow}}
	src, dst := w.place(f.Src), w.place(f.Dst)
	sameNode := src.node != "" && src.node == dst.node
	switch {
	case src.pod != nil && src.pod == dst.pod:
		d.add(plain(model.Allow, model.Egress, model.ReasonLoopback), model.StageWorkload, src.ref())
	case src.host && dst.host && (sameNode || src.node == "" && src.guard == dst.guard):
		d.add(plain(model.Allow, model.Egress, model.ReasonLoopback), model.StageHost, src.ref())
	case src.host && dst.pod != nil && sameNode:
		// "host→pod is always allowed (kubelet probes)"
		d.add(plain(model.Allow, model.Ingress, model.ReasonOwnNode), model.StageWorkload, dst.ref())
	case src.host && dst.pod == nil && !dst.host && w.inPodCIDRs(f.Dst, src.node):
		// the same for a pod that is not known yet
		d.add(plain(model.Allow, model.Ingress, model.ReasonOwnNode), model.StageWorkload, dst.ref())
	default:
		d.egress(src, dst, sameNode)
		d.ingress(src, dst, sameNode)
	}
	return d.out
}

func (d *decision) egress(src, dst place, sameNode bool) {
	w, f := d.world, d.flow
	switch {
	case src.pod != nil:
		d.add(w.workload(src.pod, f, model.Egress), model.StageWorkload, src.ref())
		if h := w.forwardGuard(src.node); h != nil && !sameNode {
			d.optional(h, model.Egress, forward)
		}
	case src.guard != nil:
		if isSafe(w.settings.failsafeOut, f, f.Dst) {
			d.add(plain(model.Allow, model.Egress, model.ReasonFailsafe), model.StageHost, src.ref())
			return
		}
		if !d.optional(src.guard, model.Egress, untracked) {
			d.host(src.guard, model.Egress)
		}
	default:
		d.unknown(src, model.Egress)
		if src.block != "" && src.block != dst.node {
			d.through(src.block)
		}
	}
}

// through is a node that forwards between two addresses of which neither is a
// pod's: all that its host endpoint has to say of forwarded traffic is asked.
func (d *decision) through(node string) {
	if h := d.world.forwardGuard(node); h != nil {
		d.optional(h, model.Egress, forward)
		_ = d.optional(h, model.Ingress, untracked) || d.optional(h, model.Ingress, preDNAT) || d.optional(h, model.Ingress, forward)
	}
}

func (d *decision) ingress(src, dst place, sameNode bool) {
	w, f := d.world, d.flow
	switch {
	case dst.pod != nil:
		if h := w.forwardGuard(dst.node); h != nil && !sameNode {
			_ = d.optional(h, model.Ingress, untracked) || d.optional(h, model.Ingress, preDNAT) || d.optional(h, model.Ingress, forward)
		}
		d.add(w.workload(dst.pod, f, model.Ingress), model.StageWorkload, dst.ref())
	case dst.host && src.pod != nil && sameNode:
		// "pod→host passes the pod's egress policy and then endpointToHostAction"
		switch w.settings.toHost {
		case v1alpha1.EndpointToHostDrop:
			d.add(plain(model.Deny, model.Ingress, model.ReasonEndpointToHost), model.StageToHost, dst.ref())
		case v1alpha1.EndpointToHostReturn:
			d.toHost(dst, false)
		default:
			d.add(plain(model.Allow, model.Ingress, model.ReasonEndpointToHost), model.StageToHost, dst.ref())
		}
	case dst.host:
		d.toHost(dst, true)
	default:
		if dst.block != "" && dst.block != src.node && dst.block != src.block && w.settings.allowUnknownWorkloads {
			d.through(dst.block)
		}
		d.unknown(dst, model.Ingress)
	}
}

// toHost is traffic that ends at a host. Traffic of the host's own pods does not
// come in by an interface that preDNAT and doNotTrack policies watch.
func (d *decision) toHost(dst place, early bool) {
	if dst.guard == nil {
		d.unknown(dst, model.Ingress)
		return
	}
	if isSafe(d.world.settings.failsafeIn, d.flow, d.flow.Src) {
		d.add(plain(model.Allow, model.Ingress, model.ReasonFailsafe), model.StageHost, dst.ref())
		return
	}
	if early && (d.optional(dst.guard, model.Ingress, untracked) || d.optional(dst.guard, model.Ingress, preDNAT)) {
		return
	}
	d.host(dst.guard, model.Ingress)
}

// unknown is a side without an endpoint: no policy applies, unless the address is
// in a node's pod CIDRs and unknownWorkloads says otherwise.
func (d *decision) unknown(at place, dir model.Direction) {
	if at.block != "" {
		action := model.Deny
		if d.world.settings.allowUnknownWorkloads {
			action = model.Allow
		}
		d.add(plain(action, dir, model.ReasonUnknownWorkload), model.StageWorkload, model.Ref{})
		return
	}
	v := plain(model.Allow, dir, model.ReasonNoEndpoint)
	stage := model.StageWorkload
	if at.host {
		stage = model.StageHost // a node that no host endpoint guards
	}
	d.add(v, stage, at.ref())
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

// inPodCIDRs says whether an address is in the pod CIDRs of a node.
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
