package manifests

import (
	"math"
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
	line int32
	// column from 1, the key's where there is a key; of a line longer than that, 65535.
	column uint16
	kind   uint8     // a yaml.Kind
	parts  []outline // entries of a mapping, items of a sequence
}

// outlineOf returns the outline of a tree without aliases.
func outlineOf(n *yaml.Node) *outline {
	o := outlined(n)
	return &o
}

func outlined(n *yaml.Node) outline {
	o := outline{kind: uint8(n.Kind), line: int32(n.Line), column: columnIn(n)}
	switch n.Kind {
	case yaml.MappingNode:
		o.parts = make([]outline, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			entry := outlined(n.Content[i+1])
			entry.key, entry.line, entry.column = unique.Make(n.Content[i].Value), int32(n.Content[i].Line), columnIn(n.Content[i])
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

func columnIn(n *yaml.Node) uint16 { return uint16(min(n.Column, math.MaxUint16)) }

// lineOf and columnOf are the place of a field in a tree; see outline.find.
func lineOf(n *yaml.Node, path string) int { return outlineOf(n).lineOf(path) }

func columnOf(n *yaml.Node, path string) int { return int(outlineOf(n).find(path).column) }

// lineOf is the line of find.
func (o *outline) lineOf(path string) int { return int(o.find(path).line) }

// find walks a field path down and returns the last part that is there. A missing
// field has the place of what it is missing from.
func (o *outline) find(path string) *outline {
	for path != "" {
		var next *outline
		switch yaml.Kind(o.kind) {
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
	return o
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
			if yaml.Kind(o.kind) == yaml.MappingNode && o.parts[i].key.Value() == name {
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
