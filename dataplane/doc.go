// Package dataplane compiles effective policies into the form in which a kernel
// runs them, in terms of no backend: sets, programs, and which address has which
// program. dataplane/nftables and dataplane/iptables render it; nothing in this
// package touches a kernel.
//
//	index.Delta → Compiler → Program, Table, Set → backend
//
// A Program is one chain of an effective policy (one stage, one direction) for
// one IP family. It is a list of segments, one a tier; a segment is either a
// short list of rules, tried in turn, or a Table: address of the peer → what
// remains of the segment's rules for that peer. So the first packet of a
// connection costs about the same under ten rules and under ten thousand. Tables of
// many addresses are classed (classes.go), so that a backend may hold each
// address once for all of them. A table that would be much larger than its rules is
// linear (tablesize.go): its rules are tried in turn after all.
package dataplane
