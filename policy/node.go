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
	node  *model.Node // nil if not seen
	owner *owner      // holder of the node's addresses; without an object it has none
	hosts []*owner    // host endpoints on the node, by name
}

func (ix *Index) upsertNode(n *model.Node) {
	ix.clusterAddrs = nil
	rec := ix.nodes[n.Name]
	if rec == nil {
		rec = &nodeRec{owner: &owner{name: n.Name}}
		ix.nodes[n.Name] = rec
	}
	seen := rec.node != nil
	rec.node = n
	ix.changedNodes[n.Name] = struct{}{}
	o := &owner{name: n.Name, addrs: sortedAddrs(n.Addrs)}
	pairs := ix.ownPairs(ix.pairBuf[:0], n.Labels)
	slices.Sort(pairs)
	ix.pairBuf = pairs
	old := rec.owner
	if !seen {
		old = nil
	}
	ix.replace(old, o, ownerNode, nil, nil, pairs)
	rec.owner = o
	ix.readdressHosts(rec)
}

func (ix *Index) deleteNode(name string) {
	ix.clusterAddrs = nil
	rec := ix.nodes[name]
	if rec == nil || rec.node == nil {
		return
	}
	ix.changedNodes[name] = struct{}{}
	ix.detach(rec.owner)
	rec.node, rec.owner = nil, &owner{name: name}
	ix.readdressHosts(rec)
	if len(rec.hosts) == 0 {
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
	rec := ix.nodes[h.node]
	if rec == nil {
		rec = &nodeRec{owner: &owner{name: h.node}}
		ix.nodes[h.node] = rec
	}
	i, _ := slices.BinarySearchFunc(rec.hosts, h.name, func(o *owner, name string) int { return strings.Compare(o.name, name) })
	rec.hosts = slices.Insert(rec.hosts, i, h)
}

func (ix *Index) leaveNode(h *owner) {
	rec := ix.nodes[h.node]
	if rec == nil {
		return
	}
	if i := slices.Index(rec.hosts, h); i >= 0 {
		rec.hosts = slices.Delete(rec.hosts, i, i+1)
	}
	if len(rec.hosts) == 0 && rec.node == nil {
		delete(ix.nodes, h.node)
	}
}

// behind is the node in whose pod blocks an address is, or "": of several a
// local one, and of these the first by name.
func (ix *Index) behind(a netip.Addr) string {
	found := ""
	for name, rec := range ix.nodes {
		if rec.node == nil || !inBlocks(rec.node, a) {
			continue
		}
		better := ix.isLocal(name) && !ix.isLocal(found)
		if found == "" || better || name < found && ix.isLocal(name) == ix.isLocal(found) {
			found = name
		}
	}
	return found
}

func (ix *Index) isLocal(node string) bool { return ix.local == nil || ix.local(node) }

func inBlocks(n *model.Node, a netip.Addr) bool {
	return slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}
