// Package conntrack makes established connections obey a changed policy.
//
// The ruleset asks the policy about the first packet of a connection only; what
// follows goes by the connection tracking entry that the first packet has made.
// So after a policy has changed, [Sweep] walks the entries of the addresses that
// it concerns, asks the new policy about each as if it were a first packet, and
// deletes those that are not allowed any more. Call it after the new ruleset is
// in the kernel: whatever comes to make the entry anew then meets the new policy.
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
//     They are judged as that one is; see Sweep.
//   - Entries of all zones. Each is deleted by its exact tuple, zone and kernel
//     ID: an entry that has been replaced meanwhile is left alone.
//
// # What deletion alone cannot do
//
// A packet in the middle of a TCP connection makes an entry anew where
// nf_conntrack_tcp_loose is 1, the kernel's default: ct state new, although it
// is no SYN. If it comes from the connection's client the new policy denies it,
// and all is well. If it comes from the server, the kernel takes the server for
// the one who began: the policy is asked whether the server may connect to the
// client, often it may, and from then on the client's packets pass as answers.
// So a ruleset must drop TCP packets that are new and no SYN (or set tcp_loose
// to 0 and drop ct state invalid). TestReopenFromServer shows both, with packets.
//
// UDP has no SYN. An answer that is under way when its connection is cut may
// make it anew, with the server as the one who began. So the agent looks once
// more, a second later, for the reverse of what it has cut. If the policy lets the
// server send to the client on its own accord, it may do so from then on, and
// the client may answer: that is what the policy says.
package conntrack
