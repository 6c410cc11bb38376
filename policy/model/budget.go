package model

// Budgets bound the cost of a namespace's objects on each node, so that no namespace
// can overload a node that others use. They count entries: one for each object, and one
// for each rule, peer, block, port and address that it lists.
type Budgets struct {
	// Mode: with GuardEnforce, objects past a budget deny; with GuardCount, they are
	// only reported; with GuardOff, neither.
	Mode Guard
	// Namespace is the maximum number of entries of a namespace's policies and
	// NetworkSets together.
	Namespace int
	// Node is the maximum number of entries of the policies of all namespaces on a
	// node, counted once for each group of pods that the same policies select. If they
	// exceed it, each namespace gets an equal share.
	Node int
}

// Defaults of Budgets.
const (
	DefaultNamespaceBudget = 10_000
	DefaultNodeBudget      = 200_000
)
