// Package dns is a scripted DNS server, and a client that connects to the answered
// address at once, for labs of network namespaces.
//
//	Zone (name → Script) ──→ [Listen] ←──UDP, TCP──→ [Client.Ask] ──→ [Connect] at once
//
// The server answers as its scripts say: addresses, CNAME chains, truncation, large
// messages, other TTLs, other names than those asked for. The client reports what an
// answer took and whether the first packet of the connection that followed was lost.
//
// Sockets are opened on the calling thread, so that [lab.Lab.Do] places server and
// client in any namespace. The server goes on after Do has returned; the client
// stays on the thread.
//
// [lab.Lab.Do]: https://pkg.go.dev/github.com/tierwall/tierwall/lab#Lab.Do
package dns
