package manifests

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth is the depth of nesting that a document may have. The deepest
	// Kubernetes object has some twenty levels; recursion over trees relies on it.
	maxDepth = 200
	// maxAliased is the number of nodes that aliases may add to a document, so
	// that a page of aliases of aliases cannot fill the memory.
	maxAliased = 100_000
)

// resolve returns the tree with aliases replaced by copies of what they stand
// for and merge keys (<<) merged. It refuses duplicate keys, keys that are no
// plain text, aliases of themselves, and what is too deep or grows too large.
// Only Line, Column and Message of the error are set.
//
// The lines of the tree, and of the error, are those of n plus offset.
func resolve(n *yaml.Node, offset int) (*yaml.Node, *Error) {
	r := resolver{offset: offset, open: map[*yaml.Node]bool{}}
	out := r.node(n, 0, false)
	if r.err != nil {
		return nil, r.err
	}
	return out, nil
}

type resolver struct {
	offset  int                 // of lines
	open    map[*yaml.Node]bool // anchors that are being expanded
	aliased int
	err     *Error
}

func (r *resolver) fail(n *yaml.Node, format string, args ...any) *yaml.Node {
	if r.err == nil {
		r.err = &Error{Line: n.Line + r.offset, Column: n.Column, Message: fmt.Sprintf(format, args...)}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line}
}

// node copies a node. Nodes that stand for an alias take the alias' line only
// at their top: below it, the lines are of what the anchor holds.
func (r *resolver) node(n *yaml.Node, depth int, aliased bool) *yaml.Node {
	switch {
	case r.err != nil:
		return n
	case depth > maxDepth:
		return r.fail(n, "nested deeper than %d levels", maxDepth)
	case aliased:
		if r.aliased++; r.aliased > maxAliased {
			return r.fail(n, "aliases expand to more than %d nodes", maxAliased)
		}
	}
	if n.Kind == yaml.AliasNode {
		if n.Alias == nil || r.open[n.Alias] {
			return r.fail(n, "alias *%s refers to itself", n.Value)
		}
		r.open[n.Alias] = true
		c := *r.node(n.Alias, depth+1, true)
		delete(r.open, n.Alias)
		c.Line, c.Column = n.Line+r.offset, n.Column
		return &c
	}
	c := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line + r.offset, Column: n.Column}
	if n.Anchor != "" && !aliased {
		r.open[n] = true
		defer delete(r.open, n)
	}
	switch n.Kind {
	case yaml.MappingNode:
		r.mapping(n, c, depth, aliased)
	case yaml.SequenceNode:
		c.Content = make([]*yaml.Node, 0, len(n.Content))
		for _, item := range n.Content {
			c.Content = append(c.Content, r.node(item, depth+1, aliased))
		}
	}
	return c
}

func (r *resolver) mapping(n, c *yaml.Node, depth int, aliased bool) {
	lines := make(map[string]int, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content) && r.err == nil; i += 2 {
		k, v := r.node(n.Content[i], depth+1, aliased), n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.fail(n.Content[i], "a key must be text, not a list or an object")
			return
		}
		if k.ShortTag() == "!!merge" {
			merges = append(merges, r.node(v, depth+1, aliased))
			continue
		}
		if first, ok := lines[k.Value]; ok {
			r.fail(n.Content[i], "duplicate key %s, first in line %d", quote(k.Value), first)
			return
		}
		lines[k.Value] = k.Line
		c.Content = append(c.Content, k, r.node(v, depth+1, aliased))
	}
	for _, m := range merges {
		r.merge(c, m, lines)
	}
}

// merge adds the entries of a merge key's value that the mapping has not itself.
// Of several sources the first wins.
func (r *resolver) merge(c, source *yaml.Node, have map[string]int) {
	switch source.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(source.Content); i += 2 {
			k := source.Content[i]
			if _, ok := have[k.Value]; !ok {
				have[k.Value] = k.Line
				c.Content = append(c.Content, k, source.Content[i+1])
			}
		}
	case yaml.SequenceNode:
		for _, s := range source.Content {
			if s.Kind != yaml.MappingNode {
				r.failMerge(s)
				return
			}
			r.merge(c, s, have)
		}
	default:
		r.failMerge(source)
	}
}

// failMerge reports a resolved node, whose line is shifted already.
func (r *resolver) failMerge(n *yaml.Node) {
	if r.err == nil {
		r.err = &Error{Line: n.Line, Column: n.Column, Message: "a merge key (<<) must be an object or a list of objects"}
	}
}
