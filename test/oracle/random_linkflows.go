package oracle

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/policy/model"
)

// Addresses that are somebody's on a link only, or nobody's.
var (
	linkSources = [2][]string{{"169.254.7.7", "0.0.0.0", "198.18.0.9"}, {"fe80::a", "fe80::1", "::", "2001:db8:77::9"}}
	linkTargets = [2][]string{
		{"224.0.0.251", "239.1.2.3", "255.255.255.255", "169.254.7.7", "10.0.0.255"},
		{"ff02::1", "ff02::fb", "ff05::2", "fe80::9", "fe80::1", "fe80::b"},
	}
)

// LinkFlows returns packets of which the flow names where they come in, where they leave,
// or both: with forged sources, link-local and multicast addresses, messages of neighbour
// discovery, and inside of tunnels.
func (s *Stream) LinkFlows(n int) []model.Flow {
	known, others := s.addresses()
	pods := s.podRefs()
	flows := make([]model.Flow, 0, n)
	for len(flows) < n {
		family := pick(s, 0, 0, 1)
		end := func(special []string) netip.Addr {
			switch {
			case s.chance(0.4):
				return netip.MustParseAddr(pick(s, special...))
			case known[family] != nil && s.chance(0.8):
				return pick(s, known[family]...)
			}
			return pick(s, others[family]...)
		}
		f := model.Flow{Src: end(linkSources[family]), Dst: end(linkTargets[family])}
		if s.chance(0.85) {
			f.In = s.linkRef(pods)
		}
		if s.chance(0.45) {
			f.Out = s.linkRef(pods)
		}
		s.linkTraffic(&f)
		flows = append(flows, f)
	}
	return flows
}

// linkRef names a pod, an interface or a node, of which some do not exist.
func (s *Stream) linkRef(pods []model.Ref) model.Ref {
	node := pick(s, "n0", "n0", "n1")
	switch {
	case len(pods) > 0 && s.chance(0.6):
		return pick(s, pods...)
	case s.chance(0.75):
		return model.InterfaceRef(node, pick(s, "eth0", "eth0", "eth1", "cni0", "vxlan0", "veth-ap0", ""))
	case s.chance(0.8):
		return model.Ref{Kind: model.KindNode, Name: node}
	}
	return model.Ref{Kind: model.KindPod, Namespace: "a", Name: "none"}
}

func (s *Stream) podRefs() []model.Ref {
	var out []model.Ref
	for _, o := range s.Objects() {
		if p, ok := o.(*corev1.Pod); ok {
			out = append(out, model.Ref{Kind: model.KindPod, Namespace: p.Namespace, Name: p.Name})
		}
	}
	return out
}

// linkTraffic is what a link carries.
func (s *Stream) linkTraffic(f *model.Flow) {
	f.Protocol = pick(s, model.TCP, model.UDP, model.UDP, model.UDP, model.ICMPv4, model.ICMPv4, model.Protocol(2), model.Protocol(4))
	if f.Protocol == model.ICMPv4 && f.Src.Is6() {
		f.Protocol = model.ICMPv6
	}
	switch {
	case hasPorts(f.Protocol):
		f.SrcPort = pick(s, uint16(40000), 40000, 68, 546)
		f.DstPort = pick(s, uint16(80), 80, 53, 443, 22, 67, 547, 4789, 4789, 5353)
	case f.Protocol == model.ICMPv6:
		f.ICMPType = pick(s, uint8(128), 130, 132, 133, 134, 134, 135, 136, 137, 143)
	case f.Protocol == model.ICMPv4:
		f.ICMPType = pick(s, uint8(8), 5, 9)
	}
}
