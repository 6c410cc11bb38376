package selector

import (
	"cmp"
	"slices"
	"strings"
)

// op is what a node is.
type op uint8

// The order of leaf operators is the order in which leaves of one key stand.
const (
	opOr op = iota + 1
	opAnd
	opAll    // all(); negated: the selector that never matches
	opGlobal // global()
	opHas
	opIn // one value or several: ==, in; negated: !=, not in
	opContains
	opStarts
	opEnds
)

// other returns the dual of a group operator.
func (o op) other() op { return opOr + opAnd - o }

// node is a node of the tree. Trees are slices of nodes in preorder, each node
// followed by its operands; so no walk needs to recurse, however deep a tree
// may be. Negation exists on leaves only.
type node struct {
	op      op
	negated bool
	// yes and no are where evaluation goes on, set by link; leaves only.
	yes, no int32
	// size is the number of nodes of the subtree, this one included.
	size int32
	key  string
	// values is sorted and without duplicates for opIn and has one element for
	// opContains, opStarts and opEnds. It is never changed once in a node:
	// selectors share it.
	values []string
}

func (n *node) group() bool { return n.op <= opAnd }

// test reports whether a leaf's condition, its negation left out, holds for a
// label that is present with a value. It is not for opAll and opGlobal.
func (n *node) test(value string) bool {
	switch n.op {
	case opHas:
		return true
	case opIn:
		return contains(n.values, value)
	case opContains:
		return strings.Contains(value, n.values[0])
	case opStarts:
		return strings.HasPrefix(value, n.values[0])
	default:
		return strings.HasSuffix(value, n.values[0])
	}
}

// linearValues is up to how many values a linear search beats a binary one.
const linearValues = 8

// contains reports whether a value is among sorted ones.
func contains(values []string, value string) bool {
	if len(values) > linearValues {
		_, found := slices.BinarySearch(values, value)
		return found
	}
	for _, v := range values {
		if same(v, value) {
			return true
		}
	}
	return false
}

// same is a == b, faster where they differ: most do in length or in the last
// byte, and comparing more is a call.
func same(a, b string) bool {
	return len(a) == len(b) && (len(a) == 0 || a[len(a)-1] == b[len(b)-1]) && a == b
}

// compareTerms orders leaves and groups by everything but negation: leaves
// first, by key, then operator, then values. Global() comes before all labels.
func compareTerms(a, b *node) int {
	if a.group() != b.group() {
		if a.group() {
			return 1
		}
		return -1
	}
	if a.op <= opGlobal || b.op <= opGlobal {
		if a.op != b.op {
			return cmp.Compare(a.op, b.op)
		}
	}
	if c := strings.Compare(a.key, b.key); c != 0 {
		return c
	}
	if a.op != b.op {
		return cmp.Compare(a.op, b.op)
	}
	return slices.Compare(a.values, b.values)
}

// compareTrees is a total order of canonical trees; 0 means that they are equal.
func compareTrees(a, b []node) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if c := compareTerms(&a[i], &b[i]); c != 0 {
			return c
		}
		if a[i].negated != b[i].negated {
			if b[i].negated {
				return -1
			}
			return 1
		}
		if c := cmp.Compare(a[i].size, b[i].size); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// sortedSet sorts values in place and drops duplicates.
func sortedSet(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}
