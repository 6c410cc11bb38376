package selector

// rebuild returns s, negated if requested, with every leaf replaced by what replace
// appends for it; nil keeps the leaves as they are. The leaf that replace receives has
// its final negation; it must append one canonical tree.
func (s *Selector) rebuild(negate bool, replace func(b *builder, leaf node)) *Selector {
	type frame struct {
		end  int // index after the group's last node
		op   op
		base int // where the group starts in b.nodes
	}
	var buf [16]frame
	stack := buf[:0]
	nodes := s.tree()
	b := newBuilder()
	defer b.release()
	b.global = s.HasGlobal()
	for i := 0; i < len(nodes); {
		n := nodes[i]
		if n.group() {
			o := n.op
			if negate {
				o = o.other()
			}
			stack = append(stack, frame{i + int(n.size), o, len(b.nodes)})
			i++
			continue
		}
		n.negated = n.negated != negate
		if replace == nil {
			b.nodes = append(b.nodes, n)
		} else {
			replace(b, n)
		}
		i++
		for len(stack) > 0 && stack[len(stack)-1].end == i {
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			b.group(top.op, top.base)
		}
	}
	return b.build(s.String())
}

// RewriteKeys returns s with every label key replaced by f(key). Keys may come
// to be equal; what follows from that is simplified. Global() stays as it is.
// A nil f changes nothing.
func (s *Selector) RewriteKeys(f func(string) string) *Selector {
	if f == nil {
		return s
	}
	return s.rebuild(false, func(b *builder, leaf node) {
		if leaf.op > opGlobal {
			leaf.key = f(leaf.key)
		}
		b.nodes = append(b.nodes, leaf)
	})
}

// ReplaceGlobal returns s with every global() replaced by another selector.
func (s *Selector) ReplaceGlobal(with *Selector) *Selector {
	if !s.HasGlobal() {
		return s
	}
	positive, negative := with.tree(), Not(with).tree()
	return s.rebuild(false, func(b *builder, leaf node) {
		b.global = with.HasGlobal()
		switch {
		case leaf.op != opGlobal:
			b.nodes = append(b.nodes, leaf)
		case leaf.negated:
			b.nodes = append(b.nodes, negative...)
		default:
			b.nodes = append(b.nodes, positive...)
		}
	})
}
