package oracle

import (
	"github.com/tierwall/tierwall/policy/model"
)

// own is what no host endpoint has a say in: an endpoint that reaches itself, and a
// node that reaches its pods.
func (d *decision) own(src, dst place) bool {
	switch same := src.node == dst.node; {
	case src.pod != nil && src.pod == dst.pod:
		d.itself(src)
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

// itself is what a pod sends itself by way of a Service: only ClusterNetworkPolicies hold
// a pod from itself.
func (d *decision) itself(src place) {
	for _, dir := range []model.Direction{model.Egress, model.Ingress} {
		if chain := d.world.toItself(src.pod, dir); len(chain) > 0 {
			d.add(evaluate(chain, d.flow, dir, true, model.NoAction), model.StageWorkload, src.ref())
		}
	}
	d.add(plain(model.Allow, model.Egress, model.ReasonLoopback), model.StageWorkload, src.ref())
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
