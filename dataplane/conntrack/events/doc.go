// Package events reads what the kernel reports of connections: each one that begins or
// ends, with what it has carried.
//
//	conntrack ──netlink groups NEW, DESTROY──→ [Kernel.Read] ──→ one [Event] each
//	conntrack ──dump─────────────────────────→ [Kernel.Dump] ──→ one [Event] for each that is open
//
// The kernel makes events only while a [Kernel] is open: without one they cost nothing.
// Events wait in the socket until Read, which never blocks. Whoever reads a few times a
// second reads many at once; a reader that the kernel wakes up for each event costs ten
// times as much. What does not fit into the socket is lost and counted; a dump shows what
// is open all the same.
//
// Connections that policy denies make no events: the kernel tracks a connection when its
// first packet has passed all rules.
//
// The kernel counts packets and bytes only if net.netfilter.nf_conntrack_acct is 1 in the
// network namespace, and then for connections that began afterwards. Of connections that
// began before the Kernel was opened, it does not report the end.
//
// [Fake] replaces a kernel in tests. Everything except [Kernel] works on any system.
package events
