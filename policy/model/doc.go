// Package model defines the common form that every policy kind is converted to. The
// index, the evaluator, the linter, the differ and the data plane all work on it.
//
// It consists of plain values and a few methods that name and order them. It has no
// Kubernetes types (policy/convert does), evaluates no selectors (package index does)
// and does no I/O. Values are immutable once they are passed to another package.
package model
