// Package kept holds what a node enforces from its boot until its agent has read
// the cluster: host endpoints with the policies that select them, and the node's
// blocks of pod addresses, in which no pod is known.
//
//	index.Index ──Take──→ State ──Store.Save──→ file ──Store.Load──→ State ──Objects──→ index.Index
//
// What is kept are objects of the model and not rules, so that they go the way of
// all others: index, compiler, backend. No pod of the node is among them: after a
// boot its address may be another's. Selectors of rules are kept by what they
// matched: sets of addresses, pods of other nodes included, as of the last time.
//
// The file is bound to a cluster, a node and a boot, and checksummed. One that is
// torn, of another cluster or of another version of the format is an error of Load
// and nothing else; nothing here ends an agent. The package programs no kernel and
// reads no clock.
//
// The files: state.go and rules.go (what is kept, and back), store.go (the file).
package kept
