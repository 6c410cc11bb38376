// Package policytest is the pure part of policy tests (kind PolicyTest): it
// resolves a case to the first packet of a connection, and compares a decision
// with what the case expects. Who decides, the core's evaluator or a kernel
// that real packets pass, is up to the caller.
//
//	World.Resolve: case → model.Flow
//	Compare:       case, model.Decision → differences
package policytest
