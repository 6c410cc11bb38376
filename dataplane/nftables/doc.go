// Package nftables keeps one table, inet tierwall, in the kernel's nftables equal
// to what a dataplane.State says. README.md draws the hooks and says how the
// table gets on with others.
//
//	State ── world ──→ nft.Ruleset ──→ nft.Plan ──→ nft.Conn: one transaction
//
// This package renders policy. What is nft's own, from chains in memory to netlink
// messages, is package nft. A world is the ruleset that a State asks for, kept up to date change by
// change. Everything in it that is the same for two programs exists once and is
// counted by its users; names follow from contents, so that after a restart
// what stands in the kernel is recognised and left alone.
package nftables
