package agent

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// foreign are addresses of other nodes, and of their pods, within this node's
// blocks of pod addresses. Where the network does not give out addresses by these
// blocks the State lists them for the kernel: they are not unknown pods of this node.
type foreign struct {
	// by Pod and Node.
	by      map[model.Ref][]netip.Addr
	changed bool
	// cluster are the addresses of all nodes, as the index has them.
	cluster []netip.Addr
}

func newForeign() foreign { return foreign{by: map[model.Ref][]netip.Addr{}} }

// noteForeign takes a pod that is new, changed or, with nil, gone.
func (a *Agent) noteForeign(r model.Ref, e *model.Endpoint) {
	var has []netip.Addr
	if e != nil && !a.local(e.Node) {
		has = a.withinPodBlocks(e.Addrs)
	}
	a.foreign.set(r, has)
}

// noteForeignNode takes a node that is new, changed or, with nil, gone.
func (a *Agent) noteForeignNode(name string, n *model.Node) {
	var has []netip.Addr
	if n != nil && !a.local(name) {
		has = a.withinPodBlocks(n.Addrs)
	}
	a.foreign.set(model.Ref{Kind: model.KindNode, Name: name}, has)
}

// withinPodBlocks returns the addresses that lie in this node's blocks.
func (a *Agent) withinPodBlocks(addrs []netip.Addr) []netip.Addr {
	n := a.ix.Node(a.opts.Node)
	if n == nil {
		return nil
	}
	return within(n.PodCIDRs, addrs)
}

func (f *foreign) set(r model.Ref, addrs []netip.Addr) {
	if slices.Equal(f.by[r], addrs) {
		return
	}
	f.changed = true
	if len(addrs) == 0 {
		delete(f.by, r)
	} else {
		f.by[r] = addrs
	}
}

// noteNodes notes whether nodes have other addresses than before: they are part of
// the State.
func (a *Agent) noteNodes() {
	if all := a.ix.ClusterAddrs(); !slices.Equal(all, a.foreign.cluster) {
		a.foreign.cluster, a.foreign.changed = all, true
	}
}

// findForeign looks through all pods and nodes, after the node's blocks have changed.
func (a *Agent) findForeign() {
	for _, r := range a.ix.Endpoints() {
		if e, ok := a.ix.Endpoint(r); ok && r.Kind == model.KindPod {
			a.noteForeign(r, e)
		}
	}
	for _, n := range a.ix.Nodes() {
		a.noteForeignNode(n.Name, n)
	}
}

// addrs returns the addresses, sorted.
func (f *foreign) addrs() []netip.Addr {
	var out []netip.Addr
	for _, addrs := range f.by {
		out = append(out, addrs...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
