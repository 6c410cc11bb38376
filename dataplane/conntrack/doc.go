// Package conntrack makes established connections obey a changed policy.
//
// The ruleset evaluates policy for the first packet of a connection only; later packets
// follow the connection tracking entry that the first packet has created. So after a
// policy has changed, a [Sweep] walks the entries of the affected addresses, evaluates
// the new policy for each as if it were a first packet, and deletes those that are no
// longer allowed: [Find], Denied, Delete. Start it after the new ruleset is in the
// kernel: packets that would recreate the entry then meet the new policy.
//
// # The contents of an entry
//
// An entry holds two tuples: the first packet as it arrived (Original), and the
// expected reply (Reply). Address translation shows in the difference:
//
//	             Original           Reply              what the policy sees
//	no NAT       pod → peer         peer → pod         pod → peer
//	DNAT         pod → service      backend → pod      pod → backend
//	masquerade   pod → peer         peer → node        pod → peer
//	both         pod → service      backend → node     pod → backend
//
// Policy applies after destination NAT and before source NAT, so its source is
// Original's source and its destination is Reply's source, and likewise for ports
// ([Entry.Flow]). A pod that reaches itself through its own service (NAT loopback)
// becomes a flow from the pod to itself, which policy always allows.
//
// # Which entries count
//
//   - Any protocol: ports of TCP, UDP, UDP-Lite, SCTP and DCCP; type and code of
//     ICMP queries, which are the request's, so that an echo entry is evaluated as the
//     echo request was. ICMP errors have no entries of their own: they belong to
//     the connection that they are about and end with it.
//   - Half-open entries too: a connection request that waits for its reply was let
//     through by the old policy, and the reply would be as well. UDP entries count
//     whether answered, assured or neither.
//   - Entries that a helper expected (the data connection of FTP) are allowed as
//     related to another connection, whatever the policy for their own ports.
//     They are evaluated as that connection is; see Sweep.Denied.
//   - Entries of all zones. Each is deleted by its exact tuple, zone and kernel
//     ID: an entry that has been replaced in the meantime is left alone.
//
// # What a policy has cut stays cut
//
// A connection stays cut until the side that the policy allows to open it opens a new
// one. Deletion alone does not ensure that. Suppose the policy still allows the server to
// send to the client, but no longer the client to the server. The connection's entry is
// gone; the server's next packet creates a new one if the kernel takes it for the start of
// a connection. Then the server counts as the initiator, and the client's packets, which
// the policy denies, pass as replies. This is what the kernel takes for the start of a
// connection, and what really is one:
//
//	          an entry is created by                   a connection is opened by
//	TCP       any packet, if nf_conntrack_tcp_loose      SYN
//	          is 1, the default
//	SCTP      INIT, HEARTBEAT, HEARTBEAT_ACK,            INIT; a HEARTBEAT opens a path
//	          SHUTDOWN_ACK; all else is invalid          of an association
//	UDP       any packet                                 not visible
//	ICMP      a query                                    a query
//	others    any packet                                 not visible
//
// So the base chains contain these rules for packets that belong to no tracked connection:
//
//   - TCP packets of endpoints with policies that are not a SYN are reset.
//   - SCTP packets of endpoints with policies that would create an entry (state new)
//     and are neither INIT nor HEARTBEAT are dropped.
//   - A HEARTBEAT is evaluated like an INIT in the same direction. That keeps
//     multihomed SCTP working: all paths of an association except the first are opened
//     by a HEARTBEAT from either side, and a path continues to work between addresses
//     of which the policy allows one to send to the other. DATA never uses a path that
//     no HEARTBEAT has confirmed.
//   - Flows in the bar are dropped, except SYN and INIT (dataplane.Barrer). Before an
//     entry is deleted, the reverse of its flow is barred: the packets of the server
//     that would bring it back. So the server's HEARTBEAT for an association that was
//     cut is dropped, and one for another association passes.
//
// A sweep that cuts an association also cuts and bars its other paths that the server
// has opened by a HEARTBEAT: entries of the mirrored pair of ports that share an end
// with it, if the policy denies their client as well. A pair of addresses that the
// association has not used before the cut is unknown to the sweep.
//
// UDP has no visible start of a connection; the bar makes silence count as one. A flow is
// barred for ten minutes after the last packet that met the bar (dataplane.BarTime);
// then the server's next packet counts as a start, if the policy allows it. A
// change of policy that allows the client again lifts the bar at once. The client's
// own packets never meet it. What the server sends from another port, or to another,
// is another flow.
//
// There are two exceptions. If both ports of a UDP flow are equal (IKE, SIP, tunnels:
// peers rather than client and server), and for protocols without ports, either side
// may be the initiator, and each packet from the side that the policy allows is a
// start. Only packets in flight at the time of the cut are handled: the connection is
// cut once more, a second later.
//
// If a backend has no bar, the agent looks for the reverse of what it has cut a second
// later and then after longer and longer pauses, for the same total time, and cuts it.
//
// TestReopenFromServer, TestSCTPReopen and TestUDPReopen show all this with packets,
// with and without the rules. The files: entry.go (the contents of an entry), sweep.go,
// kernel_linux.go and parse.go (the kernel's table), fake.go.
package conntrack
