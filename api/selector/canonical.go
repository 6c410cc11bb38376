package selector

import (
	"slices"
	"sync"
)

// Canonical form. A tree is in canonical form if
//   - negation stands on leaves only (De Morgan; double negation is gone),
//   - no operand of && is a && group, and likewise for ||,
//   - all() and its negation stand alone, never as an operand,
//   - a group has at least two operands, sorted by compareTrees, none twice,
//   - leaves of one key in one group are merged as far as mergeKey goes:
//     a == 'x' || a == 'y' is a in {'x', 'y'}.
//
// Groups are canonicalised bottom up, each when its operands are complete.

// builder makes canonical trees. Its slices are scratch space, reused.
type builder struct {
	nodes   []node // the tree under construction, in preorder
	spans   []span
	scratch []node
	text    []byte
	global  bool // global() has occurred
}

// span is where an operand lies in builder.nodes.
type span struct{ from, to int32 }

var builders = sync.Pool{New: func() any { return new(builder) }}

func newBuilder() *builder {
	b := builders.Get().(*builder)
	b.global = false
	return b
}

// maxPooled is the size of scratch space, in nodes, above which it is left to
// the garbage collector. (What pooled nodes refer to stays alive until they are
// overwritten or the pool is emptied, which every second collection does.)
const maxPooled = 1024

func (b *builder) release() {
	if cap(b.nodes) > maxPooled || cap(b.scratch) > maxPooled || cap(b.text) > maxPooled*64 {
		return
	}
	b.nodes, b.scratch, b.spans, b.text = b.nodes[:0], b.scratch[:0], b.spans[:0], b.text[:0]
	builders.Put(b)
}

// leaf appends a leaf. Values must be sorted and without duplicates.
func (b *builder) leaf(o op, negated bool, key string, values []string) {
	switch {
	case o == opGlobal:
		b.global = true
	case o == opIn && len(values) == 0:
		// No value is in the empty set.
		o, negated, key, values = opAll, !negated, "", nil
	case o >= opContains && values[0] == "":
		// Every value contains, starts and ends with the empty string.
		o, values = opHas, nil
	}
	b.nodes = append(b.nodes, node{op: o, negated: negated, size: 1, key: key, values: values})
}

// constant replaces the operands from base on by all() or its negation.
func (b *builder) constant(base int, value bool) {
	b.nodes = append(b.nodes[:base], node{op: opAll, negated: !value, size: 1})
}

// group makes one canonical tree of the canonical operands that follow each
// other from base on.
func (b *builder) group(o op, base int) {
	// An operand that is itself a group of this operator is flattened by
	// stepping over its head.
	b.spans = b.spans[:0]
	for i := base; i < len(b.nodes); {
		n := &b.nodes[i]
		switch {
		case n.op == o:
			i++
			continue
		case n.op == opAll && n.negated == (o == opAnd):
			b.constant(base, o == opOr)
			return
		case n.op == opAll:
		default:
			b.spans = append(b.spans, span{int32(i), int32(i) + n.size})
		}
		i += int(n.size)
	}
	b.sortSpans()
	if !b.merge(o) {
		b.constant(base, o == opOr)
		return
	}

	if len(b.spans) == 0 {
		b.constant(base, o == opAnd)
		return
	}
	b.scratch = b.scratch[:0]
	if len(b.spans) > 1 {
		b.scratch = append(b.scratch, node{op: o})
	}
	for _, s := range b.spans {
		b.scratch = append(b.scratch, b.nodes[s.from:s.to]...)
	}
	if len(b.spans) > 1 {
		b.scratch[0].size = int32(len(b.scratch))
	}
	b.nodes = append(b.nodes[:base], b.scratch...)
}

func (b *builder) compareSpans(x, y span) int {
	return compareTrees(b.nodes[x.from:x.to], b.nodes[y.from:y.to])
}

func (b *builder) sortSpans() {
	// Insertion sort: groups are small and often in order already.
	if len(b.spans) <= 12 {
		for i := 1; i < len(b.spans); i++ {
			for j := i; j > 0 && b.compareSpans(b.spans[j], b.spans[j-1]) < 0; j-- {
				b.spans[j], b.spans[j-1] = b.spans[j-1], b.spans[j]
			}
		}
		return
	}
	slices.SortFunc(b.spans, b.compareSpans)
}

