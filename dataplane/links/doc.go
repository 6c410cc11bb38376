// Package links reads what the kernel of a node reports about the node itself: all
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
// Two kinds of pod networks are supported, whatever their interfaces are named.
//
// Routed: the main table has a route to exactly the pod's address, without a gateway,
// to a veth (or netkit) whose peer is in another network namespace. This holds for
// Calico, AWS VPC CNI, Azure CNI, GKE, kindnet, the ptp plugin and Cilium with endpoint
// routes. Interfaces with a default route, or with an address of a subnet, are
// uplinks: a node that is itself a container has such interfaces. Routes that router
// advertisements or redirects have created do not count, because pods can send those.
//
// Bridged: the pod's address lies in a route without a gateway to a bridge that
// has only pods behind it: no port of it leads elsewhere (to a network card, a tunnel, a
// virtual machine), and the default route does not use it. There are two ways to find
// the port:
//
//   - The kernel lists the addresses of the port's peer, in the pod's namespace,
//     without entering that namespace (IFA_TARGET_NETNSID, Linux 4.20). No pod
//     has to send anything for that, and a pod without CAP_NET_ADMIN cannot change
//     it. An address that several ports have is assigned to none.
//   - If no port's peer has the address (the pod is a virtual machine, or the
//     kernel is older), the neighbour table of the bridge has the MAC address, and
//     its forwarding database has the port.
//
// The port that was found first stays until it is gone, the address no longer belongs
// to that local pod, or the route leads elsewhere. So a pod cannot move another pod's
// address to its own port by forged ARP or by a forged source MAC. This protection
// starts when the port is found. It does not cover what a pod does before that: with the
// second way, a pod that answers for the address of another pod first gets it; with the
// first, a pod with CAP_NET_ADMIN that gives itself an address which another pod has too
// leaves that address without a port. The protection does not survive a restart of the
// agent, which finds the ports again.
//
// In all other networks an address has no PodLink, and guards that need one do
// not apply: Cilium without endpoint routes (the route leads to cilium_host, whose
// peer is in the same namespace), OVN (a gateway behind an Open vSwitch port), AWS
// security groups for pods (routes in other tables), macvlan, ipvlan and SR-IOV
// (no interface of the node leads to the pod).
//
// # What is not read
//
// Routing tables other than main and local, and rules: if they send a pod's
// packets elsewhere (WireGuard of Calico, VRFs), Routes do not show it. Tunnels
// made in user space (OpenVPN, tun devices) have no recognizable encapsulation.
package links
