// Package status maintains the status of policies: whether a policy is accepted as
// written, and on which nodes it is enforced. It runs in the manager, on the leader.
//
//	NodeReport of each node ──┐
//	Nodes ────────────────────┼─→ board ──┐
//	policies, tiers ──────────┴───────────┴─→ status of each policy, events
//
// Everything is recomputed from the caches (board.go summarizes the reports,
// accepted.go and enforced.go make the conditions of one policy): there are no running
// totals that could drift.
//
// Its writes are bounded. The status of a new generation is written at once (accepted
// or not), and again when the nodes have had time to report; after that, changes in
// what nodes report are collected for settleTime before they are written. All writes
// together stay below a fixed number per second.
//
// It does not decide anything: enforcement works without it.
package status