// merge drops duplicates among the sorted operands and merges the leaves of
// each key. It returns false if the operands contradict each other (for ||: if
// they leave nothing out).
func (b *builder) merge(o op) bool {
	out := b.spans[:0]
	for i := 0; i < len(b.spans); {
		s := b.spans[i]
		n := &b.nodes[s.from]
		j := i + 1
		switch {
		case n.group():
			for j < len(b.spans) && b.compareSpans(s, b.spans[j]) == 0 {
				j++
			}
			out = append(out, s)
		case n.op == opGlobal:
			for ; j < len(b.spans) && b.nodes[b.spans[j].from].op == opGlobal; j++ {
				if b.nodes[b.spans[j].from].negated != n.negated {
					return false
				}
			}
			out = append(out, s)
		default:
			for j < len(b.spans) {
				m := &b.nodes[b.spans[j].from]
				if m.op < opHas || m.key != n.key {
					break
				}
				j++
			}
			if j == i+1 {
				out = append(out, s)
				break
			}
			kept, ok := b.mergeKey(o == opOr, b.spans[i:j])
			if !ok {
				return false
			}
			// kept is a prefix of b.spans[i:j], so out cannot overtake it.
			out = append(out, kept...)
		}
		i = j
	}
	b.spans = out
	return true
}

// mergeKey merges the sorted leaves of one key in a && group. The same for a ||
// group is the negation of what it does with the negated leaves; so flip says
// to read each negation as its opposite. It overwrites spans and the leaves
// that they stand for and returns those that remain, or false if no label can
// satisfy all.
func (b *builder) mergeKey(flip bool, spans []span) ([]span, bool) {
	at := func(i int) *node { return &b.nodes[spans[i].from] }

	// Drop duplicates; a leaf and its negation stand next to each other.
	kept := 1
	for i := 1; i < len(spans); i++ {
		last, n := at(kept-1), at(i)
		if last.op == n.op && slices.Equal(last.values, n.values) {
			if last.negated != n.negated {
				return nil, false
			}
			continue
		}
		spans[kept] = spans[i]
		kept++
	}
	spans = spans[:kept]

	in, outs, absent, present, matchers := -1, 0, -1, false, 0
	for i := range spans {
		switch n, negated := at(i), at(i).negated != flip; {
		case n.op == opIn && !negated:
			if in < 0 || len(n.values) < len(at(in).values) {
				in = i
			}
		case n.op == opIn:
			outs++
		case n.op == opHas && negated:
			absent = i
		case n.op == opHas:
			present = true
		case !negated:
			matchers++
		}
	}

	switch {
	case in >= 0:
		// Of the possible values those remain that satisfy all the others.
		values := slices.DeleteFunc(slices.Clone(at(in).values), func(v string) bool {
			for i := range spans {
				if at(i).test(v) == (at(i).negated != flip) {
					return true
				}
			}
			return false
		})
		if len(values) == 0 {
			return nil, false
		}
		spans[0] = spans[in]
		at(0).values = values
		return spans[:1], true
	case absent >= 0:
		if present || matchers > 0 {
			return nil, false
		}
		// Where the label is absent, everything negative holds.
		spans[0] = spans[absent]
		return spans[:1], true
	}

	// What remains are has, excluded values, and string conditions.
	kept = 0
	union := -1
	for i := range spans {
		n := at(i)
		switch {
		case n.op == opHas && matchers > 0:
			continue // implied by them
		case n.op == opIn && outs > 1:
			if union >= 0 {
				at(union).values = append(at(union).values, n.values...)
				continue
			}
			union = kept
			n.values = slices.Clone(n.values)
		}
		spans[kept] = spans[i]
		kept++
	}
	if union >= 0 {
		at(union).values = sortedSet(at(union).values)
	}
	return spans[:kept], true
}

// build returns the Selector of the one canonical tree in b. If its canonical
// text is source, that string is used.
func (b *builder) build(source string) *Selector {
	if n := &b.nodes[0]; n.op == opAll && !b.global {
		if n.negated {
			return none
		}
		return all
	}
	b.text = appendText(b.text[:0], b.nodes)
	text := source
	if string(b.text) != source {
		text = string(b.text)
	}
	s := seal(slices.Clone(b.nodes), text)
	s.global = b.global
	return s
}

// seal links canonical nodes, which become the Selector's own. An empty text is filled in.
func seal(nodes []node, text string) *Selector {
	if text == "" {
		text = string(appendText(nil, nodes))
	}
	return &Selector{nodes: nodes, entry: link(nodes), text: text}
}
