package verdict

import (
	"fmt"
	"net/netip"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// Guard is a host endpoint that can guard what an address sends or receives, and where.
type Guard struct {
	// Where is equal for addresses that have the host endpoint in the same position.
	Where string
	// Endpoint is zero if no host endpoint guards.
	Endpoint model.Ref
}

// Surroundings are the facts about nodes that affect connections, other than policies
// and the ends themselves. They are valid until the Index changes.
type Surroundings struct {
	ix *index.Index
	// routed are the local nodes where the route to a peer determines which host
	// endpoint guards, by name.
	routed []*index.NodeState
}

// NewSurroundings returns those of the Index as it is.
func NewSurroundings(ix *index.Index) *Surroundings {
	s := &Surroundings{ix: ix}
	for _, n := range ix.Nodes() {
		if rec := ix.NodeState(n.Name); byRoute(rec, ix.Settings()) && ix.IsLocal(n.Name) {
			s.routed = append(s.routed, rec)
		}
	}
	return s
}

// byRoute reports whether the route to a peer determines which host endpoint guards.
func byRoute(rec *index.NodeState, s *model.Settings) bool {
	return rec.Links() != nil && (rec.HasSpecific() || rec.Wildcard() != nil && s.Guards.Wildcard != model.GuardEnforce)
}

// Guards returns the host endpoints that can guard the connections of an address: two
// addresses of one kind with equal Guards meet host endpoints with equal policies for
// every peer, if both or neither of them are on the peer's node.
func (s *Surroundings) Guards(e *End) []Guard {
	var out []Guard
	ix := s.ix
	wildcard := ix.Settings().Guards.Wildcard == model.GuardEnforce
	add := func(where string, o *index.Holder) {
		g := Guard{Where: where}
		if o != nil {
			g.Endpoint = o.Ref()
		}
		out = append(out, g)
	}
	if rec := ix.NodeState(e.node); rec != nil && e.node != "" && ix.IsLocal(e.node) {
		own := netip.Addr{}
		if e.kind == endHost {
			own = e.addr
		}
		where := ""
		if byRoute(rec, ix.Settings()) { // the peer's address makes a difference
			where = e.node
			if own.IsValid() {
				where += " " + own.String()
			}
		} else {
			add("own", rec.Guard(rec.LinkOf(netip.Addr{}, own, true), own, wildcard))
		}
		if rec.Links() != nil && len(rec.Links().Tunnels) > 0 {
			where += fmt.Sprint(" tunnels ", rec.Links().Tunnels, ix.Settings().Guards.Encapsulation)
		}
		add("pods "+where, rec.Guard(rec.PodLink(e.addr), netip.Addr{}, wildcard))
		if e.kind == endHost {
			add("endpointToHostAction", rec.Wildcard())
			add("unknown workloads", rec.Guard(index.Link{}, own, wildcard))
		}
	}
	if e.ofNode {
		add("node", nil)
	}
	for _, rec := range s.routed {
		guard, how := rec.Guard(rec.LinkOf(e.addr, netip.Addr{}, true), netip.Addr{}, wildcard), "by interface "
		if guard == rec.Wildcard() {
			how = "by " // where an address of the node itself may have another one
		}
		add(how+rec.Name(), guard)
	}
	return out
}

// Block is a block of addresses that have something in common on the routes of
// connections.
type Block struct {
	// Label is equal for blocks that have it in common.
	Label string
	Net   netip.Prefix
}

// Blocks returns the blocks that distinguish addresses without an owner on the routes
// of connections: pod blocks, what is behind tunnels in them, and routes.
func (s *Surroundings) Blocks() []Block {
	var out []Block
	ix := s.ix
	for _, n := range ix.Nodes() {
		for _, p := range n.PodCIDRs {
			out = append(out, Block{"pods " + n.Name, p})
		}
		for _, p := range ix.NodeState(n.Name).Tunnelled() {
			out = append(out, Block{"tunnelled " + n.Name, p})
		}
	}
	for _, rec := range s.routed {
		for _, r := range rec.Links().Routes {
			out = append(out, Block{"route " + rec.Name() + " " + r.Net.String(), r.Net})
		}
		for _, p := range rec.Links().Pods {
			out = append(out, Block{"pod route " + rec.Name() + " " + p.Interface, netip.PrefixFrom(p.Addr, p.Addr.BitLen())})
		}
	}
	return out
}

// HostGuard is the host endpoint that guards traffic from outside to an address of a
// host; zero if there is none.
func HostGuard(ix *index.Index, e *End) model.Ref {
	rec := ix.NodeState(e.node)
	if e.kind != endHost || rec == nil {
		return model.Ref{}
	}
	l := rec.LinkOf(netip.IPv4Unspecified(), e.addr, true)
	if e.addr.Is6() && l.Name == "" {
		l = rec.LinkOf(netip.IPv6Unspecified(), e.addr, true)
	}
	if g := rec.Guard(l, e.addr, ix.Settings().Guards.Wildcard == model.GuardEnforce); g != nil {
		return g.Ref()
	}
	return model.Ref{}
}
