//go:build linux

package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// The control plane's machine and its ports.
const (
	controlPlane = "cp"
	serverPort   = 6443
)

// Addresses of the cluster; each has its IPv6 twin on a dual-stack one.
var (
	serverAddress  = netip.MustParseAddr("10.200.0.1")
	serverAddress6 = netip.MustParseAddr("fd00:200::1")
	serviceAddress = netip.MustParseAddr("10.96.0.1") // of the Service default/kubernetes
	anywhere       = netip.MustParsePrefix("0.0.0.0/0")
	anywhere6      = netip.MustParsePrefix("::/0")
)

// nodeName of node i, from 1.
func nodeName(i int) string { return fmt.Sprintf("n%d", i) }

// nodeIndex is the reverse; 0 for any other name.
func (o Options) nodeIndex(name string) int {
	for i := 1; i <= o.Nodes; i++ {
		if nodeName(i) == name {
			return i
		}
	}
	return 0
}

// either picks by family: IPv4 alone, or both.
func (o Options) either(v4, v6 string) []string {
	if o.DualStack {
		return []string{v4, v6}
	}
	return []string{v4}
}

// machinePrefixes are the addresses of a machine, with the length of the
// network that joins the machines; index 0 is cp.
func (o Options) machinePrefixes(i int) []netip.Prefix {
	v4, v6 := serverAddress.String()+"/24", serverAddress6.String()+"/64"
	if i > 0 {
		v4, v6 = fmt.Sprintf("10.200.0.1%d/24", i), fmt.Sprintf("fd00:200::1%d/64", i)
	}
	return prefixes(o.either(v4, v6))
}

// machineAddresses are the same without the length.
func (o Options) machineAddresses(i int) []string {
	var all []string
	for _, p := range o.machinePrefixes(i) {
		all = append(all, p.Addr().String())
	}
	return all
}

// nodeHardware is the Ethernet address of node i's interface, a locally administered one.
func nodeHardware(i int) net.HardwareAddr { return net.HardwareAddr{2, 0, 10, 200, 0, byte(i)} }

// podPrefixes are those of node i.
func (o Options) podPrefixes(i int) []netip.Prefix {
	return prefixes(o.either(fmt.Sprintf("10.210.%d.0/24", i), fmt.Sprintf("fd00:210:%d::/64", i)))
}

// podNetworks are those of all nodes, and serviceNetworks those of Services,
// as Kubernetes takes them: joined by commas.
func (o Options) podNetworks() string {
	return strings.Join(o.either("10.210.0.0/16", "fd00:210::/32"), ",")
}

func (o Options) serviceNetworks() string {
	return strings.Join(o.either("10.96.0.0/16", "fd00:96::/112"), ",")
}

func prefixes(list []string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}
