// Package names holds what DNS answers have said about the names that rules speak of.
//
//	Pattern ──Use──→ ┌───────┐
//	Answer ──Learn──→│ Table │──Deltas──→ addresses that come and go, by pattern
//	time ───Expire──→└───────┘──Sources─→ which name brought an address, when, until when
//
// A [Pattern] is what a rule is written with: a name, or one with * for labels. A
// [Table] learns addresses for the names that some pattern in use matches, and for no
// other. Each pattern is a set of addresses; [Table.Deltas] says by what it has changed.
//
// A Table is bounded whatever it is fed: in names, in addresses of a name and in names
// of a wildcard. Names that a rule spells out are never forgotten for the sake of names
// that only a wildcard matches. An address is kept while a connection uses it.
//
// There is no I/O here, no goroutine and no clock: each call is given the time. The same
// calls make the same results in the same order.
//
// The files: pattern.go and spelling.go (patterns and names), trie.go (from a name to
// its patterns), table.go (patterns in use), learn.go, entry.go (a name's addresses),
// room.go (bounds), expire.go, delta.go, explain.go. internal.go: addresses that no
// answer may open.
package names
