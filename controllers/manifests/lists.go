package manifests

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// objectsIn are the objects of a document: itself, or the items of a list of objects.
func objectsIn(n *yaml.Node) []*yaml.Node {
	if objectList(n) {
		return n.Content
	}
	return []*yaml.Node{n}
}

// objectList reports whether a document is a list of objects without a List around them.
func objectList(n *yaml.Node) bool {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return false
	}
	for _, item := range n.Content {
		if item.Kind != yaml.MappingNode || text(item, "apiVersion") == "" || text(item, "kind") == "" {
			return false
		}
	}
	return true
}

// list reads the items of a List, or of a typed list such as a PodList, whose
// items may leave out what the list's kind says.
func (l *loader) list(f *file, n, items *yaml.Node, apiVersion, kind string, depth int) {
	switch {
	case items == nil || isNull(items):
		return
	case items.Kind != yaml.SequenceNode:
		l.errs.add(&Error{File: f.name, Line: items.Line, Column: items.Column, Object: kind + "List", Field: "items", Message: "want a list, not " + describe(items)})
		return
	case depth > maxDepth:
		l.errs.add(&Error{File: f.name, Line: n.Line, Column: n.Column, Message: "lists nested too deep"})
		return
	}
	outer, end := l.end, lineAfter(n, items, l.end)
	defer func() { l.end = outer }()
	for i, item := range items.Content {
		if l.end = end; i+1 < len(items.Content) {
			l.end = items.Content[i+1].Line
		}
		at := fmt.Sprintf("items[%d]", i)
		if item.Kind != yaml.MappingNode {
			l.errs.add(&Error{File: f.name, Line: item.Line, Column: item.Column, Object: kind + "List", Field: at, Message: "want an object, not " + describe(item)})
			continue
		}
		itemVersion, itemKind := text(item, "apiVersion"), text(item, "kind")
		if kind != "" && itemVersion == "" && itemKind == "" {
			itemVersion, itemKind = apiVersion, kind
		}
		l.typed(f, item, itemVersion, itemKind, depth+1)
	}
}

// lineAfter is the line of the key that follows a value of a mapping, or end for the last.
func lineAfter(n, v *yaml.Node, end int) int {
	if n.Kind != yaml.MappingNode {
		return end
	}
	for i := 1; i+1 < len(n.Content); i += 2 {
		if n.Content[i] == v {
			return n.Content[i+1].Line
		}
	}
	return end
}
