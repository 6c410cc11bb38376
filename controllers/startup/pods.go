package startup

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// pod is what the API server says of a pod.
type pod struct {
	*corev1.Pod
	local  bool
	status []netip.Addr
	// claims are the addresses that it has early.
	claims []netip.Addr
	// held are addresses of its status that it does not have yet; see hold.
	held []netip.Addr
}

// announcedPod is what another node announces of a pod.
type announcedPod struct {
	uid   string
	addrs []netip.Addr
}

func podRef(k key) model.Ref {
	return model.Ref{Kind: model.KindPod, Namespace: k.namespace, Name: k.name}
}

// podUpserted takes a pod that is new or changed.
func (o *Overlay) podUpserted(obj *corev1.Pod) {
	k := key{obj.Namespace, obj.Name}
	local := obj.Spec.NodeName == o.opts.Node
	p := o.pods[k]
	if !local && p == nil && (obj.Status.PodIP != "" || len(obj.Status.PodIPs) > 0) && len(o.claims) == 0 {
		o.delivery.upsert(podRef(k), obj) // almost all are like this
		if o.graves.book.Len() > 0 {
			o.graves.owned(statusAddrs(obj), false)
		}
		return
	}
	status := statusAddrs(obj)
	if p == nil || p.UID != obj.UID {
		before := p
		p = &pod{}
		if before != nil {
			o.bury(k, before)
			p.claims = before.claims
		}
	}
	if local {
		o.hold(k, p, obj, status)
	}
	p.Pod, p.local, p.status = obj, local, status
	if local || len(status) == 0 {
		o.pods[k] = p
	} else {
		delete(o.pods, k)
	}
	o.resolvePod(k, p)
}

// podRemoved takes a pod that is gone or has finished.
func (o *Overlay) podRemoved(r model.Ref) {
	k := key{r.Namespace, r.Name}
	o.delivery.remove(r)
	p := o.pods[k]
	if p == nil {
		return
	}
	o.bury(k, p)
	delete(o.pods, k)
	if b := o.boxes[k]; b != nil && b.ended {
		delete(o.boxes, k)
	}
	o.release(k, p)
	if p.local {
		o.localPodsChanged()
	}
}

// podsReported takes what another node announces in place of what it did before.
func (o *Overlay) podsReported(node string, pods []v1alpha1.StartedPod) {
	if node == o.opts.Node {
		return // this node knows its own
	}
	before := o.reports[node]
	now := make(map[key]announcedPod, len(pods))
	for i := range pods {
		e := &pods[i]
		s := announcedPod{uid: e.UID}
		for _, ip := range e.IPs {
			s.addrs = appendAddr(s.addrs, ip)
		}
		if s.addrs = tidy(s.addrs); len(s.addrs) > 0 && len(s.addrs) <= v1alpha1.MaxPodAddresses {
			now[key{e.Namespace, e.Name}] = s
		}
	}
	if len(now) == 0 {
		delete(o.reports, node)
	} else {
		o.reports[node] = now
	}
	look := func(k key) {
		if p := o.pods[k]; p != nil && !p.local && p.Spec.NodeName == node {
			o.resolvePod(k, p)
		}
	}
	for k := range before {
		if _, still := now[k]; !still {
			look(k) // first of all, so that its addresses are free
		}
	}
	for k := range now {
		look(k)
	}
}

// knownAddrs returns the addresses that a pod has by its sandbox, its status or the report
// of its node, whatever other pods have.
func (o *Overlay) knownAddrs(k key, p *pod) []netip.Addr {
	if p.local {
		b := o.boxes[k]
		if b == nil || !b.of(p.Pod) {
			return p.status
		}
		b.meet(p.status)
		return addresses(p.status, b)
	}
	if len(p.status) > 0 {
		return p.status
	}
	if s, ok := o.reports[p.Spec.NodeName][k]; ok && s.uid == string(p.UID) {
		return s.addrs
	}
	return nil
}

// resolvePod decides which addresses a pod has, and delivers it with these.
func (o *Overlay) resolvePod(k key, p *pod) {
	var has, early, displaced []netip.Addr
	for _, a := range o.knownAddrs(k, p) {
		if slices.Contains(p.held, a) {
			continue
		}
		if slices.Contains(p.status, a) {
			if other, taken := o.claims[a]; taken && other != k && o.sameNode(other, p) {
				continue // its node has given it to another pod since
			}
			has = append(has, a)
			continue
		}
		if ok, from := o.claim(k, p, a); ok {
			has, early = append(has, a), append(early, a)
			if from {
				displaced = append(displaced, a)
			}
		}
	}
	o.graves.owned(has, p.local)
	before := p.claims
	p.claims = early
	for _, a := range early {
		o.claims[a] = k
	}
	switch {
	case len(has) == 0:
		o.delivery.remove(podRef(k))
	case slices.Equal(has, p.status):
		o.delivery.upsert(podRef(k), p.Pod)
	default:
		o.delivery.upsert(podRef(k), withAddrs(p.Pod, has))
	}
	for _, a := range before {
		if !slices.Contains(early, a) {
			o.unclaim(k, a)
		}
	}
	for _, a := range displaced {
		o.displace(k, a)
	}
	if p.local {
		o.localPodsChanged()
	}
}
