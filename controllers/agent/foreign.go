package agent

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// foreign are addresses of other nodes' pods within this node's blocks of pod
// addresses. Where the network does not give out addresses by these blocks the
// kernel has to be told of them: they are not unknown pods of this node.
type foreign struct {
	pods    map[model.Ref][]netip.Addr
	changed bool
}

// noteForeign takes a pod that is new, changed or, with nil, gone.
func (a *Agent) noteForeign(r model.Ref, e *model.Endpoint) {
	had := a.foreign.pods[r]
	var has []netip.Addr
	if e != nil && !a.local(e.Node) {
		if n := a.ix.Node(a.opts.Node); n != nil {
			for _, addr := range e.Addrs {
				if slices.ContainsFunc(n.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(addr) }) {
					has = append(has, addr)
				}
			}
		}
	}
	if slices.Equal(had, has) {
		return
	}
	a.foreign.changed = true
	if len(has) == 0 {
		delete(a.foreign.pods, r)
	} else {
		a.foreign.pods[r] = has
	}
}

// findForeign looks through all pods, after the node's blocks have changed.
func (a *Agent) findForeign() {
	for _, r := range a.ix.Endpoints() {
		if e, ok := a.ix.Endpoint(r); ok && r.Kind == model.KindPod {
			a.noteForeign(r, e)
		}
	}
}

// addrs returns the addresses, sorted.
func (f *foreign) addrs() []netip.Addr {
	var out []netip.Addr
	for _, addrs := range f.pods {
		out = append(out, addrs...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
