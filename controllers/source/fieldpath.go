package source

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lineOf walks a field path down from a node and returns the line of the last
// part that is there. A missing field has the line of what it is missing from.
func lineOf(n *yaml.Node, path string) int {
	line := n.Line
	for path != "" && n != nil {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			var key *yaml.Node
			key, next, path = lookupKey(n, path)
			if next == nil {
				return line
			}
			// The key's line, not the value's: of a nested mapping the value
			// starts a line later than people look.
			line = key.Line
		case yaml.SequenceNode:
			next, path = lookupIndex(n, path)
			if next == nil {
				return line
			}
			line = next.Line
		default:
			return line
		}
		n = next
	}
	return line
}

// lookupKey finds the entry that a path starts with. Keys may hold dots (labels
// and annotations do), so the longest matching key counts.
func lookupKey(n *yaml.Node, path string) (key, value *yaml.Node, rest string) {
	best := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		r, ok := cutKey(path, k)
		if ok && len(k) > best {
			best = len(k)
			key, value, rest = n.Content[i], n.Content[i+1], r
		}
	}
	return key, value, rest
}

// cutKey cuts a key from the front of a path: key, key.rest, key[rest, [key] or ["key"].
func cutKey(path, key string) (rest string, ok bool) {
	for _, bracketed := range []string{"[" + key + "]", "[" + strconv.Quote(key) + "]"} {
		if r, found := strings.CutPrefix(path, bracketed); found {
			return strings.TrimPrefix(r, "."), true
		}
	}
	r, found := strings.CutPrefix(path, key)
	if !found || key == "" {
		return "", false
	}
	switch {
	case r == "":
		return "", true
	case r[0] == '.':
		return r[1:], true
	case r[0] == '[':
		return r, true
	}
	return "", false
}

// lookupIndex finds the item that a path starts with: [2].rest.
func lookupIndex(n *yaml.Node, path string) (item *yaml.Node, rest string) {
	if path == "" || path[0] != '[' {
		return nil, ""
	}
	index, rest, ok := strings.Cut(path[1:], "]")
	i, err := strconv.Atoi(index)
	if !ok || err != nil || i < 0 || i >= len(n.Content) {
		return nil, ""
	}
	return n.Content[i], strings.TrimPrefix(rest, ".")
}

// nodeAt returns the node at a path of plain names, or nil.
func nodeAt(n *yaml.Node, path string) *yaml.Node {
	for _, name := range strings.Split(path, ".") {
		n = value(n, name)
	}
	return n
}
