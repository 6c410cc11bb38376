//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// addBridge makes a node's cni0 with its addresses.
func (n *node) addBridge(l *Lab) error {
	err := n.ns.do(func() error {
		for _, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
			if err := os.WriteFile("/proc/sys/net/bridge/"+name, []byte("1"), 0); err != nil {
				return fmt.Errorf("network Bridge needs br_netfilter, or policy does not see what passes the bridge: modprobe br_netfilter: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return n.wrap(err, "bridge")
	}
	off := false
	n.cni0 = &end{place: n.place, name: bridgeName, mac: mac(l.numbers.nextLink(), 3)}
	b := &netlink.Bridge{
		LinkAttrs:         netlink.LinkAttrs{Name: bridgeName, HardwareAddr: n.cni0.mac},
		MulticastSnooping: &off,
	}
	if err := n.nl.LinkAdd(b); err != nil {
		return n.wrap(err, "bridge")
	}
	n.cni0.index = b.Attrs().Index
	if err := n.nl.LinkSetUp(b); err != nil {
		return n.wrap(err, "bridge")
	}
	n.gates = []gateway{{bridge4, single(bridge4)}, {bridge6, single(bridge6)}}
	for _, block := range n.spec.PodCIDRs {
		a, ok := freeOf(block, func(a netip.Addr) bool { return l.planned[a] })
		if !ok {
			return n.wrap(errors.New("no free address"), "pod block %s", block)
		}
		n.gates = append(n.gates, gateway{a, block})
	}
	for _, g := range n.gates {
		if err := n.cni0.prefix(netip.PrefixFrom(g.addr, g.block.Bits())); err != nil {
			return err
		}
	}
	return nil
}

// gate returns the bridge's address for a pod's address: that of its block, or
// the link-local one for an address outside of all blocks, which then is alone
// on its link.
func (n *node) gate(a netip.Addr) gateway {
	for _, g := range n.gates {
		if g.block.Contains(a) {
			return g
		}
	}
	return gateway{pick(a.Is4(), bridge4, bridge6), single(a)}
}

// enslave puts the pod's link, which is ready, on the bridge: it forwards at
// once. The bridge itself is up when its first port is.
func (p *pod) enslave() error {
	port := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: p.far.index}}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: p.node.cni0.index}}
	if err := p.node.nl.LinkSetMaster(port, bridge); err != nil {
		return p.node.wrap(err, "bridge port %s", p.far.name)
	}
	// A pod that is its own backend is to be reached by its service.
	if err := p.node.nl.LinkSetHairpin(port, true); err != nil {
		return p.node.wrap(err, "bridge port %s", p.far.name)
	}
	return p.node.cni0.ready()
}

// freeOf returns the first address of a block but its base that is not taken.
func freeOf(block netip.Prefix, taken func(netip.Addr) bool) (netip.Addr, bool) {
	for a := block.Masked().Addr().Next(); block.Contains(a); a = a.Next() {
		if !taken(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}
