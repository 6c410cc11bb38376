package index

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// PeerWeight estimates how much of what a kernel holds changes with an endpoint as a
// peer, if it is put into the Index: one, and one for each time that a rule refers to a
// set that it comes into, for each of its addresses. What has the same labels as others
// are treated alike: one for each set. A pod whose change bears on no set counts one, as
// host endpoints and ghosts do. The estimate is of what there was at the last Flush;
// nothing is changed.
func (ix *Index) PeerWeight(e *model.Endpoint) int {
	if e.Host != nil || e.Ref.Kind != model.KindPod {
		return 1
	}
	ns, sa, pairs := ix.endpointLabels(e)
	ls, isNew := ix.groupFor(ownerPod, ns, sa, pairs)
	if isNew {
		ix.rematch(ls)
	}
	sets, uses := 0, 0
	for _, m := range ls.matched {
		if n := m.sel.uses(); n > 0 {
			sets++
			uses += n
		}
	}
	addrs := sortedAddrs(e.Addrs)
	weight := 1 + uses*len(addrs)
	switch old := ix.pods[podKey{ns, e.Ref.Name}]; {
	case old != nil && slices.Equal(old.addrs, addrs) && slices.Equal(old.ports(), sortedPorts(e.Ports)) && samePeers(old.ls, ls):
		weight = 1
	case len(ls.owners) > 0:
		weight = 1 + sets*len(addrs)
	}
	if len(ls.owners) == 0 {
		ix.dropGroup(ls)
	}
	return weight
}

// uses is how often rules refer to a selector's sets.
func (s *sel) uses() (n int) {
	if s.addrs != nil {
		n = s.addrs.refs
	}
	if s.named != nil {
		n += s.named.refs
	}
	for _, set := range s.ports {
		n += set.refs
	}
	return n
}

// samePeers reports whether two label groups are in the same sets.
func samePeers(x, y *labelGroup) bool {
	if x == y {
		return true
	}
	n := 0
	for _, m := range x.matched {
		if m.sel.peer() {
			if !y.matches(m.sel) {
				return false
			}
			n++
		}
	}
	for _, m := range y.matched {
		if m.sel.peer() {
			n--
		}
	}
	return n == 0
}
