// Package answers has DNS answers wait until the addresses in them are in the kernel,
// and keeps what they have said of the names that rules speak of.
//
//	kernel's queue ──Packets──→ ┌────────┐ ──Program(deltas)──→ whoever keeps the kernel
//	      ↑                     │ Keeper │                               │
//	      └──── Accept ──────── └────────┘ ←──────── done ───────────────┘
//	rules ──── Use ──────────────→ ↑ ↓
//	                           file of names (package learnt)
//
// What it does. A [Keeper] reads the answers that wait, learns what they say of names in
// use, hands on by what addresses have changed, and has the answers go on when it is
// told that the kernel has them. All that has come while one change was under way is the
// next one. An answer that brings nothing new goes on at once. No answer waits longer
// than [Patience]: then what waits goes on, and answers do not wait any more until the
// change is through.
//
// It keeps the names in a file, has their addresses expire unless a connection uses them,
// and asks for names that rules spell out itself when such a rule comes: clients have
// answers that are older.
//
// What it does not. It knows no rules and no kernel: rules have answers wait
// (dataplane.Answers), package nfqueue reads the queue, and the agent programs addresses.
//
// The files: keeper.go (the Keeper and its goroutines), learn.go (from packets to names),
// waiting.go (what waits for what), streams.go (DNS over TCP), refuse.go (addresses that
// no answer may bring), rate.go, expire.go, file.go, ask.go (its own questions),
// metrics.go.
package answers
