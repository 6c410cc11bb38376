package space

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy"
	"github.com/tierwall/tierwall/policy/model"
)

// Party is an address and whose it is in one Index: a pod's, a host's, or nobody's.
type Party struct {
	Addr netip.Addr
	// Pod that has the address, or nil.
	Pod *model.Endpoint
	// Node whose address it is, or that the host endpoint with the address is
	// on, or that the pod is on, or, of an UnknownWorkload, in whose pod CIDRs it is;
	// empty if unknown.
	Node string
	// Host is true for the address of a node or host endpoint.
	Host bool
	// Guard is the host endpoint whose policies guard local traffic of a host's address, or nil.
	Guard *model.Endpoint
	// Effective policy of the pod or the guard, or nil.
	Effective *policy.Effective
	// UnknownWorkload is true for an address in a node's pod CIDRs that belongs to nobody.
	UnknownWorkload bool

	node *model.Node // of a host's address, if it has been seen
	// forward guards what the party's node forwards for a pod or unknown workload, or nil.
	forward          *model.Endpoint
	forwardEffective *policy.Effective

	ofSide          answers // by side number
	ofHalf, ofChain [2]answers
	failsafe        [2]*Outcome // by direction, of the other party
}

// Party finds out whose an address is.
func (e *Evaluator) Party(a netip.Addr) *Party {
	a = a.Unmap()
	if p, ok := e.parties[a]; ok {
		return p
	}
	p := &Party{Addr: a}
	e.parties[a] = p
	owner := e.ix.Owner(a)
	node := e.ix.NodeOf(a)
	switch {
	case owner.Kind == model.KindPod:
		if pod, ok := e.ix.Endpoint(owner); ok {
			p.Pod, p.Node = pod, pod.Node
			p.Effective = e.ix.Effective(owner)
		}
	case node != nil:
		p.Host, p.Node, p.node = true, node.Name, node
		p.Guard = e.localGuard(node.Name, a)
	case owner.Kind == model.KindHostEndpoint:
		p.Host = true
		if h, ok := e.ix.Endpoint(owner); ok {
			p.Node, p.node = h.Node, e.ix.Node(h.Node)
			p.Guard = e.localGuard(h.Node, a)
		}
	default:
		if n := e.blockOf(a); n != nil {
			p.UnknownWorkload, p.Node = true, n.Name
		}
	}
	if p.Guard != nil {
		p.Effective = e.ix.Effective(p.Guard.Ref)
	}
	if (p.Pod != nil || p.UnknownWorkload) && p.Node != "" {
		if p.forward = e.forwardGuard(p.Node); p.forward != nil {
			p.forwardEffective = e.ix.Effective(p.forward.Ref)
		}
	}
	return p
}

// blockOf is the first node by name in whose pod CIDRs an address is, or nil.
func (e *Evaluator) blockOf(a netip.Addr) *model.Node {
	for _, n := range e.nodes {
		if inNets(n.PodCIDRs, a) {
			return n
		}
	}
	return nil
}

// localGuard is the host endpoint on a node that guards local traffic of one of its addresses.
func (e *Evaluator) localGuard(node string, a netip.Addr) *model.Endpoint {
	for _, h := range e.hosts[node] {
		if h.Host.Interface != "*" && slices.Contains(h.Addrs, a) {
			return h
		}
	}
	for _, h := range e.hosts[node] {
		if h.Host.Interface == "*" {
			return h
		}
	}
	return nil
}

// forwardGuard is the host endpoint on a node that guards what the node forwards.
func (e *Evaluator) forwardGuard(node string) *model.Endpoint {
	hosts := e.hosts[node]
	for _, h := range hosts {
		if h.Host.Interface == "*" {
			return h
		}
	}
	if len(hosts) > 0 {
		return hosts[0]
	}
	return nil
}
