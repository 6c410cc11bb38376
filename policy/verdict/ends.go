package verdict

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// endKind is the kind of the owner of an address.
type endKind uint8

const (
	endOutside endKind = iota // nobody's that is known
	endPod                    // a pod's, or its ghost's
	endHost                   // a node's own
	endUnknown                // nobody's, in the pod blocks of a node
)

// End is one end of a connection: the owner of its address, in the cluster or from the
// point of view of one node. The zero End is that of an address without an owner.
type End struct {
	addr netip.Addr
	kind endKind
	pod  *index.Holder // of an endPod
	// node on which the pod is, that has the address, or in whose blocks it is; empty
	// if unknown.
	node string
	// ofNode is true for an address of any node of the cluster.
	ofNode bool
}

// Pod is the pod or ghost that has the address; zero if none has.
func (e *End) Pod() model.Ref {
	if e.kind == endPod {
		return e.pod.Ref()
	}
	return model.Ref{}
}

// Node is the node on which the pod is, that has the address, or in whose pod blocks it
// is; empty if unknown.
func (e *End) Node() string { return e.node }

// IsHost reports whether the address is a node's own, or one that only a host
// endpoint lists.
func (e *End) IsHost() bool { return e.kind == endHost }

// IsUnknownWorkload reports whether the address is in a node's pod blocks and no pod
// has it.
func (e *End) IsUnknownWorkload() bool { return e.kind == endUnknown }

// on reports whether the end is of a kind and on a node.
func (e *End) on(node string, k endKind) bool { return e.kind == k && e.node == node }

// holders returns the owners of an address: the pod, the host endpoint and the node,
// each the first by name if there are several. A pod, node or host endpoint of the
// given node, if not empty, takes precedence, and so does a pod of a local node: a
// report of another node's kubelet takes no address away from a pod on this node.
func holders(ix *index.Index, a netip.Addr, prefer string) (pod, host *index.Holder, node string) {
	first := func(o, than *index.Holder) bool { return than == nil || index.Before(o, than) }
	here := func(o *index.Holder) bool { return prefer != "" && o.Node() == prefer }
	own := false
	ix.EachHolder(a, func(o *index.Holder) bool {
		switch {
		case o.IsWorkload():
			if pod == nil || here(o) && !here(pod) || here(o) == here(pod) && index.Before(o, pod) {
				pod = o
			}
		case o.IsNode():
			if is := o.Name() == prefer; node == "" || is || !own && o.Name() < node {
				node, own = o.Name(), own || is
			}
		case o.IsHost():
			switch is := prefer != "" && o.Node() == prefer; {
			case host == nil, is && host.Node() != prefer, (is || host.Node() != prefer) && first(o, host):
				host = o
			}
		}
		return true
	})
	return pod, host, node
}

// EndOf finds the owner of an address in the cluster.
func EndOf(ix *index.Index, a netip.Addr) End {
	a = a.Unmap()
	pod, host, node := holders(ix, a, "")
	switch {
	case pod != nil:
		return End{addr: a, kind: endPod, pod: pod, node: pod.Node()}
	case node != "":
		return End{addr: a, kind: endHost, node: node, ofNode: true}
	case host != nil && host.Node() != "": // an address that only a host endpoint lists
		return End{addr: a, kind: endHost, node: host.Node()}
	case host != nil: // it is on no node
		return End{addr: a}
	}
	if node = ix.NodeOfBlock(a); node != "" {
		return End{addr: a, kind: endUnknown, node: node}
	}
	return End{addr: a}
}

// endAt finds the owner of an address from the point of view of one node: its kernel
// receives packets only for its own addresses, and those of other nodes are outside
// addresses like any others.
func endAt(ix *index.Index, at string, rec *index.NodeState, a netip.Addr) End {
	pod, host, node := holders(ix, a, at)
	switch {
	case pod != nil && (pod.Node() == at || node != at):
		return End{addr: a, kind: endPod, pod: pod, node: pod.Node()}
	case node != "" && node == at: // also if another node's pod claims the address
		return End{addr: a, kind: endHost, node: at, ofNode: true}
	case node == "" && host != nil && host.Node() == at, a.IsLoopback():
		return End{addr: a, kind: endHost, node: at}
	case node != "" || host != nil:
		return End{addr: a, ofNode: node != ""}
	case rec.Links().OwnInterface(a) != "":
		return End{addr: a, kind: endHost, node: at} // link-local
	case rec.HasBlock(a):
		return End{addr: a, kind: endUnknown, node: at}
	}
	return End{addr: a}
}

// ref names the pod or node at an end; zero where there is none.
func (e *End) ref() model.Ref {
	switch {
	case e.kind == endPod:
		return e.pod.Ref()
	case e.kind == endHost && e.node != "":
		return model.Ref{Kind: model.KindNode, Name: e.node}
	}
	return model.Ref{}
}
