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

// Evaluate reports whether s matches the labels. It allocates nothing beyond what
// l.Get does. A nil Labels has none.
func (s *Selector) Evaluate(l Labels) bool {
	if s == nil || len(s.nodes) == 0 {
		return true
	}
	// Maps are so common that they are spared the calls through the interface.
	m, isMap := l.(MapLabels)
	isMap = isMap || l == nil
	nodes := s.nodes
	for pc := uint(s.entry); ; {
		n := &nodes[pc]
		var value string
		var holds bool
		if isMap {
			value, holds = m[n.key]
		} else {
			value, holds = l.Get(n.key)
		}
		switch n.op {
		case opIn:
			if holds {
				if len(n.values) == 1 {
					holds = same(n.values[0], value)
				} else {
					holds = contains(n.values, value)
				}
			}
		case opHas:
		case opGlobal:
			holds = !holds
		case opAll:
			holds = true
		default:
			holds = holds && n.test(value)
		}
		next := n.no
		if holds != n.negated {
			next = n.yes
		}
		if next < 0 {
			return next == jumpTrue
		}
		pc = uint(next)
	}
}
