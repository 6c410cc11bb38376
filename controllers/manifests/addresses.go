package manifests

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/workload"
)

// The blocks that addresses come from where nothing says otherwise.
var (
	podPool4  = netip.MustParsePrefix("10.244.0.0/16")
	podPool6  = netip.MustParsePrefix("fd00:10:244::/64")
	nodePool4 = netip.MustParsePrefix("172.30.0.0/16")
	nodePool6 = netip.MustParsePrefix("fd00:172:30::/64")
)

// completeAddresses gives addresses to nodes and pods that have none: to a node
// those of its host endpoints or of the node pool, to a pod one of its node's
// pod block or of the pod pool. Pods have an IPv6 address if anything in the
// cluster has, and an IPv4 address unless everything has IPv6 alone.
func (r *Result) completeAddresses() {
	a := newAllocator(r)
	nodes := all[*corev1.Node](r)
	for _, n := range nodes {
		if n.o.incomplete() && len(nodeAddrs(n.v)) == 0 {
			for _, addr := range a.nodeAddrs(r, n.v.Name) {
				n.v.Status.Addresses = append(n.v.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr.String()})
			}
		}
	}
	blocks := map[string][]netip.Prefix{}
	for _, n := range nodes {
		blocks[n.v.Name] = podBlocks(n.v)
	}
	for _, p := range all[*corev1.Pod](r) {
		if !p.o.incomplete() || p.v.Spec.HostNetwork || !workload.Runs(p.v) || len(podAddrs(p.v)) > 0 ||
			p.v.Status.PodIP != "" || len(p.v.Status.PodIPs) > 0 {
			continue
		}
		for _, addr := range a.podAddrs(blocks[p.v.Spec.NodeName]) {
			p.v.Status.PodIPs = append(p.v.Status.PodIPs, corev1.PodIP{IP: addr.String()})
		}
		if len(p.v.Status.PodIPs) > 0 {
			p.v.Status.PodIP = p.v.Status.PodIPs[0].IP
		}
	}
	if !r.checkedAddresses {
		r.checkedAddresses = true
		r.warnSharedAddresses()
	}
}

// warnSharedAddresses names pods that have the same address: only one of them
// can be meant.
func (r *Result) warnSharedAddresses() {
	first := map[netip.Addr]*Object{}
	for _, p := range all[*corev1.Pod](r) {
		if p.v.Spec.HostNetwork || !workload.Runs(p.v) || !p.o.incomplete() {
			continue
		}
		for _, addr := range podAddrs(p.v) {
			if f, ok := first[addr]; ok && f != p.o {
				r.warnClash(p.o, "status.podIPs", "the address %s is also that of %s (%s)", addr, f.Ref, f.Place())
				continue
			}
			first[addr] = p.o
		}
	}
}

// allocator hands out addresses that nothing else has.
type allocator struct {
	used map[netip.Addr]bool
	// mentioned are blocks within the pools that policies and network sets name.
	mentioned []netip.Prefix
	ipv4      bool
	ipv6      bool
	next      map[netip.Prefix]netip.Addr
}

func newAllocator(r *Result) *allocator {
	a := &allocator{used: map[netip.Addr]bool{}, next: map[netip.Prefix]netip.Addr{}}
	family := func(is4 bool) {
		a.ipv4 = a.ipv4 || is4
		a.ipv6 = a.ipv6 || !is4
	}
	for i := range r.Objects {
		switch o := r.Objects[i].Object.(type) {
		case *corev1.Pod:
			for _, addr := range podAddrs(o) {
				a.used[addr] = true
				if !o.Spec.HostNetwork {
					family(addr.Is4())
				}
			}
		case *corev1.Node:
			addrs, blocks := nodeAddrs(o), podBlocks(o)
			for _, addr := range addrs {
				a.used[addr] = true
				if len(blocks) == 0 {
					family(addr.Is4())
				}
			}
			for _, b := range blocks {
				family(b.Addr().Is4())
			}
		case *corev1.Service:
			for _, ip := range append([]string{o.Spec.ClusterIP}, o.Spec.ClusterIPs...) {
				if addr, err := netip.ParseAddr(ip); err == nil {
					a.used[addr] = true
				}
			}
			for _, f := range o.Spec.IPFamilies {
				family(f == corev1.IPv4Protocol)
			}
		case *v1alpha1.HostEndpoint:
			for _, ip := range o.Spec.ExpectedIPs {
				if addr, err := netip.ParseAddr(ip); err == nil {
					a.used[addr.Unmap()] = true
				}
			}
		}
		for _, s := range mentionedNets(r.Objects[i].Object) {
			if p, err := netip.ParsePrefix(s); err == nil && a.inPool(p) {
				a.mentioned = append(a.mentioned, p.Masked())
			} else if addr, err := netip.ParseAddr(s); err == nil {
				a.used[addr.Unmap()] = true
			}
		}
	}
	if !a.ipv4 && !a.ipv6 {
		a.ipv4 = true
	}
	return a
}

// inPool says whether a block is a part of a pool: an address out of it would
// match what is meant for others.
func (a *allocator) inPool(p netip.Prefix) bool {
	for _, pool := range []netip.Prefix{podPool4, podPool6, nodePool4, nodePool6} {
		if p.Bits() > pool.Bits() && pool.Overlaps(p) {
			return true
		}
	}
	return false
}

