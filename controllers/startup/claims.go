package startup

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

func (o *Overlay) sameNode(other key, p *pod) bool {
	q := o.pods[other]
	return q != nil && q.Spec.NodeName == p.Spec.NodeName
}

// claim reports whether a pod may have an address early, and whether the address is another
// pod's of the same node by its status: the sandbox of that one has stopped.
func (o *Overlay) claim(k key, p *pod, a netip.Addr) (ok, displaces bool) {
	if other, taken := o.claims[a]; taken && other != k && !o.sameNode(other, p) {
		return p.local, false
	}
	if o.kernel == nil {
		return p.local, false
	}
	switch who, node := o.kernel.Holder(a); {
	case who == (model.Ref{}), who == podRef(k):
		return true, false
	case who.Kind != model.KindPod:
		return false, false // a node's
	case node == p.Spec.NodeName:
		return true, true
	}
	return p.local, false // one's own runtime is believed
}

// displace takes an address from the pod that has it by its status.
func (o *Overlay) displace(k key, a netip.Addr) {
	who, _ := o.kernel.Holder(a)
	other := key{who.Namespace, who.Name}
	if who.Kind != model.KindPod || other == k {
		return
	}
	if q := o.pods[other]; q != nil {
		if !slices.Contains(q.claims, a) {
			o.resolvePod(other, q)
		}
		return
	}
	o.delivery.remove(who)
}

// unclaim frees an address; a pod of this node that has it by its status has it again.
func (o *Overlay) unclaim(k key, a netip.Addr) {
	if o.claims[a] != k {
		return
	}
	delete(o.claims, a)
	for other, q := range o.pods {
		if other != k && q.local && slices.Contains(q.status, a) {
			o.resolvePod(other, q)
		}
	}
}

// release frees all that a pod has early.
func (o *Overlay) release(k key, p *pod) {
	claims := p.claims
	p.claims = nil
	for _, a := range claims {
		o.unclaim(k, a)
	}
}
