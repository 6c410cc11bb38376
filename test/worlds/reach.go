package worlds

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/lab"
	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// sendable says whether a lab can send a flow, and the core and the kernels
// speak of the same thing.
func sendable(f model.Flow, l *lab.Lab, ix *index.Index) bool {
	src, from, ok := placeOf(f.Src, f, l, ix)
	if !ok {
		return false
	}
	dst, to, ok := placeOf(f.Dst, f, l, ix)
	if !ok {
		return false
	}
	if sameOwner(f, ix) || byPolicyRouting(src, f.Src, f.Dst, ix) || byPolicyRouting(dst, f.Dst, f.Src, ix) {
		return false
	}
	return from || to
}

// sameOwner reports whether a pod sends to itself: no kernel but its own sees that,
// while the core decides of what comes back by a Service.
func sameOwner(f model.Flow, ix *index.Index) bool {
	o := ix.Owner(f.Src)
	return o.Kind == model.KindPod && o == ix.Owner(f.Dst)
}

// byPolicyRouting reports whether a node has an address on another interface than
// its main table sends to the peer by: a lab's nodes answer by the address's own.
func byPolicyRouting(node string, a, peer netip.Addr, ix *index.Index) bool {
	l := ix.Links(node)
	on := l.InterfaceOf(a)
	return on != "" && !l.LeadsToPods(on) && on != l.RouteTo(peer) && !l.LeadsToPods(l.RouteTo(peer))
}

// placeOf returns the node where an address of a flow is, known only if it is on
// one. It is not ok if the lab has put it elsewhere, or packets cannot have it.
func placeOf(a netip.Addr, f model.Flow, l *lab.Lab, ix *index.Index) (node string, known, ok bool) {
	if !ordinary(a) {
		return "", false, false
	}
	place, there := l.Owner(a)
	owner, host := ix.Owner(a), ix.NodeOf(a)
	switch {
	case owner.Kind == model.KindPod:
		if host != nil || place != owner.Namespace+"/"+owner.Name {
			return "", false, false // a pod with the address of a node
		}
		e, _ := ix.Endpoint(owner)
		return e.Node, true, true
	case host != nil:
		return host.Name, true, place == host.Name
	case owner != model.Ref{}: // an address that only a host endpoint says
		e, _ := ix.Endpoint(owner)
		return e.Node, true, place == e.Node
	case there:
		return "", false, false
	}
	node = nodeOfBlock(a, ix)
	if node == "" {
		return "", false, true
	}
	// The lab puts it behind that node. A packet to oneself never leaves the
	// namespace, and a bridge has its broadcast address.
	return node, true, f.Src != f.Dst && (!a.Is4() || a.As4()[3] != 255)
}

// ordinary says whether an address can be a sender's and a receiver's.
func ordinary(a netip.Addr) bool {
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return false
	}
	return !a.Is4() || a.As4()[0] != 0 && a.As4()[0] < 224
}

func nodeOfBlock(a netip.Addr, ix *index.Index) string {
	for _, n := range ix.Nodes() {
		if slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return n.Name
		}
	}
	return ""
}
