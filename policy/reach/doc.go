// Package reach answers who can reach whom, exactly: for all packets, not for samples,
// and for all pods of a workload at once if policies treat them alike.
//
//	New:         Index → Map of Units
//	Map.Between: two Units → the Ways that are open between them
package reach
