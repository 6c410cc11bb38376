// Package model is the one form into which every policy kind is converted: what
// the index, the evaluator, the linter, the differ and the data plane speak.
//
// It holds plain values and a few methods that name and order them. It knows no
// Kubernetes types (policy/convert does), resolves no selector (package index
// does) and does no I/O. Values are immutable once they are handed to another
// package.
package model
