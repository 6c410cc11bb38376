package oracle

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/policy/model"
)

// Flows returns connection attempts that are worth asking about in the world as it
// is: between addresses that its objects have, those beside them and those outside,
// at the ports that rules and names speak of.
func (s *Stream) Flows(n int) []model.Flow {
	known, others := s.addresses()
	flows := make([]model.Flow, 0, n)
	for range n {
		family := pick(s, 0, 0, 1)
		end := func() netip.Addr {
			if known[family] != nil && s.chance(0.75) {
				return pick(s, known[family]...)
			}
			return pick(s, others[family]...)
		}
		f := model.Flow{Src: end(), Dst: end()}
		f.Protocol = pick(s, model.TCP, model.TCP, model.TCP, model.TCP, model.UDP, model.UDP, model.SCTP, model.UDPLite,
			model.ICMPv4, model.Protocol(47), model.Protocol(4))
		if f.Protocol == model.ICMPv4 && f.Src.Is6() {
			f.Protocol = model.ICMPv6
		}
		if hasPorts(f.Protocol) {
			f.SrcPort = pick(s, uint16(40000), 40000, 80, 53, 8080)
			f.DstPort = pick(s, uint16(80), 80, 80, 53, 53, 443, 444, 79, 81, 8080, 8081, 8090, 8091, 22, 6443, 10250, 68, 546, 547, 4789, 1, 65535)
		} else if f.Protocol == model.ICMPv4 || f.Protocol == model.ICMPv6 {
			f.ICMPType, f.ICMPCode = pick(s, uint8(0), 3, 8, 128, 255), pick(s, uint8(0), 1, 255)
		}
		flows = append(flows, f)
	}
	return flows
}

// addresses gives, by family, those of pods that are there and of hosts, and others:
// of pods that are not there, outside, and at the edges of blocks.
func (s *Stream) addresses() (known, others [2][]netip.Addr) {
	add := func(to *[2][]netip.Addr, addrs ...netip.Addr) {
		for _, a := range addrs {
			family := 0
			if a.Is6() {
				family = 1
			}
			if a.IsValid() {
				to[family] = append(to[family], a)
			}
		}
	}
	for _, t := range slices.Concat(podAddrs4, podAddrs6, hostAddrs, outside) {
		add(&others, netip.MustParseAddr(t))
	}
	for _, t := range some(s, 3, slices.Concat(nets4, nets6)...) {
		first, last := ends(netip.MustParsePrefix(t))
		add(&others, first, last, first.Prev(), last.Next())
	}
	for _, t := range hostAddrs {
		add(&known, netip.MustParseAddr(t))
	}
	if s.cfg.Links {
		for _, t := range linkAddrs {
			add(&others, netip.MustParseAddr(t))
		}
	}
	for _, o := range s.Objects() {
		if p, ok := o.(*corev1.Pod); ok {
			for _, ip := range p.Status.PodIPs {
				a := netip.MustParseAddr(ip.IP).Unmap()
				add(&known, a, a)
			}
		}
	}
	return known, others
}

// ends are the first and the last address of a block.
func ends(p netip.Prefix) (first, last netip.Addr) {
	first = p.Masked().Addr()
	b := first.AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ = netip.AddrFromSlice(b)
	return first, last
}
