// Package sctp speaks as much SCTP (RFC 9260) as tests of network policy need, on
// raw sockets, for kernels that have no SCTP sockets: a [Server] takes
// associations on ports and sends a text to each, and [Dial] makes one, waits for
// that text and takes the association down. On the wire it is SCTP like any
// other: tables match its ports and connection tracking follows its states.
//
// It is no transport for anything else: messages must fit into one packet, only
// the first chunks are sent again, there is one path and one stream, and a cookie
// is no secret, so that a Server believes any.
//
// It wants CAP_NET_RAW. Every raw socket of a network namespace sees all SCTP
// packets that arrive there, so several Servers, also in several processes, can
// serve a port each; a port that none of them serves is refused as a kernel
// would, by an ABORT.
package sctp
