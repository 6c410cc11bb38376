package oracle

import (
	"net/netip"
	"slices"

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
	for _, p := range w.pods {
		if p.has(a) && p.node == node {
			return place{addr: a, pod: p, node: node}
		}
	}
	// What another node's pod claims takes no address away from the node itself.
	if p := w.place(a); p.pod != nil && !slices.ContainsFunc(w.nodeOwners, func(n *owner) bool { return n.node == node && n.has(a) }) {
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
	case p.host && p.node != "":
		return model.Ref{Kind: model.KindNode, Name: p.node}
	}
	return model.Ref{}
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

// inAnyBlock reports whether an address is in the pod CIDRs of a node.
func (w *World) inAnyBlock(a netip.Addr) bool {
	for _, n := range w.nodes {
		for _, t := range append(slices.Clone(n.Spec.PodCIDRs), n.Spec.PodCIDR) {
			if p, err := netip.ParsePrefix(t); err == nil && p.Contains(a) {
				return true
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
