// Package status keeps the status of policies: whether a policy is accepted as
// it is written, and on which nodes it is enforced. It runs in the manager, on
// the leader.
//
//	NodeReport of each node ──┐
//	Nodes ────────────────────┼─→ board ──┐
//	policies, tiers ──────────┴───────────┴─→ status of each policy, events
//
// All is computed anew from what the caches hold (board.go sums up the reports,
// accepted.go and enforced.go make the conditions of one policy): nothing is
// added up over time that could go wrong over time.
//
// What it writes is bounded. A new generation of a policy is answered at once
// (accepted or not), and once more when the nodes have had time to report; after
// that, changes of what nodes report are collected for settleTime before they are
// written. All writes together stay below a fixed number a second.
//
// It does not decide anything: enforcement goes on without it.
package status
