// Package nflog reads the packets that Log rules hand over: what the kernel sends
// to an NFLOG group of a network namespace.
//
//	rule `log prefix "…" group 18` ──→ NFLOG group ──netlink──→ [Kernel.Run] ──→ one [Packet] each
//
// What it does. [Kernel] binds the group, has the kernel copy the first bytes of
// each packet (headers, no content), reads them as IPv4 or IPv6, and names the
// interfaces. It counts what the kernel could not hand over because the reader
// was too slow: logging never slows down packets.
//
// What it does not. It does not know rules: which one a prefix names, its backend
// says. It limits nothing and writes nothing. [Fake] stands in for a kernel in
// tests. Everything but [Kernel] works on any system.
package nflog
