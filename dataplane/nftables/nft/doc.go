// Package nft keeps one table of the kernel's nftables equal to a table in memory. It
// knows nothing of policies: what a table holds is its user's affair, and it imports
// nothing of Tierwall but the names that every kernel takes.
//
//	Ruleset ──────────→ Plan ─────────────→ Conn
//	chains, sets and    what differs from   one transaction of
//	counters in memory  what stands there   netlink messages
//
// A Ruleset is changed through its methods. Ruleset.Plan is what has changed since
// Settle; Snapshot.Plan is what differs from what Conn.Read has found in the kernel.
// Conn.Commit carries a Plan out: all that packets see of it holds at once, or nothing
// of it. What no packet sees may wait in a Backlog.
//
// What is written and what is read are held to each other: rules are texts as nft lists
// them, assembled here into the kernel's expressions; keys of elements are the kernel's
// own bytes. Each rule's comment ends in a tag of its text, by which a rule is known
// without being parsed. All lists are sorted: the same change makes the same messages.
//
// The package is no library, and uses none, for one reason. A node holds some hundred
// thousand elements and rules, and is programmed and read below a second; a library
// that makes an object of each attribute takes several. So a transaction is one buffer
// that is written in order, a list is compared as it comes, and there are just those
// expressions, types and objects that Tierwall's rules need: any other word of nft's
// language is an error. docs/decisions/03-netlink.md has the figures.
//
// Files, in the order in which a change travels:
//
//	table.go         which table
//	ruleset.go       what it holds, in memory
//	keys.go          keys of elements, as bytes and as text
//	plan.go          what has changed in a Ruleset
//	conn.go          the kernel of a network namespace: read, commit
//	snapshot.go      what differs from what was read
//	backlog.go       what may wait
//	transaction.go   the order of a Plan's messages
//	encode.go        one message for each object
//	assemble.go      a rule's text → expressions; assemble_fields.go, assemble_meta.go: what they match
//	expression.go    the kernel's expressions
//	message.go       messages and attributes, written
//	socket.go        messages, sent and received
//	list.go          chains, rules, sets and counters, read; elements.go: elements
//	print.go         a Ruleset as nft -f reads it
package nft
