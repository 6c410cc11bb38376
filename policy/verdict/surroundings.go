package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Guard is a host endpoint that can guard what an address sends or gets, and where.
type Guard struct {
	// Where is equal for addresses to which the host endpoint is the same.
	Where string
	// Endpoint is zero where no host endpoint guards.
	Endpoint model.Ref
}

// Surroundings are the facts about nodes that bear on connections, beside policies
// and the ends themselves. Those of one Index hold until it changes.
type Surroundings struct {
	ix *Index
	// routed are the local nodes where the route to a peer determines which host
	// endpoint guards, by name.
	routed []*nodeRec
}

// Surroundings returns those of the Index as it is.
func (ix *Index) Surroundings() *Surroundings {
	s := &Surroundings{ix: ix}
	for name, rec := range ix.nodes {
		if rec.byRoute(ix.settings) && ix.isLocal(name) {
			s.routed = append(s.routed, rec)
		}
	}
	slices.SortFunc(s.routed, func(a, b *nodeRec) int { return strings.Compare(a.owner.name, b.owner.name) })
	return s
}

// byRoute reports whether the route to a peer determines which host endpoint guards.
func (rec *nodeRec) byRoute(s *model.Settings) bool {
	return rec.links != nil && (rec.special || rec.wildcard != nil && s.Guards.Wildcard != model.GuardEnforce)
}

// Guards returns which host endpoints can guard the connections of an address: two
// addresses of one kind with equal Guards meet host endpoints of equal policy with
// every peer, if they are on the same node as the peer or both are not.
func (s *Surroundings) Guards(e *End) []Guard {
	var out []Guard
	ix := s.ix
	wildcard := ix.settings.Guards.Wildcard == model.GuardEnforce
	add := func(where string, o *owner) {
		g := Guard{Where: where}
		if o != nil {
			g.Endpoint = o.ref()
		}
		out = append(out, g)
	}
	if rec := ix.nodes[e.node]; rec != nil && e.node != "" && ix.isLocal(e.node) {
		own := netip.Addr{}
		if e.kind == endHost {
			own = e.addr
		}
		where := ""
		if rec.byRoute(ix.settings) { // the peer's address makes a difference
			where = e.node
			if own.IsValid() {
				where += " " + own.String()
			}
		} else {
			add("own", rec.guard(rec.linkOf(netip.Addr{}, own, true), own, wildcard))
		}
		if rec.links != nil && len(rec.links.Tunnels) > 0 {
			where += fmt.Sprint(" tunnels ", rec.links.Tunnels, ix.settings.Guards.Encapsulation)
		}
		add("pods "+where, rec.guard(rec.podLink(e.addr), netip.Addr{}, wildcard))
		if e.kind == endHost {
			add("endpointToHostAction", rec.wildcard)
			add("unknown workloads", rec.guard(link{}, own, wildcard))
		}
	}
	if e.ofNode {
		add("node", nil)
	}
	for _, rec := range s.routed {
		guard, how := rec.guard(rec.linkOf(e.addr, netip.Addr{}, true), netip.Addr{}, wildcard), "by interface "
		if guard == rec.wildcard {
			how = "by " // where an address of the node itself may have another one
		}
		add(how+rec.owner.name, guard)
	}
	return out
}

// Block is addresses that have something in common on the way of connections.
type Block struct {
	// Label is equal for blocks that have it in common.
	Label string
	Net   netip.Prefix
}

// Blocks returns what tells addresses that nobody has apart on the way of
// connections: pod blocks, what lies behind tunnels in them, and routes.
func (s *Surroundings) Blocks() []Block {
	var out []Block
	ix := s.ix
	for _, n := range ix.Nodes() {
		for _, p := range n.PodCIDRs {
			out = append(out, Block{"pods " + n.Name, p})
		}
		for _, p := range ix.nodes[n.Name].tunnelled {
			out = append(out, Block{"tunnelled " + n.Name, p})
		}
	}
	for _, rec := range s.routed {
		for _, r := range rec.links.Routes {
			out = append(out, Block{"route " + rec.owner.name + " " + r.Net.String(), r.Net})
		}
		for _, p := range rec.links.Pods {
			out = append(out, Block{"pod route " + rec.owner.name + " " + p.Interface, single(p.Addr)})
		}
	}
	return out
}

// HostGuard is the host endpoint that guards what comes from outside to an address of
// a host; zero where none does.
func (ix *Index) HostGuard(e *End) model.Ref {
	rec := ix.nodes[e.node]
	if e.kind != endHost || rec == nil {
		return model.Ref{}
	}
	l := rec.linkOf(netip.IPv4Unspecified(), e.addr, true)
	if e.addr.Is6() && l.name == "" {
		l = rec.linkOf(netip.IPv6Unspecified(), e.addr, true)
	}
	if g := rec.guard(l, e.addr, ix.settings.Guards.Wildcard == model.GuardEnforce); g != nil {
		return g.ref()
	}
	return model.Ref{}
}
