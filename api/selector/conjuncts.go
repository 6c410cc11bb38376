package selector

import "slices"

// Conjuncts returns the selectors of which s is the conjunction, in canonical
// order: s itself if it is none, and nothing for all(). Who prints a rewritten
// selector for people can so say in words what was added to it.
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
