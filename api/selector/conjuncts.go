package selector

import "slices"

// Conjuncts returns the selectors of which s is the conjunction, in canonical order:
// only s itself if it is not a conjunction, and none for all(). Code that prints a
// rewritten selector uses them to describe in words what was added to it.
func (s *Selector) Conjuncts() []*Selector {
	if s.MatchesAll() {
		return nil
	}
	nodes := s.tree()
	if nodes[0].op != opAnd {
		return []*Selector{s}
	}
	var out []*Selector
	for i := int32(1); int(i) < len(nodes); i += nodes[i].size {
		c := seal(slices.Clone(nodes[i:i+nodes[i].size]), "")
		c.global = slices.ContainsFunc(c.nodes, func(n node) bool { return n.op == opGlobal })
		out = append(out, c)
	}
	return out
}
