package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// nodeRec is a node, or the place for one that host endpoints name and that
// has not been seen.
type nodeRec struct {
	object *model.Node // from the API; nil if not seen
	links  *linkTable  // from the node's kernel; nil if not known
	// node is what is known of both: the object with the addresses of the links
	// behind its own; nil if neither is known.
	node  *model.Node
	owner *owner   // holder of the node's addresses; without a node it has none
	hosts []*owner // host endpoints on the node, by name

	// Derived from hosts: the one of all interfaces, whether there are others, and the
	// main interface of a node without links.
	wildcard *owner
	special  bool
	main     string
	// tunnelled are the parts of the node's pod blocks that are other nodes'.
	tunnelled []netip.Prefix
}

// nodeRec returns the record of a node, new if need be.
func (ix *Index) nodeRec(name string) *nodeRec {
	rec := ix.nodes[name]
	if rec == nil {
		rec = &nodeRec{owner: &owner{name: name}}
		ix.nodes[name] = rec
	}
	return rec
}

func (ix *Index) upsertNode(n *model.Node) {
	rec := ix.nodeRec(n.Name)
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
	rec := ix.nodeRec(l.Node)
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

// rejoin makes of a node's object and links what is known of the node.
func (ix *Index) rejoin(rec *nodeRec) {
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
func (ix *Index) reattachNode(rec *nodeRec, attached bool) {
	name, old := rec.owner.name, rec.owner
	if !attached {
		old = nil
	}
	if rec.node == nil {
		ix.detach(old)
		rec.owner = &owner{name: name}
		return
	}
	rec.owner = &owner{name: name, addrs: sortedAddrs(rec.node.Addrs)}
	pairs := ix.ownPairs(ix.pairBuf[:0], rec.node.Labels)
	slices.Sort(pairs)
	ix.pairBuf = pairs
	ix.replace(old, rec.owner, ownerNode, nil, nil, pairs)
}

// join returns the node's object with the addresses of its links.
func (rec *nodeRec) join() *model.Node {
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

// dropNode forgets a node of which nothing is known any more.
func (ix *Index) dropNode(name string, rec *nodeRec) {
	if len(rec.hosts) == 0 && rec.node == nil {
		delete(ix.nodes, name)
	}
}

// readdressHosts gives host endpoints without addresses of their own those of the node.
func (ix *Index) readdressHosts(rec *nodeRec) {
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

func (ix *Index) joinNode(h *owner) {
	rec := ix.nodeRec(h.node)
	i, _ := slices.BinarySearchFunc(rec.hosts, h.name, func(o *owner, name string) int { return strings.Compare(o.name, name) })
	rec.hosts = slices.Insert(rec.hosts, i, h)
	rec.refreshHosts()
}

func (ix *Index) leaveNode(h *owner) {
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

// behind is the node in whose pod blocks an address is, or "": of several a
// local one, and of these the first by name.
func (ix *Index) behind(a netip.Addr) string {
	found := ""
	for name, rec := range ix.nodes {
		if !rec.hasBlock(a) {
			continue
		}
		better := ix.isLocal(name) && !ix.isLocal(found)
		if found == "" || better || name < found && ix.isLocal(name) == ix.isLocal(found) {
			found = name
		}
	}
	return found
}

// inBlocks reports whether an address is in the pod blocks of any node.
func (ix *Index) inBlocks(a netip.Addr) bool {
	return slices.ContainsFunc(ix.ClusterBlocks(), func(p netip.Prefix) bool { return p.Contains(a) })
}

func (ix *Index) isLocal(node string) bool { return ix.local == nil || ix.local(node) }

// hasBlock reports whether an address is in one of the node's pod blocks and not in
// a part of it that the node reaches through a tunnel: such a part is another node's.
func (rec *nodeRec) hasBlock(a netip.Addr) bool {
	if rec == nil || rec.node == nil || len(rec.node.PodCIDRs) == 0 {
		return false
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(rec.node.PodCIDRs, in) && !slices.ContainsFunc(rec.tunnelled, in)
}
