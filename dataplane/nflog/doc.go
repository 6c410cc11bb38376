// Package nflog reads the packets that match Log rules: those that the kernel sends to
// an NFLOG group of a network namespace.
//
//	rule `log prefix "…" group 18` ──→ NFLOG group ──netlink──→ [Kernel.Run] ──→ one [Packet] each
//
// What it does: [Kernel] binds the group, makes the kernel copy the first bytes of each
// packet (headers, no content), parses them as IPv4 or IPv6, and names the interfaces.
// It counts what the kernel could not deliver because the reader was too slow: logging
// never slows down packets.
//
// What it does not do: it does not know rules; the backend knows which rule a prefix
// names. It limits nothing and writes nothing. [Fake] replaces a kernel in tests.
// Everything except [Kernel] works on any system.
package nflog
