// Package policytest is the pure part of policy tests (kind PolicyTest): it resolves a
// case to the first packet of a connection, and compares a decision with what the case
// expects. The caller chooses what decides: the core's evaluator, or a kernel with real
// packets.
//
//	World.Resolve: case → model.Flow
//	Compare:       case, model.Decision → differences
package policytest
