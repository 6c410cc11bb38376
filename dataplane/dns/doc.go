// Package dns reads DNS answers as they pass: what a message says about addresses, and
// where messages begin and end in a TCP connection.
//
//	UDP payload ────────────────────────→ [Parse] ──→ names.Answer
//	TCP segments ──[Stream.Segment]──→ messages ──┘
//
// What it reads was sent by whoever can send to a pod, so nothing here panics, keeps
// more than a bound, or takes longer than the input is long. It checks a message in
// itself: that it is an answer, to one question, with addresses that follow from the
// name that was asked for. Whether it came from a server that is trusted, as the reply
// to a question, the kernel's rules have decided before.
//
// Letters compare without case, so answers to questions in mixed case (0x20) are
// answers to the name.
package dns
