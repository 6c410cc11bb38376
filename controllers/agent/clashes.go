package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// clashes are the addresses of local pods that pods of other nodes claim.
type clashes struct {
	*node
	by map[netip.Addr]clash
}

// clash is an address of a local pod that a pod of another node claims: its kubelet
// reports an address that is not the pod's, or the network has given it out twice.
// The local pod counts (index.Index.Owner).
type clash struct {
	local, other model.Ref
}

func newClashes(n *node) *clashes { return &clashes{node: n, by: map[netip.Addr]clash{}} }

// note takes the addresses of a pod that is new, changed or, with nil, gone,
// after it has been put into the index.
func (c *clashes) note(r model.Ref, e *model.Endpoint) {
	for addr, known := range c.by {
		if known.local == r || known.other == r {
			c.look(addr)
		}
	}
	if e != nil {
		for _, addr := range e.Addrs {
			c.look(addr.Unmap())
		}
	}
	c.metrics.clashes.Set(float64(len(c.by)))
}

// look asks the index who claims an address.
func (c *clashes) look(addr netip.Addr) {
	local, other, ok := c.ix.Clash(addr)
	now := clash{local, other}
	switch before, known := c.by[addr]; {
	case !ok:
		delete(c.by, addr)
	case !known || before != now:
		c.by[addr] = now
		c.log.Warn("a pod of another node claims the address of a local pod, which keeps it", "address", addr, "pod", local.String(), "claimedBy", other.String())
	}
}

// describe describes the clashes, for people; "": there are none.
func (c *clashes) describe() string {
	if len(c.by) == 0 {
		return ""
	}
	addr := slices.SortedFunc(maps.Keys(c.by), netip.Addr.Compare)[0]
	first := c.by[addr]
	text := fmt.Sprintf("%s of another node claims address %s of local %s, which keeps it", first.other, addr, first.local)
	if more := len(c.by) - 1; more > 0 {
		text += fmt.Sprintf("; %d more addresses of local pods are claimed", more)
	}
	return text
}
