package policy

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// endKind is whose an address is.
type endKind uint8

const (
	endOutside endKind = iota // nobody's that is known
	endPod                    // a pod's
	endHost                   // a node's own
	endUnknown                // nobody's, in the pod blocks of a node
)

// end is what is known of one end of a connection.
type end struct {
	addr netip.Addr
	kind endKind
	pod  *owner // of an endPod
	// node that the pod is on, that has the address, or in whose blocks it is;
	// empty where it is not known.
	node string
	// ofNode is true for an address of any node of the cluster.
	ofNode bool
}

// on reports whether the address is of a kind on a node.
func (e *end) on(node string, k endKind) bool { return e.kind == k && e.node == node }

// holders are those who have an address: the pod, the host endpoint and the node,
// of several the first by name each. A node or host endpoint of the given node,
// if not empty, comes first.
func (ix *Index) holders(a netip.Addr, prefer string) (pod, host *owner, node string) {
	first := func(o, than *owner) bool { return than == nil || o.ref().Compare(than.ref()) < 0 }
	own := false
	ix.addrs.holders(single(a), func(o *owner) bool {
		switch {
		case o.ls.kind == ownerPod:
			if first(o, pod) {
				pod = o
			}
		case o.ls.kind == ownerNode:
			if is := o.name == prefer; node == "" || is || !own && o.name < node {
				node, own = o.name, own || is
			}
		case o.ls.kind.host():
			switch is := prefer != "" && o.node == prefer; {
			case host == nil, is && host.node != prefer, (is || host.node != prefer) && first(o, host):
				host = o
			}
		}
		return true
	})
	return pod, host, node
}

// end finds out whose an address is in the cluster.
func (ix *Index) end(a netip.Addr) end {
	pod, host, node := ix.holders(a, "")
	switch {
	case pod != nil:
		return end{addr: a, kind: endPod, pod: pod, node: pod.node}
	case node != "":
		return end{addr: a, kind: endHost, node: node, ofNode: true}
	case host != nil && host.node != "": // an address that only a host endpoint lists
		return end{addr: a, kind: endHost, node: host.node}
	case host != nil: // it is on no node
		return end{addr: a}
	}
	if node = ix.behind(a); node != "" {
		return end{addr: a, kind: endUnknown, node: node}
	}
	return end{addr: a}
}

// endAt finds out whose an address is from the point of view of one node: its own
// addresses are all that its kernel takes packets for, and those of other nodes are
// addresses outside like any other.
func (ix *Index) endAt(at string, rec *nodeRec, a netip.Addr) end {
	pod, host, node := ix.holders(a, at)
	switch {
	case pod != nil:
		return end{addr: a, kind: endPod, pod: pod, node: pod.node}
	case node != "" && node == at:
		return end{addr: a, kind: endHost, node: at, ofNode: true}
	case node == "" && host != nil && host.node == at, a.IsLoopback():
		return end{addr: a, kind: endHost, node: at}
	case node != "" || host != nil:
		return end{addr: a, ofNode: node != ""}
	case rec != nil && rec.links != nil && rec.links.own[a] != "":
		return end{addr: a, kind: endHost, node: at} // link-local
	case rec.hasBlock(a):
		return end{addr: a, kind: endUnknown, node: at}
	}
	return end{addr: a}
}

// ref names the pod or node at an end; zero where there is none.
func (e *end) ref() model.Ref {
	switch {
	case e.kind == endPod:
		return e.pod.ref()
	case e.kind == endHost && e.node != "":
		return model.Ref{Kind: model.KindNode, Name: e.node}
	}
	return model.Ref{}
}
