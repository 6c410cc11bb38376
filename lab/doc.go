// Package lab makes a small world of network namespaces on one Linux machine:
// nodes, pods and hosts outside the cluster, with real packets between them.
//
// What it is for. Whatever enforces policy runs inside a node's namespace, as it
// would on a machine of its own ([Lab.Do], [Lab.Netns], [Lab.Command]). Probes
// ([Lab.Probe]) then show for any packet whether it arrived, and streams
// ([Lab.OpenStream]) what became of a connection over time.
//
// How it is wired. A namespace of the lab, the wire, routes between the nodes
// and the hosts outside; each is attached by a veth pair named eth0 on its side.
// Pods hang on their node, by a routed veth each (network Routed) or on a bridge
// cni0 (network Bridge). Every address is routed by itself, so any set of
// addresses will do, and addresses can come and go at run time.
//
//	pod ── vethN  node  eth0 ── wire ── eth0  node  vethN ── pod
//	                             └───── eth0  host outside
//
// What is left behind: nothing, ever. Namespaces have no name. They live by the
// file descriptors of this process alone, so the kernel takes them down with
// all that is in them when the process ends, even by SIGKILL. Children started
// by [Lab.Command] die with it too. The host's own namespace is not touched.
//
// How a denied packet is recognized without waiting. Virtual Ethernet has no wire to
// wait for: each hop puts the packet on the queue of the CPU that it was sent
// from. A probe is sent from a thread that is bound to a CPU; afterwards the
// thread sends itself witness packets through a loopback that no policy sees,
// one after the other, more than the probe has hops. They queue behind the
// probe. When the last is back, the probe is where it was going to or was
// dropped. No timeout decides, so a slow or busy machine changes nothing.
//
// What attackers send. Options of a probe forge a source address, send by a
// certain interface or as a frame, to link-local, multicast and broadcast
// addresses, as any message of neighbour discovery, TCP flags or SCTP chunk, and
// inside of a VXLAN datagram. Networks get what attacks need by
// [Lab.AddOverlay], [Lab.AddNodeAddr], [Lab.Join] and hosts behind a node.
//
// What "delivered" means. The receiver's own IP stack passed the packet on to
// a socket: it left every hook of every namespace on its way, the input hook of
// the receiving node included.
//
// Privileges: root, or a kernel that lets users make user namespaces; then
// [Reexec], called first in main or TestMain, runs the program again in one.
// Needed beside the kernel: the nft command for [Lab.SetServices] alone.
package lab
