// Package policy is the pure core of Tierwall: it takes objects in (package
// model's form, in any order, also before what they refer to) and gives the
// effective policy of each local endpoint, the members of the sets that those
// policies refer to, and verdicts with their reasons.
//
//	objects → model (policy/convert) → Index → Effective, Set → Verdict
//
// An Index is a state machine without goroutines, clocks or I/O. Its cost
// follows distinct label sets and the selectors that could match them, not the
// number of policies times the number of endpoints.
package index
