//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Network is how pods are attached to their node.
type Network int

const (
	// Routed is a veth pair a pod, a /32 (/128) route on the node, no bridge, as
	// Calico and the ptp plugin do it. Neighbours are static.
	Routed Network = iota
	// Bridge is a bridge cni0 a node with the first free address of each pod block,
	// as the bridge plugin and kubenet do it. Neighbours are resolved by ARP and
	// neighbour discovery, on the wire too, which policies must not break.
	//
	// Traffic between pods of one node passes the bridge, not the node's routing.
	// The kernel shows it to IP policy only by br_netfilter, which New demands to
	// be there: a new namespace has bridge-nf-call-iptables and -ip6tables on.
	Bridge
)

// Spec is what a lab is made of. Names and addresses are unique.
type Spec struct {
	Nodes   []Node
	Pods    []Pod
	Outside []Host
	Network Network
}

// Node is a machine of the cluster.
type Node struct {
	Name string
	// Interface is the name of the main interface; empty: eth0.
	Interface string
	// Addrs are on the main interface. The first of each family is the source of what the node
	// sends by itself.
	Addrs []netip.Addr
	// PodCIDRs are the node's pod blocks. They are not needed: pods are routed by
	// address. An address in them that no place has is taken to be a pod of the node
	// when a probe asks for it. Network Bridge takes the addresses of cni0 from them.
	PodCIDRs []netip.Prefix
	// Links are further interfaces to the wire.
	Links []Link
}

func (n *Node) main() string {
	if n.Interface == "" {
		return "eth0"
	}
	return n.Interface
}

// lacks reports whether a name is free for a further interface.
func (n *Node) lacks(name string) bool {
	return name != "" && name != n.main() && name != bridgeName && len(name) <= 15 &&
		!slices.ContainsFunc(n.Links, func(l Link) bool { return l.Name == name })
}

// Link is a further interface of a node, with addresses of its own.
type Link struct {
	Name  string
	Addrs []netip.Addr
}

// Pod is a pod on a node.
type Pod struct {
	Namespace, Name string
	Node            string
	// Addrs may be of either family or both; none for HostNetwork.
	Addrs []netip.Addr
	// HostNetwork: the pod is in its node's namespace, with its addresses.
	HostNetwork bool
}

// Where is the pod's name in this package: namespace/name.
func (p Pod) Where() string { return p.Namespace + "/" + p.Name }

// Host is a machine outside of the cluster.
type Host struct {
	Name  string
	Addrs []netip.Addr
	// Behind is the node that the host is attached to instead of the wire, Link the
	// name of the node's interface that leads to it: what goes to the host is
	// forwarded by the node. Empty: the host is on the wire.
	Behind, Link string
}

// Service is a virtual address that every node translates to backends, or a port of a
// node that this node translates.
type Service struct {
	Addr     netip.AddrPort
	Protocol model.Protocol // TCP, UDP or SCTP
	// Backends are taken at random; none: packets are left alone.
	Backends []netip.AddrPort
	// Masquerade gives translated packets an address of the node that translates.
	Masquerade bool
	// Via is the node that gets what comes from outside for this address; empty:
	// the address is not reachable from outside unless it is a node's own.
	Via string
}

const (
	// Internet is the host outside of the cluster that takes on the addresses
	// that probes ask for and no place has.
	Internet = "internet"
	// Wire is the name of the namespace in the middle, as a sender of probes: a
	// neighbour of each node and each host outside.
	Wire = "(wire)"
)

// check returns all that is wrong with a spec.
func (s *Spec) check() error {
	var errs []error
	names := map[string]bool{Internet: true}
	addrs := map[netip.Addr]string{}
	claim := func(what, name string, list []netip.Addr) {
		for _, a := range list {
			if err := checkAddr(a); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", what, name, err))
			} else if other, ok := addrs[a]; ok {
				errs = append(errs, fmt.Errorf("%s %s: the address %s is also that of %s", what, name, a, other))
			} else {
				addrs[a] = what + " " + name
			}
		}
	}
	name := func(what, name string) {
		if name == "" || names[name] {
			errs = append(errs, fmt.Errorf("%s %q: the name is empty or taken", what, name))
		}
		names[name] = true
	}
	for _, n := range s.Nodes {
		name("node", n.Name)
		if strings.Contains(n.Name, "/") {
			errs = append(errs, fmt.Errorf("node %q: a name without / is needed", n.Name))
		}
		claim("node", n.Name, n.Addrs)
		for _, l := range n.Links {
			if l.Name == "" || l.Name == n.main() || l.Name == bridgeName || len(l.Name) > 15 {
				errs = append(errs, fmt.Errorf("node %s: %q is no name for a further interface", n.Name, l.Name))
			}
			claim("node", n.Name, l.Addrs)
		}
		for _, p := range n.PodCIDRs {
			if !p.IsValid() || p.Addr().Is4In6() {
				errs = append(errs, fmt.Errorf("node %s: pod block %s is invalid", n.Name, p))
			}
		}
	}
	for _, h := range s.Outside {
		if h.Name != Internet {
			name("host", h.Name)
		}
		claim("host", h.Name, h.Addrs)
		if i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == h.Behind }); h.Behind != "" && (i < 0 || !s.Nodes[i].lacks(h.Link)) {
			errs = append(errs, fmt.Errorf("host %s: there is no node %q that can have an interface %q", h.Name, h.Behind, h.Link))
		}
	}
	for _, p := range s.Pods {
		name("pod", p.Where())
		claim("pod", p.Where(), p.Addrs)
		errs = append(errs, s.checkPod(p))
	}
	return errors.Join(errs...)
}

func (s *Spec) checkPod(p Pod) error {
	switch {
	case p.Namespace == "" || p.Name == "":
		return fmt.Errorf("pod %q: namespace and name are needed", p.Where())
	case !slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Name == p.Node }):
		return fmt.Errorf("pod %s: there is no node %q", p.Where(), p.Node)
	case p.HostNetwork && len(p.Addrs) > 0:
		return fmt.Errorf("pod %s: a host-network pod has the addresses of its node", p.Where())
	case !p.HostNetwork && len(p.Addrs) == 0:
		return fmt.Errorf("pod %s: an address is needed", p.Where())
	}
	return nil
}

// checkAddr refuses what no interface can have.
func checkAddr(a netip.Addr) error {
	switch {
	case !a.IsValid() || a.Is4In6() || a.Zone() != "":
		return fmt.Errorf("address %q is no plain IPv4 or IPv6 address", a)
	case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is6() && a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("address %s cannot be given to an interface of the lab", a)
	}
	return nil
}

// of returns the first address of a family, or the zero Addr.
func of(list []netip.Addr, is4 bool) netip.Addr {
	for _, a := range list {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}
