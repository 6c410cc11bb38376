package startup

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// holdFor is how long a pod of this node, whose address was not known before its
// status had it, stays an unknown workload. All agents learn of it at about the
// same time: if this node's were the first, what its pod sends could get by a node
// that does not know yet whom it should deny. A change takes some milliseconds to
// reach all; a busy node takes longer.
const holdFor = 500 * time.Millisecond

// unknown is what is known of the addresses of unknown workloads of this node.
type unknown struct {
	synced bool
	// allow: they are allowed all.
	allow bool
	// blocks are those that this node's pods have addresses of.
	blocks []netip.Prefix
}

func (u *unknown) upserted(o runtime.Object, node string) {
	switch o := o.(type) {
	case *v1alpha1.Tierwall:
		if o.Name == v1alpha1.TierwallName {
			u.allow = o.Spec.UnknownWorkloads == v1alpha1.Allow
		}
	case *corev1.Node:
		if o.Name == node {
			u.blocks = blocksOf(o)
		}
	}
}

func (u *unknown) removed(r model.Ref, node string) {
	switch {
	case r.Kind == model.KindTierwall && r.Name == v1alpha1.TierwallName:
		u.allow = false
	case r.Kind == model.KindNode && r.Name == node:
		u.blocks = nil
	}
}

func blocksOf(n *corev1.Node) (out []netip.Prefix) {
	for _, c := range append(slices.Clone(n.Spec.PodCIDRs), n.Spec.PodCIDR) {
		if p, err := netip.ParsePrefix(c); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// denied reports whether packets of an address that no pod has are dropped. If they
// are not, to hold an address back would let through what its pod's policy denies.
func (u *unknown) denied(a netip.Addr) bool {
	return u.synced && !u.allow && slices.ContainsFunc(u.blocks, func(b netip.Prefix) bool { return b.Contains(a) })
}

// hold notes which addresses of a new status of a pod of this node were not known
// before, and gives them to the pod in a moment. p is as it was before.
func (o *Overlay) hold(k key, p *pod, obj *corev1.Pod, status []netip.Addr) {
	b := o.boxes[k]
	if b != nil && (b.ended || !b.of(obj)) {
		b = nil
	}
	p.held = slices.DeleteFunc(p.held, func(a netip.Addr) bool { return !slices.Contains(status, a) })
	var fresh []netip.Addr
	for _, a := range status {
		known := slices.Contains(p.status, a) || slices.Contains(p.claims, a) || b != nil && slices.Contains(b.Addrs, a)
		if !known && o.unknown.denied(a) {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) == 0 {
		return
	}
	p.held = append(p.held, fresh...)
	o.opts.Clock.AfterFunc(holdFor, func() { o.letGo(k, p, fresh) })
}

func (o *Overlay) letGo(k key, p *pod, addrs []netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.held = slices.DeleteFunc(p.held, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	if o.pods[k] == p {
		o.resolvePod(k, p)
		o.deliver()
	}
}
