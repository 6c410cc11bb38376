package selector

// Ends of a program: jump targets that are no index of a node.
const (
	jumpTrue  = -1
	jumpFalse = -2
)

// link sets the jumps of every leaf, so that evaluation goes from leaf to leaf
// and never visits a group, and returns the index of the first leaf.
func link(nodes []node) (entry int32) {
	type frame struct {
		end     int32
		op      op
		yes, no int32 // where to go when the group is decided
	}
	// first returns the first leaf of the subtree at i.
	first := func(i int32) int32 {
		for nodes[i].group() {
			i++
		}
		return i
	}
	var buf [16]frame
	stack := append(buf[:0], frame{end: int32(len(nodes)), op: opAnd, yes: jumpTrue, no: jumpFalse})
	for i := int32(0); int(i) < len(nodes); {
		n := &nodes[i]
		top := &stack[len(stack)-1]
		yes, no := top.yes, top.no
		if next := i + n.size; next < top.end {
			// Only the last operand decides when all before have not.
			if top.op == opAnd {
				yes = first(next)
			} else {
				no = first(next)
			}
		}
		i++
		if n.group() {
			stack = append(stack, frame{end: i - 1 + n.size, op: n.op, yes: yes, no: no})
			continue
		}
		n.yes, n.no = yes, no
		for len(stack) > 1 && stack[len(stack)-1].end == i {
			stack = stack[:len(stack)-1]
		}
	}
	return first(0)
}

// Evaluate says whether s matches the labels. It allocates nothing beyond what
// l.Get does. A nil Labels has none.
func (s *Selector) Evaluate(l Labels) bool {
	if s == nil || len(s.nodes) == 0 {
		return true
	}
	if l == nil {
		l = MapLabels(nil)
	}
	pc := s.entry
	for pc >= 0 {
		n := &s.nodes[pc]
		if n.matches(l) {
			pc = n.yes
		} else {
			pc = n.no
		}
	}
	return pc == jumpTrue
}

// matches evaluates a leaf.
func (n *node) matches(l Labels) bool {
	if n.op == opAll {
		return !n.negated
	}
	value, ok := l.Get(n.key)
	if n.op == opGlobal {
		return ok == n.negated
	}
	return (ok && n.test(value)) != n.negated
}
