//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/tierwall/tierwall/test/cluster/machine"
)

// The bridge on cp, and the interface of a node. On cp a node's end of the pair
// has the node's name.
const (
	bridgeName = "br0"
	nodeLink   = "eth0"
)

// handle opens a netlink socket in a machine's network.
func handle(m *machine.Machine) (*netlink.Handle, netns.NsHandle, error) {
	ns, err := m.Network()
	if err != nil {
		return nil, netns.None(), err
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, netns.None(), fmt.Errorf("machine %s: no netlink: %w", m.Name(), err)
	}
	return h, ns, nil
}

// wireControlPlane makes the bridge and the routes to all pods. A route leads
// nowhere until its node is there.
func (o Options) wireControlPlane(cp *machine.Machine) error {
	h, ns, err := handle(cp)
	if err != nil {
		return err
	}
	defer func() { h.Close(); _ = ns.Close() }()
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}); err != nil {
		return fmt.Errorf("machine cp: no bridge: %w", err)
	}
	if err := addressUp(h, bridgeName, o.machinePrefixes(0)); err != nil {
		return fmt.Errorf("machine cp: %w", err)
	}
	if err := o.routePods(h, 0); err != nil {
		return fmt.Errorf("machine cp: %w", err)
	}
	return nil
}

// wireNode joins node i to the bridge. What is left of an earlier pair, while
// the kernel takes down a node that was cut off, is removed first.
func (o Options) wireNode(ctx context.Context, cp, node *machine.Machine, i int) error {
	at, cpNS, err := handle(cp)
	if err != nil {
		return err
	}
	defer func() { at.Close(); _ = cpNS.Close() }()
	h, ns, err := handle(node)
	if err != nil {
		return err
	}
	defer func() { h.Close(); _ = ns.Close() }()
	if old, err := at.LinkByName(node.Name()); err == nil {
		_ = at.LinkDel(old)
	}
	bridge, err := at.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("machine cp: no bridge: %w", err)
	}
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: node.Name(), MasterIndex: bridge.Attrs().Index},
		PeerName:      nodeLink,
		PeerNamespace: netlink.NsFd(ns),
		// A card keeps its address when the power goes: the other machines remember
		// it, for IPv6 for half a minute.
		PeerHardwareAddr: nodeHardware(i),
	}
	err = retry(ctx, func() error { return at.LinkAdd(pair) }, unix.EEXIST)
	if err != nil {
		return fmt.Errorf("machine %s: no pair of interfaces: %w", node.Name(), err)
	}
	end, err := at.LinkByName(node.Name())
	if err != nil {
		return fmt.Errorf("machine cp: %w", err)
	}
	if err := at.LinkSetUp(end); err != nil {
		return fmt.Errorf("machine cp: interface %s stays down: %w", node.Name(), err)
	}
	if err := addressUp(h, nodeLink, o.machinePrefixes(i)); err != nil {
		return fmt.Errorf("machine %s: %w", node.Name(), err)
	}
	if err := o.routePods(h, i); err != nil {
		return fmt.Errorf("machine %s: %w", node.Name(), err)
	}
	return nil
}

// routePods leads to the pods of every other node than i, and all else to cp.
func (o Options) routePods(h *netlink.Handle, i int) error {
	for j := 1; j <= o.Nodes; j++ {
		if j == i {
			continue
		}
		gateways := o.machinePrefixes(j)
		for f, pods := range o.podPrefixes(j) {
			if err := route(h, pods, gateways[f].Addr()); err != nil {
				return err
			}
		}
	}
	if i == 0 {
		return nil
	}
	for _, p := range o.machinePrefixes(0) {
		all := anywhere
		if p.Addr().Is6() {
			all = anywhere6
		}
		if err := route(h, all, p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// addressUp gives an interface its addresses and brings it up.
func addressUp(h *netlink.Handle, name string, addresses []netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	for _, p := range addresses {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			// Nobody else can have it, and it must be of use at once.
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(link, a); err != nil {
			return fmt.Errorf("interface %s: cannot have address %s: %w", name, p, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("interface %s: stays down: %w", name, err)
	}
	return nil
}

func route(h *netlink.Handle, to netip.Prefix, gateway netip.Addr) error {
	if err := h.RouteAdd(&netlink.Route{Dst: ipNet(to), Gw: net.IP(gateway.AsSlice())}); err != nil {
		return fmt.Errorf("route to %s by %s: %w", to, gateway, err)
	}
	return nil
}

// ipNet is the form that package netlink takes; the address keeps its host part.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// retry repeats what fails with a certain error, until ctx ends.
func retry(ctx context.Context, do func() error, passing error) error {
	var last error
	err := wait(ctx, func() (bool, error) {
		last = do()
		if errors.Is(last, passing) {
			return false, nil
		}
		return true, last
	})
	if ctx.Err() != nil {
		return errors.Join(err, last)
	}
	return err
}

// networkSysctls are those of a machine's own network; a machine is a host that
// forwards, as every node is.
func (o Options) networkSysctls(name string) []machine.Sysctl {
	// kube-proxy and the policies of bridged pods rest on it that what is bridged
	// passes iptables and nftables, where the kernel can do that. The bridge on cp
	// is but a wire.
	filtered := "1"
	if name == controlPlane {
		filtered = "0"
	}
	all := []machine.Sysctl{
		{Name: "net/ipv4/ip_forward", Value: "1"},
		// What others have made of these for the host does not hold here.
		{Name: "net/ipv4/conf/all/rp_filter", Value: "0"},
		{Name: "net/ipv4/conf/default/rp_filter", Value: "0"},
		{Name: "net/bridge/bridge-nf-call-iptables", Value: filtered},
		{Name: "net/bridge/bridge-nf-call-ip6tables", Value: filtered},
	}
	if o.DualStack {
		all = append(all,
			machine.Sysctl{Name: "net/ipv6/conf/all/disable_ipv6", Value: "0"},
			machine.Sysctl{Name: "net/ipv6/conf/default/disable_ipv6", Value: "0"},
			machine.Sysctl{Name: "net/ipv6/conf/all/forwarding", Value: "1"},
			machine.Sysctl{Name: "net/ipv6/conf/default/forwarding", Value: "1"},
		)
	}
	return all
}
