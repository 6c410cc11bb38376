// Package learnt keeps what DNS answers have said in a file of the state folder, so that
// an agent that starts knows the names that the one before it knew.
//
//	names.Table ──Known──→ [Log.Append] ──→ file ──[Log.Load]──→ names.Table.Restore
//	            ──Names──→ [Log.Compact] ─↗
//
// What is learnt is appended, and the file is written anew with what is still known
// when it has become too long. Each frame has a checksum: of a file whose end is torn or
// damaged, all that stands before counts. Nothing that a file holds ends an agent, and
// none is larger than its bound.
//
// Nothing is taken out: what a file holds says until when it is true, and a table that
// it is restored to takes only names of patterns in use.
//
// The files: frame.go (the bytes), log.go (the file).
package learnt
