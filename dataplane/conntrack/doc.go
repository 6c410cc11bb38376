// Package conntrack makes established connections obey a changed policy.
//
// The ruleset asks the policy about the first packet of a connection only; what
// follows goes by the connection tracking entry that the first packet has made.
// So after a policy has changed, a [Sweep] walks the entries of the addresses that
// it concerns, asks the new policy about each as if it were a first packet, and
// deletes those that are not allowed any more: [Find], Denied, Delete. Begin it
// after the new ruleset is in the kernel: whatever comes to make the entry anew
// then meets the new policy.
//
// # What an entry says
//
// An entry holds two tuples: what the first packet looked like when it came in
// (Original), and what an answer to it looks like (Reply). Address translation
// shows in the difference:
//
//	             Original           Reply              what the policy sees
//	no NAT       pod → peer         peer → pod         pod → peer
//	DNAT         pod → service      backend → pod      pod → backend
//	masquerade   pod → peer         peer → node        pod → peer
//	both         pod → service      backend → node     pod → backend
//
// The policy stands behind destination NAT and before source NAT, so its source
// is Original's source and its destination is Reply's source, ports likewise
// ([Entry.Flow]). A pod that reaches itself through its own service (NAT
// loopback) becomes a flow from the pod to itself, which policy always allows.
//
// # Which entries count
//
//   - Any protocol. Ports of TCP, UDP, UDP-Lite, SCTP and DCCP; type and code of
//     ICMP queries, which are the request's, so that an echo entry is judged as the
//     echo request was. ICMP errors have no entries of their own: they belong to
//     the connection that they are about and end with it.
//   - Half-open ones too: a connection request that waits for its answer was let
//     through by the old policy, and so would the answer be. UDP entries count
//     alike whether answered, assured or neither.
//   - Entries that a helper expected (the data connection of FTP) are allowed as
//     related to another connection, whatever the policy says of their own ports.
//     They are judged as that one is; see Sweep.Denied.
//   - Entries of all zones. Each is deleted by its exact tuple, zone and kernel
//     ID: an entry that has been replaced meanwhile is left alone.
//
// # What a policy has cut stays cut
//
// It stays cut until the side that the policy allows to begin begins anew. Deletion
// alone does not do that. Say the policy allows the server to send to the client
// and no longer the client to the server. The connection's entry is gone; the
// server's next packet makes one anew if the kernel takes it for a beginning. Then
// the server counts as the side that began, and the client's packets pass as
// replies, which the policy has denied. What the kernel takes for a beginning, and
// what really is one:
//
//	          an entry is made by                      begins a connection
//	TCP       any packet, where nf_conntrack_tcp_loose   SYN
//	          is 1, the default
//	SCTP      INIT, HEARTBEAT, HEARTBEAT_ACK,            INIT; a HEARTBEAT begins a path
//	          SHUTDOWN_ACK; all else is invalid          of an association
//	UDP       any packet                                 shown by none
//	ICMP      a query                                    a query
//	others    any packet                                 shown by none
//
// So the base chains hold, for packets that belong to no tracked connection:
//
//   - TCP packets of endpoints with policies that are no SYN are reset.
//   - SCTP packets of endpoints with policies that would make an entry (state new)
//     and are neither INIT nor HEARTBEAT are dropped.
//   - A HEARTBEAT is judged by policy like an INIT in the same direction. That keeps
//     multihomed SCTP working: the paths of an association but the first begin with
//     a HEARTBEAT of either side, and a path goes on between addresses of which the
//     policy allows one to send to the other. DATA never goes by a path that no
//     HEARTBEAT has confirmed.
//   - Flows in the bar are dropped, all but SYN and INIT (dataplane.Barrer). Before an
//     entry is deleted, the reverse of its flow is barred: the packets of the server
//     that would bring it back. So the server's HEARTBEAT of an association that was
//     cut is dropped, and one of another association passes.
//
// A sweep that cuts an association cuts and bars its other paths too, where their
// server has begun them by a HEARTBEAT: entries of the mirrored pair of ports that
// share an end with it, if the policy denies their client as well. A pair of
// addresses that the association has not used before the cut is unknown to it.
//
// UDP has no beginning that shows, and the bar is what makes one: silence. A flow is
// barred for ten minutes after the last packet that met the bar (dataplane.BarTime);
// then the server's next packet counts as a beginning, if the policy allows it. A
// change of policy that allows the client again lifts the bar at once. The client's
// own packets never meet it. What the server sends from another port, or to another,
// is another flow.
//
// Two exceptions follow from the contract's words. Where both ports of a UDP flow
// are equal (IKE, SIP, tunnels: peers rather than client and server), and for
// protocols without ports, either side may have begun and each packet of the side
// that the policy allows is its beginning. Only what was under way at the cut is
// cut once more, a second later.
//
// Where a backend has no bar, the agent looks for the reverse of what it has cut a
// second later and then after longer and longer pauses, for as long, and cuts it.
//
// TestReopenFromServer, TestSCTPReopen and TestUDPReopen show all this with packets,
// with the rules and without them. The files: entry.go (what an entry is), sweep.go,
// kernel_linux.go and parse.go (the kernel's table), fake.go.
package conntrack
