package selector

import (
	"slices"
	"strings"
)

// Constraint is a condition on one label that holds wherever the selector matches.
type Constraint struct {
	Key string
	// Values are the values that the label can have, sorted; nil means that the
	// label is present with any value. It must not be changed.
	Values []string
}

// Constraints returns conditions that all hold wherever s matches, at most one
// for a key, sorted by key. They are necessary, not sufficient. There are none
// for a selector that can match without any label (such as a == 'x' || b == 'y',
// where neither key is needed), and none for one that never matches: see
// MatchesNothing.
func (s *Selector) Constraints() []Constraint {
	c, _ := s.constraints()
	return c
}

// MatchesNothing reports whether s can be seen to match nothing: it is !all(), or
// the conditions on one label that it needs exclude each other. It may be false
// for a selector that matches nothing for a less obvious reason.
func (s *Selector) MatchesNothing() bool {
	_, possible := s.constraints()
	return !possible
}

// constraints also reports whether s may match.
func (s *Selector) constraints() ([]Constraint, bool) {
	// frame is a group that is being walked; the outermost holds the whole tree.
	type frame struct {
		end  int // index after the group's last node
		op   op
		done [][]Constraint // of the operands so far that may match
		// impossible is whether an operand of && can never match.
		impossible bool
	}
	nodes := s.tree()
	var buf [8]frame
	stack := append(buf[:0], frame{end: len(nodes), op: opAnd})
	for i := 0; ; {
		n := &nodes[i]
		if n.group() {
			stack = append(stack, frame{end: i + int(n.size), op: n.op})
			i++
			continue
		}
		i++
		c, possible := n.constraint()
		for {
			top := &stack[len(stack)-1]
			if possible {
				top.done = append(top.done, c)
			} else if top.op == opAnd {
				top.impossible = true
			}
			if top.end != i {
				break
			}
			switch {
			case top.op == opOr:
				c, possible = eitherConstraints(top.done)
			case top.impossible:
				c, possible = nil, false
			default:
				c, possible = allConstraints(top.done)
			}
			stack = stack[:len(stack)-1]
			if len(stack) == 0 {
				return c, possible
			}
		}
	}
}

// constraint of a leaf.
func (n *node) constraint() (c []Constraint, possible bool) {
	switch {
	case n.op == opAll:
		return nil, !n.negated
	case n.op == opGlobal:
		if !n.negated {
			return nil, true
		}
		return []Constraint{{Key: n.key}}, true
	case n.negated:
		return nil, true
	case n.op == opIn:
		return []Constraint{{Key: n.key, Values: n.values}}, true
	default:
		return []Constraint{{Key: n.key}}, true
	}
}

// allConstraints joins the constraints of the operands of &&. It is false if no
// value of a label satisfies them all.
func allConstraints(operands [][]Constraint) ([]Constraint, bool) {
	if len(operands) == 1 {
		return operands[0], true
	}
	joined := slices.Concat(operands...)
	slices.SortStableFunc(joined, func(a, b Constraint) int { return strings.Compare(a.Key, b.Key) })
	out := joined[:0]
	for _, c := range joined {
		if len(out) == 0 || out[len(out)-1].Key != c.Key {
			out = append(out, c)
			continue
		}
		last := &out[len(out)-1]
		switch {
		case c.Values == nil:
		case last.Values == nil:
			last.Values = c.Values
		default:
			last.Values = slices.DeleteFunc(slices.Clone(last.Values), func(v string) bool {
				return !contains(c.Values, v)
			})
			if len(last.Values) == 0 {
				return nil, false
			}
		}
	}
	return out, true
}

// eitherConstraints weakens the constraints of the operands of || that may
// match to what holds for all. It is false if there are no operands.
func eitherConstraints(operands [][]Constraint) ([]Constraint, bool) {
	switch len(operands) {
	case 0:
		return nil, false
	case 1:
		return operands[0], true
	}
	var out []Constraint
next:
	for _, first := range operands[0] {
		var values []string
		present := false // with any value
		for _, c := range operands {
			at, ok := slices.BinarySearchFunc(c, first.Key, func(c Constraint, key string) int {
				return strings.Compare(c.Key, key)
			})
			if !ok {
				continue next
			}
			present = present || c[at].Values == nil
			if !present {
				values = append(values, c[at].Values...)
			}
		}
		if present {
			values = nil
		} else {
			values = sortedSet(values)
		}
		out = append(out, Constraint{Key: first.Key, Values: values})
	}
	return out, true
}
