package model

// Budgets bound what the objects of a namespace cost each node, so that no namespace
// can cost others their node. They count entries: one for each object, and one for
// each rule, peer, block, port and address that it lists.
type Budgets struct {
	// Mode: GuardEnforce has what is past a budget deny, GuardCount only reports it,
	// GuardOff does neither.
	Mode Guard
	// Namespace is how many entries the policies and NetworkSets of a namespace may
	// have together.
	Namespace int
	// Node is how many entries the policies of namespaces may have on a node, where
	// those of each group of pods that the same policies select count. Where they have
	// more, each namespace may have an equal share.
	Node int
}

// Defaults of the Budgets.
const (
	DefaultNamespaceBudget = 10_000
	DefaultNodeBudget      = 200_000
)
