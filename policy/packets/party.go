package packets

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/verdict"
)

// Party is an address and its owner in one Index: a pod, a host, or none.
type Party struct {
	Addr netip.Addr
	// Pod that has the address, or nil.
	Pod *model.Endpoint
	// Node whose address it is, or on which the host endpoint with the address or the
	// pod is, or, for an UnknownWorkload, in whose pod CIDRs it is; empty if unknown.
	Node string
	// Host is true for the address of a node or host endpoint.
	Host bool
	// Guard is the host endpoint whose policies guard traffic from outside to a host's
	// address, or nil.
	Guard *model.Endpoint
	// Effective policy of the pod or the guard, or nil.
	Effective *index.Effective
	// UnknownWorkload is true for an address in a node's pod CIDRs that no pod has.
	UnknownWorkload bool

	end verdict.End
	// guarded: host endpoints of the node have policies for forwarded traffic.
	guarded bool

	sight *sight // nil until it is asked for: see Evaluator.seen
}

// Party finds the owner of an address.
func (e *Evaluator) Party(a netip.Addr) *Party {
	a = a.Unmap()
	if p, ok := e.parties[a]; ok {
		return p
	}
	p := &Party{Addr: a, end: verdict.EndOf(e.ix, a)}
	e.parties[a] = p
	p.Node, p.Host, p.UnknownWorkload = p.end.Node(), p.end.IsHost(), p.end.IsUnknownWorkload()
	if pod, ok := e.ix.Endpoint(p.end.Pod()); ok {
		p.Pod, p.Effective = pod, e.ix.Effective(pod.Ref)
	}
	if h, ok := e.ix.Endpoint(verdict.HostGuard(e.ix, &p.end)); ok {
		p.Guard, p.Effective = h, e.ix.Effective(h.Ref)
	}
	p.guarded = p.Node != "" && e.guarded[p.Node]
	return p
}

// passes reports whether a host endpoint has policies for forwarded traffic.
func passes(f *index.Effective) bool {
	return f != nil && len(f.ForwardEgress)+len(f.ForwardIngress)+len(f.UntrackedIngress)+len(f.PreDNAT) > 0
}
