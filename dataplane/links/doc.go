// Package links reads what the kernel of a node reports of the node itself: all
// of its addresses, its routes, its tunnels, and where its pods are attached. The
// result is a model.Links. It reads and follows; it changes nothing in the kernel.
//
// The files, in the order in which data travels:
//
//	links.go            Reader, what the agent uses
//	kernel_linux.go     Kernel, the Reader of a network namespace
//	list_linux.go       netlink's answers as a listing
//	inside_linux.go     the addresses of interfaces in pods' namespaces
//	attributes_linux.go attributes of netlink messages
//	wireguard_linux.go  the ports of WireGuard devices
//	watch_linux.go      notifications of changes
//	listing.go          listing, plain values
//	routes.go           the main table, reduced to what decides
//	pods.go             which interface and port leads to which pod
//	tunnels.go          which interfaces encapsulate, and how
//	build.go            a listing as a model.Links
//	fake.go             a Reader for tests
//
// # Where a pod is attached
//
// Two kinds of pod networks are understood, whatever their interfaces are called.
//
// Routed: the main table has a route to the pod's address alone, without a gateway,
// to a veth (or netkit) whose peer is in another network namespace. Calico, AWS
// VPC CNI, Azure CNI, GKE, kindnet, the ptp plugin and Cilium with endpoint routes
// work so. Interfaces with a default route, or with an address of a subnet, are
// uplinks: a node that is itself a container has such ones. Routes that router
// advertisements or redirects have made do not count: pods can send those.
//
// Bridged: the pod's address lies in a route without a gateway to a bridge that
// pods alone are behind: no port of it leads elsewhere (a network card, a tunnel, a
// virtual machine's), and the default route does not go by it. The port is found by
// two means:
//
//   - The kernel lists the addresses of the port's peer, in the pod's namespace,
//     without that namespace being entered (IFA_TARGET_NETNSID, Linux 4.20). No pod
//     has to send anything for that, and a pod without CAP_NET_ADMIN cannot change
//     it. An address that several ports have is nobody's.
//   - Where no port's peer has the address (the pod is a virtual machine, or the
//     kernel is older), the neighbour table of the bridge has the MAC address and
//     its forwarding database the port.
//
// The port that was found first stays until it is gone, the address is no local
// pod's any more or another pod's, or the route leads elsewhere. So a pod cannot
// move another pod's address to its own port by forged ARP or by a forged source
// MAC. This holds from the moment at which the port was found. It does not hold
// for what a pod does before that: by the second means, a pod that answers
// for the address of another pod first has it; by the first, a pod with
// CAP_NET_ADMIN that gives itself an address which another pod has too leaves that
// address without a port. It does not survive a restart of the agent, which finds
// the ports anew.
//
// In all other networks an address has no PodLink, and guards that need one do
// not apply: Cilium without endpoint routes (the route leads to cilium_host, whose
// peer is in the same namespace), OVN (a gateway behind an Open vSwitch port), AWS
// security groups for pods (routes in other tables), macvlan, ipvlan and SR-IOV
// (no interface of the node leads to the pod).
//
// # What is not read
//
// Other routing tables than main and local, and rules: where they send a pod's
// packets elsewhere (WireGuard of Calico, VRFs), Routes do not show it. Tunnels
// that user space makes (OpenVPN, tun devices) encapsulate in no way that is known.
package links
