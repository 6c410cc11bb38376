package links

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// seats are the ports of bridges that pods' addresses have been found behind.
// What was found first stays; see the package comment.
type seats struct {
	taken map[netip.Addr]seat
}

// seat is the place of an address.
type seat struct {
	pod          model.Ref
	bridge, port int    // indexes
	name         string // of the port
}

// leadsToPod reports whether pods can be behind a link by itself.
func (l *link) leadsToPod() bool { return l.abroad && (l.kind == "veth" || l.kind == "netkit") }

// isPort reports whether a link is a port of a bridge that leads to a pod.
func (l *link) isPort(bridge int) bool { return l != nil && l.master == bridge && l.leadsToPod() }

// bridgeOf returns the index of the bridge that an address is behind; 0: of none
// that pods alone are behind. On any other bridge what comes by it need not be a pod's.
func (n *network) bridgeOf(a netip.Addr) int {
	r, ok := n.lookup(a)
	if l := n.byIndex[r.index]; !ok || r.gateway || n.own[a] || l == nil || l.kind != "bridge" || n.shared[r.index] {
		return 0
	}
	return r.index
}

// wanted returns the ports whose peers' addresses would locate pods that have no seat
// yet; none if all have one. It drops seats that are no longer valid.
func (s *seats) wanted(n *network, pods Pods) []*link {
	s.forget(n, pods)
	bridges := map[int]bool{}
	for a := range pods {
		if _, seated := s.taken[a]; !seated {
			bridges[n.bridgeOf(a)] = true
		}
	}
	var out []*link
	for i := range n.links {
		if p := &n.links[i]; p.master != 0 && bridges[p.master] && p.isPort(p.master) {
			out = append(out, p)
		}
	}
	return out
}

// missing reports whether a pod behind a bridge has no seat even by its namespace.
func (s *seats) missing(n *network, pods Pods) bool {
	s.update(n, pods)
	for a := range pods {
		if _, seated := s.taken[a]; !seated && n.bridgeOf(a) != 0 {
			return true
		}
	}
	return false
}

// forget removes the seats of pods and ports that are gone.
func (s *seats) forget(n *network, pods Pods) {
	for a, at := range s.taken {
		port := n.byIndex[at.port]
		if pods[a] != at.pod || n.bridgeOf(a) != at.bridge || !port.isPort(at.bridge) || port.name != at.name {
			delete(s.taken, a)
		}
	}
}

// update forgets seats that are no longer valid, and finds new ones.
func (s *seats) update(n *network, pods Pods) {
	if s.taken == nil {
		s.taken = map[netip.Addr]seat{}
	}
	s.forget(n, pods)
	f := newFinder(n)
	for a, pod := range pods {
		if _, seated := s.taken[a]; seated {
			continue
		}
		bridge := n.bridgeOf(a)
		if bridge == 0 {
			continue
		}
		if port := n.byIndex[f.port(bridge, a)]; port.isPort(bridge) {
			s.taken[a] = seat{pod: pod, bridge: bridge, port: port.index, name: port.name}
		}
	}
}

// finder finds ports in a listing.
type finder struct {
	// inside are the ports whose peers have an address.
	inside map[netip.Addr][]int
	macs   map[neighbourKey]mac
	ports  map[stationKey]int
}

type neighbourKey struct {
	bridge int
	addr   netip.Addr
}

type stationKey struct {
	bridge int
	mac    mac
}

func newFinder(n *network) *finder {
	f := &finder{inside: map[netip.Addr][]int{}, macs: map[neighbourKey]mac{}, ports: map[stationKey]int{}}
	for _, i := range n.inside {
		if !slices.Contains(f.inside[i.addr], i.port) {
			f.inside[i.addr] = append(f.inside[i.addr], i.port)
		}
	}
	for _, x := range n.neighbours {
		f.macs[neighbourKey{x.index, x.addr}] = x.mac
	}
	for _, x := range n.stations {
		f.ports[stationKey{x.bridge, x.mac}] = x.port
	}
	return f
}

// port returns the index of the port that an address is behind; 0: unknown, or
// claimed by several.
func (f *finder) port(bridge int, a netip.Addr) int {
	switch claims := f.inside[a]; len(claims) {
	case 0:
	case 1:
		return claims[0]
	default:
		return 0
	}
	if m, ok := f.macs[neighbourKey{bridge, a}]; ok {
		return f.ports[stationKey{bridge, m}]
	}
	return 0
}

// podLinks returns where the pods are attached, sorted.
func (n *network) podLinks(pods Pods, seats map[netip.Addr]seat) []model.PodLink {
	var out []model.PodLink
	for a := range pods {
		if at, ok := seats[a]; ok {
			out = append(out, model.PodLink{Addr: a, Interface: n.byIndex[at.bridge].name, Port: at.name})
		} else if l := n.routedTo(a); l != nil {
			out = append(out, model.PodLink{Addr: a, Interface: l.name})
		}
	}
	slices.SortFunc(out, func(a, b model.PodLink) int { return a.Addr.Compare(b.Addr) })
	return out
}

// routedTo returns the interface that leads to a pod's address alone, or nil.
func (n *network) routedTo(a netip.Addr) *link {
	r, ok := n.hosts[a]
	l := n.byIndex[r.index]
	if !ok || r.gateway || r.learned || n.own[a] || l == nil || l.master != 0 || !l.leadsToPod() || n.uplinks[r.index] {
		return nil
	}
	return l
}
