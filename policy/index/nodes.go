package index

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// NodeState is a node, or the placeholder for one that host endpoints name and that
// does not exist yet.
type NodeState struct {
	object *model.Node // from the API; nil if not seen
	links  *LinkTable  // from the node's kernel; nil if not known
	// node combines both: the object, with the addresses of the links after its own;
	// nil if neither is known.
	node  *model.Node
	owner *Holder   // holder of the node's addresses; without a node it has none
	hosts []*Holder // host endpoints on the node, by name

	// Derived from hosts: the one of all interfaces, whether there are others, and the
	// main interface of a node without links.
	wildcard *Holder
	special  bool
	main     string
	// tunnelled are the parts of the node's pod blocks that belong to other nodes.
	tunnelled []netip.Prefix
}

// NodeState returns the state of a node, or nil.
func (ix *Index) NodeState(name string) *NodeState { return ix.nodes[name] }

// Name of the node.
func (rec *NodeState) Name() string { return rec.owner.name }

// Links are the node's interfaces; nil if they are unknown, and for a nil NodeState.
func (rec *NodeState) Links() *LinkTable {
	if rec == nil {
		return nil
	}
	return rec.links
}

// Wildcard is the host endpoint of all interfaces, or nil.
func (rec *NodeState) Wildcard() *Holder { return rec.wildcard }

// HasSpecific reports whether the node has host endpoints for one interface, or for
// addresses.
func (rec *NodeState) HasSpecific() bool { return rec.special }

// Tunnelled are the parts of the node's pod blocks that belong to other nodes. The
// caller must not change them.
func (rec *NodeState) Tunnelled() []netip.Prefix { return rec.tunnelled }

// stateOf returns the state of a node, and creates it if needed.
func (ix *Index) stateOf(name string) *NodeState {
	rec := ix.nodes[name]
	if rec == nil {
		rec = &NodeState{owner: &Holder{name: name}}
		ix.nodes[name] = rec
	}
	return rec
}

func (ix *Index) upsertNode(n *model.Node) {
	rec := ix.stateOf(n.Name)
	rec.object = n
	ix.rejoin(rec)
}

func (ix *Index) deleteNode(name string) {
	if rec := ix.nodes[name]; rec != nil && rec.object != nil {
		rec.object = nil
		ix.rejoin(rec)
	}
}

func (ix *Index) upsertLinks(l *model.Links) {
	rec := ix.stateOf(l.Node)
	before := rec.links
	rec.links = newLinkTable(l)
	ix.rejoin(rec)
	ix.reportGhosts(before, rec.links)
}

func (ix *Index) deleteLinks(node string) {
	if rec := ix.nodes[node]; rec != nil && rec.links != nil {
		before := rec.links
		rec.links = nil
		ix.rejoin(rec)
		ix.reportGhosts(before, nil)
	}
}

// rejoin combines a node's object and links.
func (ix *Index) rejoin(rec *NodeState) {
	name, before := rec.owner.name, rec.node
	ix.changedNodes[name] = struct{}{}
	rec.node = rec.join()
	ix.clusterAddrs, ix.clusterBlocks = nil, nil
	if !sameNode(before, rec.node) { // links change with every pod, and mostly their routes alone
		ix.reattachNode(rec, before != nil)
		ix.readdressHosts(rec)
	}
	rec.refreshHosts()
	rec.tunnelled = nil
	if rec.node != nil && rec.links != nil {
		rec.tunnelled = rec.links.TunnelledWithin(rec.node.PodCIDRs)
	}
	ix.dropNode(name, rec)
}

// reattachNode gives a node that has changed a new holder of its addresses.
func (ix *Index) reattachNode(rec *NodeState, attached bool) {
	name, old := rec.owner.name, rec.owner
	if !attached {
		old = nil
	}
	if rec.node == nil {
		ix.detach(old)
		rec.owner = &Holder{name: name}
		return
	}
	rec.owner = &Holder{name: name, addrs: sortedAddrs(rec.node.Addrs)}
	pairs := ix.ownPairs(ix.pairBuf[:0], rec.node.Labels)
	slices.Sort(pairs)
	ix.pairBuf = pairs
	ix.replace(old, rec.owner, ownerNode, nil, nil, pairs)
}

