package index

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// The ghost of a pod has addresses, and a policy that denies everything. It has no
// labels: no policy selects it and no set contains it, so no rule of another endpoint's
// policy matches it as it would match a known pod. Other nodes do not know ghosts at
// all. That is why a ghost does not keep the policies that its pod had: on another
// node, a rule that denies by the pod's labels would no longer match.

func (ix *Index) upsertGhost(e *model.Endpoint) {
	o := &Holder{
		name: e.Ref.Namespace + "/" + e.Ref.Name, node: e.Node, addrs: sortedAddrs(e.Addrs),
		local: ix.IsLocal(e.Node),
	}
	ix.replace(ix.ghosts[e.Ref], o, ownerGhost, nil, nil, nil)
	ix.ghosts[e.Ref] = o
}

func (ix *Index) deleteGhost(r model.Ref) {
	if o := ix.ghosts[r]; o != nil {
		delete(ix.ghosts, r)
		ix.detach(o)
	}
}

// reportGhosts replaces the ghosts that a node's Links list; either may be nil.
func (ix *Index) reportGhosts(before, now *LinkTable) {
	if before != nil {
		for _, g := range before.Ghosts {
			ix.deleteGhost(g.Ref)
		}
	}
	if now == nil {
		return
	}
	addrs := map[model.Ref][]netip.Addr{}
	for _, g := range now.Ghosts {
		addrs[g.Ref] = append(addrs[g.Ref], g.Addr)
	}
	for r, list := range addrs {
		ix.upsertGhost(&model.Endpoint{Ref: r, Node: now.Node, Addrs: list})
	}
}
