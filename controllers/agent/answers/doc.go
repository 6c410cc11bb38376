// Package answers makes DNS answers wait until the kernel has the addresses in them, and
// keeps the addresses of the names that rules use.
//
//	kernel's queue ──Packets──→ ┌────────┐ ──Program(deltas)──→ the agent's transaction
//	      ↑                     │ Keeper │                               │
//	      └──── Accept ──────── └────────┘ ←──────── done ───────────────┘
//	rules ──── Use ──────────────→ ↑ ↓
//	                           file of names (package learnt)
//
// What it does. A [Keeper] reads the answers that wait, learns the addresses of names in
// use, passes on what has changed, and lets the answers go on when the kernel has the
// change. Whatever arrives while one change is under way becomes the next change. An
// answer that brings nothing new goes on at once. No answer waits longer than [Patience]:
// then what waits goes on, and answers do not wait any more until the change is through.
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
