package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// clash is an address of a local pod that a pod of another node claims: its kubelet
// reports an address that is not the pod's, or the network has given it out twice.
// The local pod counts (index.Index.Owner).
type clash struct {
	local, other model.Ref
}

// noteClashes takes the addresses of a pod that is new, changed or, with nil, gone,
// after it has been put into the index.
func (a *Agent) noteClashes(r model.Ref, e *model.Endpoint) {
	for addr, c := range a.clashes {
		if c.local == r || c.other == r {
			a.noteClash(addr)
		}
	}
	if e != nil {
		for _, addr := range e.Addrs {
			a.noteClash(addr.Unmap())
		}
	}
	a.metrics.clashes.Set(float64(len(a.clashes)))
}

func (a *Agent) noteClash(addr netip.Addr) {
	local, other, ok := a.ix.Clash(addr)
	now := clash{local, other}
	switch before, known := a.clashes[addr]; {
	case !ok:
		delete(a.clashes, addr)
	case !known || before != now:
		a.clashes[addr] = now
		a.log.Warn("a pod of another node claims the address of a local pod, which keeps it", "address", addr, "pod", local.String(), "claimedBy", other.String())
	}
}

// clashing describes the clashes; "" without any.
func (a *Agent) clashing() string {
	if len(a.clashes) == 0 {
		return ""
	}
	addr := slices.SortedFunc(maps.Keys(a.clashes), netip.Addr.Compare)[0]
	c := a.clashes[addr]
	text := fmt.Sprintf("%s of another node claims address %s of local %s, which keeps it", c.other, addr, c.local)
	if more := len(a.clashes) - 1; more > 0 {
		text += fmt.Sprintf("; %d more addresses of local pods are claimed", more)
	}
	return text
}