// mentionedNets lists the address blocks that an object names, as they are written.
func mentionedNets(o any) []string {
	var out []string
	rules := func(rules []v1alpha1.Rule) {
		for i := range rules {
			for _, side := range []*v1alpha1.EntityRule{&rules[i].Source, &rules[i].Destination} {
				out = append(out, side.Nets...)
				out = append(out, side.NotNets...)
			}
		}
	}
	peers := func(peers []networkingv1.NetworkPolicyPeer) {
		for _, p := range peers {
			if p.IPBlock != nil {
				out = append(append(out, p.IPBlock.CIDR), p.IPBlock.Except...)
			}
		}
	}
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		rules(o.Spec.Ingress)
		rules(o.Spec.Egress)
	case *v1alpha1.NetworkPolicy:
		rules(o.Spec.Ingress)
		rules(o.Spec.Egress)
	case *v1alpha1.GlobalNetworkSet:
		out = o.Spec.Nets
	case *v1alpha1.NetworkSet:
		out = o.Spec.Nets
	case *networkingv1.NetworkPolicy:
		for _, r := range o.Spec.Ingress {
			peers(r.From)
		}
		for _, r := range o.Spec.Egress {
			peers(r.To)
		}
	case *clusterv1alpha2.ClusterNetworkPolicy:
		for _, r := range o.Spec.Egress {
			for _, p := range r.To {
				for _, n := range p.Networks {
					out = append(out, string(n))
				}
			}
		}
	}
	return out
}

// nodeAddrs chooses the addresses of a node: those that its host endpoints
// expect, else new ones.
func (a *allocator) nodeAddrs(r *Result, node string) []netip.Addr {
	var out []netip.Addr
	for _, h := range all[*v1alpha1.HostEndpoint](r) {
		if h.v.Spec.Node != node {
			continue
		}
		for _, ip := range h.v.Spec.ExpectedIPs {
			if addr, err := netip.ParseAddr(ip); err == nil && !slices.Contains(out, addr.Unmap()) {
				out = append(out, addr.Unmap())
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	return a.take(nodePool4, nodePool6, nil)
}

func (a *allocator) podAddrs(blocks []netip.Prefix) []netip.Addr {
	return a.take(podPool4, podPool6, blocks)
}

// take takes an address of each family in use, out of the given block of that
// family if there is one and it is not used up, else out of the pool.
func (a *allocator) take(pool4, pool6 netip.Prefix, blocks []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, f := range []struct {
		wanted bool
		pool   netip.Prefix
	}{{a.ipv4, pool4}, {a.ipv6, pool6}} {
		if !f.wanted {
			continue
		}
		var candidates []netip.Prefix
		for _, b := range blocks {
			if b.Addr().Is4() == f.pool.Addr().Is4() {
				candidates = append(candidates, b)
			}
		}
		for _, b := range append(candidates, f.pool) {
			if addr, ok := a.from(b); ok {
				out = append(out, addr)
				break
			}
		}
	}
	return out
}

// from returns the next free address of a block. The first ten are left to
// gateways and to what people write into examples by hand.
func (a *allocator) from(block netip.Prefix) (netip.Addr, bool) {
	addr, ok := a.next[block]
	if !ok {
		addr = block.Masked().Addr()
		for range 10 {
			addr = addr.Next()
		}
	}
	for ; addr.IsValid() && block.Contains(addr); addr = addr.Next() {
		// The last address of an IPv4 block is its broadcast address.
		if a.used[addr] || addr.Is4() && !block.Contains(addr.Next()) {
			continue
		}
		if m, ok := a.mentionedBlock(addr, block); ok {
			addr = lastOf(m)
			continue
		}
		a.used[addr] = true
		a.next[block] = addr.Next()
		return addr, true
	}
	a.next[block] = addr
	return netip.Addr{}, false
}

// mentionedBlock returns a block that is narrower than the one at hand, that
// policies name, and that holds the address.
func (a *allocator) mentionedBlock(addr netip.Addr, block netip.Prefix) (netip.Prefix, bool) {
	for _, m := range a.mentioned {
		if m.Bits() > block.Bits() && m.Contains(addr) {
			return m, true
		}
	}
	return netip.Prefix{}, false
}

// lastOf returns the last address of a block.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// podAddrs lists the valid addresses of a pod's status.
func podAddrs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range append([]corev1.PodIP{{IP: p.Status.PodIP}}, p.Status.PodIPs...) {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Zone() == "" && !slices.Contains(out, addr.Unmap()) {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

// nodeAddrs lists the valid addresses of a node's status.
func nodeAddrs(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, na := range n.Status.Addresses {
		if na.Type != corev1.NodeInternalIP && na.Type != corev1.NodeExternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(na.Address); err == nil && addr.Zone() == "" && !slices.Contains(out, addr.Unmap()) {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

// podBlocks lists the valid pod blocks of a node.
func podBlocks(n *corev1.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(s); err == nil && !slices.Contains(out, p.Masked()) {
			out = append(out, p.Masked())
		}
	}
	return out
}
