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
	*node
	// by Pod or Node that has them.
	by      map[model.Ref][]netip.Addr
	changed bool
	// cluster are the addresses of all nodes, as the index has them.
	cluster []netip.Addr
}

func newForeign(n *node) *foreign { return &foreign{node: n, by: map[model.Ref][]netip.Addr{}} }

// note takes a pod that is new, changed or, with nil, gone.
func (f *foreign) note(r model.Ref, e *model.Endpoint) {
	var has []netip.Addr
	if e != nil && !f.local(e.Node) {
		has = f.withinPodBlocks(e.Addrs)
	}
	f.set(r, has)
}

// noteNode takes a node that is new, changed or, with nil, gone.
func (f *foreign) noteNode(name string, n *model.Node) {
	var has []netip.Addr
	if n != nil && !f.local(name) {
		has = f.withinPodBlocks(n.Addrs)
	}
	f.set(model.Ref{Kind: model.KindNode, Name: name}, has)
}

// withinPodBlocks returns the addresses that lie in this node's blocks.
func (f *foreign) withinPodBlocks(addrs []netip.Addr) []netip.Addr {
	n := f.ix.Node(f.opts.Node)
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
func (f *foreign) noteNodes() {
	if all := f.ix.ClusterAddrs(); !slices.Equal(all, f.cluster) {
		f.cluster, f.changed = all, true
	}
}

// find looks through all pods and nodes, after the node's blocks have changed.
func (f *foreign) find() {
	for _, r := range f.ix.Endpoints() {
		if e, ok := f.ix.Endpoint(r); ok && r.Kind == model.KindPod {
			f.note(r, e)
		}
	}
	for _, n := range f.ix.Nodes() {
		f.noteNode(n.Name, n)
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
