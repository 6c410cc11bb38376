package oracle

import (
	"github.com/tierwall/tierwall/policy/model"
)

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
// with other nodes of the cluster the tunnels that the node has.
func (d *decision) safe(node string, dir model.Direction, src, dst place) bool {
	list, peer, member := d.world.settings.failsafeIn, d.flow.Src, src.member
	if dir == model.Egress {
		list, peer, member = d.world.settings.failsafeOut, d.flow.Dst, dst.member
	}
	if isSafe(list, d.flow, peer) {
		return true
	}
	l := d.world.links[node]
	if l == nil || !member || d.world.settings.noTunnels {
		return false
	}
	for _, t := range l.Tunnels {
		if t.Protocol == d.flow.Protocol && (t.Port == d.flow.DstPort && t.Port != 0 || !hasPorts(t.Protocol)) {
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
