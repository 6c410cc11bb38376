// Package nfqueue reads the packets that wait in a queue of the kernel (NFQUEUE), and
// says when they may go on.
//
//	rule `queue flags bypass to 21591` ──→ queue ──netlink──→ [Kernel.Run] ──→ [Packet]s, as they come
//	                                        ↑                                     │
//	                       packets go on ───┴──────────── [Kernel.Accept] ←───────┘
//
// What it does. [Kernel] binds the queue, fail-open: a packet for which there is no room
// goes on at once, and is counted where the kernel shows it. Nothing here ever drops a
// packet, and nothing keeps the kernel waiting: whoever ends without having accepted
// what waits loses it, so accept first. [Packet.Segment] reads the addresses, the ports
// and what is in a packet.
//
// What it does not. It does not know rules, nor DNS. [Fake] stands in for a kernel in
// tests. Everything but [Kernel] works on any system.
package nfqueue