// join returns the node's object with the addresses of its links.
func (rec *NodeState) join() *model.Node {
	more := rec.links.addrs()
	switch {
	case rec.object == nil && rec.links == nil:
		return nil
	case rec.object == nil:
		return &model.Node{Name: rec.links.Node, Addrs: slices.Compact(more)}
	case len(more) == 0:
		return rec.object
	}
	n := *rec.object
	n.Addrs = slices.Clone(n.Addrs)
	for _, a := range more {
		if !slices.Contains(n.Addrs, a) {
			n.Addrs = append(n.Addrs, a)
		}
	}
	return &n
}

// dropNode drops a node about which nothing is known any more.
func (ix *Index) dropNode(name string, rec *NodeState) {
	if len(rec.hosts) == 0 && rec.node == nil {
		delete(ix.nodes, name)
	}
}

// readdressHosts gives host endpoints without addresses of their own the node's
// addresses.
func (ix *Index) readdressHosts(rec *NodeState) {
	for _, h := range rec.hosts {
		if h.host().fixed || slices.Equal(h.addrs, rec.owner.addrs) {
			continue
		}
		ls := h.ls
		for _, m := range ls.matched {
			if m.sel.peer() {
				ix.contribute(m.sel, h, -1)
			}
		}
		for _, a := range h.addrs {
			ix.addrs.remove(single(a), h)
		}
		h.addrs = rec.owner.addrs
		for _, a := range h.addrs {
			ix.addrs.add(single(a), h)
		}
		for _, m := range ls.matched {
			if m.sel.peer() {
				ix.contribute(m.sel, h, 1)
			}
		}
		if h.local {
			ix.dirtyEndpoint(h)
		}
	}
}

func (ix *Index) joinNode(h *Holder) {
	rec := ix.stateOf(h.node)
	i, _ := slices.BinarySearchFunc(rec.hosts, h.name, func(o *Holder, name string) int { return strings.Compare(o.name, name) })
	rec.hosts = slices.Insert(rec.hosts, i, h)
	rec.refreshHosts()
}

func (ix *Index) leaveNode(h *Holder) {
	rec := ix.nodes[h.node]
	if rec == nil {
		return
	}
	if i := slices.Index(rec.hosts, h); i >= 0 {
		rec.hosts = slices.Delete(rec.hosts, i, i+1)
	}
	rec.refreshHosts()
	ix.dropNode(h.node, rec)
}

// NodeOfBlock is the node in whose pod blocks an address is, or "". If there are
// several, local nodes take precedence, then the first by name.
func (ix *Index) NodeOfBlock(a netip.Addr) string {
	found := ""
	for name, rec := range ix.nodes {
		if !rec.HasBlock(a) {
			continue
		}
		better := ix.IsLocal(name) && !ix.IsLocal(found)
		if found == "" || better || name < found && ix.IsLocal(name) == ix.IsLocal(found) {
			found = name
		}
	}
	return found
}

// InPodBlocks reports whether an address is in the pod blocks of any node.
func (ix *Index) InPodBlocks(a netip.Addr) bool {
	return slices.ContainsFunc(ix.ClusterBlocks(), func(p netip.Prefix) bool { return p.Contains(a) })
}

// IsLocal reports whether the endpoints of a node are local.
func (ix *Index) IsLocal(node string) bool { return ix.local == nil || ix.local(node) }

// HasBlock reports whether an address is in one of the node's pod blocks and not in a
// part of it that the node reaches through a tunnel: such a part belongs to another
// node.
func (rec *NodeState) HasBlock(a netip.Addr) bool {
	if rec == nil || rec.node == nil || len(rec.node.PodCIDRs) == 0 {
		return false
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(rec.node.PodCIDRs, in) && !slices.ContainsFunc(rec.tunnelled, in)
}
