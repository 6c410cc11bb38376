// Package iptables keeps a kernel's iptables, ip6tables and ipsets equal to what
// a dataplane.State says, for nodes that have no usable nftables or whose
// operators insist on iptables.
//
// render makes rules and sets of a State and touches nothing; Backend compares
// them with what it has written before, or with what the kernel holds, and
// writes the difference: sets over netlink, rules by one iptables-restore a
// family. README.md says what packets can see of a change, and what not. Where only
// elements of sets come and go, no rules are made (elements.go).
//
// The package does not decide which backend a node has, and changes nothing of
// anybody else's: all of its chains begin with TW-, all of its sets with tw-.
package iptables
