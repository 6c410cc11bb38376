package source

import (
	"strconv"
	"strings"
	"unique"

	"go.yaml.in/yaml/v3"
)

// outline is what remains of a tree once its object is decoded: the keys and the
// lines, by which messages find the place of a field. A tree of the parser takes
// many times as much memory, and there is one for every object of the input.
type outline struct {
	// key of a mapping's entry; the zero handle elsewhere.
	key unique.Handle[string]
	// line from 1. The key's line where there is a key, not the value's: of a
	// nested mapping the value starts a line later than people look.
	line  int32
	kind  yaml.Kind
	parts []outline // entries of a mapping, items of a sequence
}

// outlineOf returns the outline of a tree without aliases.
func outlineOf(n *yaml.Node) *outline {
	o := outlined(n)
	return &o
}

func outlined(n *yaml.Node) outline {
	o := outline{kind: n.Kind, line: int32(n.Line)}
	switch n.Kind {
	case yaml.MappingNode:
		o.parts = make([]outline, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			entry := outlined(n.Content[i+1])
			entry.key, entry.line = unique.Make(n.Content[i].Value), int32(n.Content[i].Line)
			o.parts = append(o.parts, entry)
		}
	case yaml.SequenceNode:
		o.parts = make([]outline, 0, len(n.Content))
		for _, item := range n.Content {
			o.parts = append(o.parts, outlined(item))
		}
	}
	return o
}

// lineOf is the line of a field in a tree; see outline.lineOf.
func lineOf(n *yaml.Node, path string) int { return outlineOf(n).lineOf(path) }

// lineOf walks a field path down and returns the line of the last part that is
// there. A missing field has the line of what it is missing from.
func (o *outline) lineOf(path string) int {
	for path != "" {
		var next *outline
		switch o.kind {
		case yaml.MappingNode:
			next, path = o.entry(path)
		case yaml.SequenceNode:
			next, path = o.item(path)
		}
		if next == nil {
			break
		}
		o = next
	}
	return int(o.line)
}

// entry finds the entry of a mapping that a path starts with. Keys may hold dots
// (labels and annotations do), so the longest matching key counts.
func (o *outline) entry(path string) (found *outline, rest string) {
	longest := -1
	for i := range o.parts {
		k := o.parts[i].key.Value()
		if r, ok := cutKey(path, k); ok && len(k) > longest {
			longest = len(k)
			found, rest = &o.parts[i], r
		}
	}
	return found, rest
}

// item finds the item of a sequence that a path starts with: [2].rest.
func (o *outline) item(path string) (found *outline, rest string) {
	if path == "" || path[0] != '[' {
		return nil, ""
	}
	index, rest, ok := strings.Cut(path[1:], "]")
	i, err := strconv.Atoi(index)
	if !ok || err != nil || i < 0 || i >= len(o.parts) {
		return nil, ""
	}
	return &o.parts[i], strings.TrimPrefix(rest, ".")
}

// at returns the outline at a path of plain names, or nil.
func (o *outline) at(path string) *outline {
	for _, name := range strings.Split(path, ".") {
		var next *outline
		for i := range o.parts {
			if o.kind == yaml.MappingNode && o.parts[i].key.Value() == name {
				next = &o.parts[i]
				break
			}
		}
		if next == nil {
			return nil
		}
		o = next
	}
	return o
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
