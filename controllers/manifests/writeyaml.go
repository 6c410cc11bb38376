package manifests

import (
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// toYAML writes a resolved tree as YAML in the form that kubectl gives it, with its keys in
// the order of the tree.
func toYAML(n *yaml.Node) string {
	var w yamlWriter
	w.node(n, 0)
	return w.String()
}

type yamlWriter struct{ strings.Builder }

// node writes what begins a line, or stands behind a dash, at a column.
func (w *yamlWriter) node(n *yaml.Node, column int) {
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				w.indent(column)
			}
			w.key(n.Content[i], column)
			w.value(n.Content[i+1], column)
		}
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		for i, item := range n.Content {
			if i > 0 {
				w.indent(column)
			}
			w.WriteString("- ")
			w.node(item, column+2)
		}
	default:
		w.leaf(n, column)
		w.WriteByte('\n')
	}
}

// maxImplicitKey is the longest key, in bytes as written, that stands before its colon
// without a mark of its own; YAML sets the limit at 1,024 characters.
const maxImplicitKey = 1000

// key writes a key and its colon. A long one is marked with "?", and its colon stands on
// a line of its own.
func (w *yamlWriter) key(n *yaml.Node, column int) {
	var k yamlWriter
	k.scalar(n, column, true)
	if k.Len() <= maxImplicitKey {
		w.WriteString(k.String())
		w.WriteByte(':')
		return
	}
	w.WriteString("? ")
	w.WriteString(k.String())
	w.WriteByte('\n')
	w.indent(column)
	w.WriteByte(':')
}

// value writes what stands behind the colon of a key that begins at a column.
func (w *yamlWriter) value(n *yaml.Node, column int) {
	if len(n.Content) == 0 {
		w.WriteByte(' ')
		w.leaf(n, column)
		w.WriteByte('\n')
		return
	}
	if n.Kind == yaml.MappingNode {
		column += 2
	}
	w.WriteByte('\n')
	w.indent(column)
	w.node(n, column)
}

// leaf writes a scalar, or an empty list or object.
func (w *yamlWriter) leaf(n *yaml.Node, column int) {
	switch n.Kind {
	case yaml.MappingNode:
		w.WriteString("{}")
	case yaml.SequenceNode:
		w.WriteString("[]")
	default:
		w.scalar(n, column, false)
	}
}

func (w *yamlWriter) scalar(n *yaml.Node, column int, key bool) {
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		w.WriteString("null")
	case tag == "!!int", tag == "!!float", tag == "!!bool":
		w.WriteString(n.Value)
	case isBareText(n.Value):
		w.WriteString(n.Value)
	case !key && isBlockText(n.Value):
		w.block(n.Value, column+2)
	default:
		w.WriteString(strconv.Quote(n.Value))
	}
}

// block writes a text of several lines, all but the last newline.
func (w *yamlWriter) block(text string, column int) {
	w.WriteByte('|')
	if !strings.HasSuffix(text, "\n") {
		w.WriteByte('-')
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		w.WriteByte('\n')
		if line != "" {
			w.indent(column)
			w.WriteString(line)
		}
	}
}

func (w *yamlWriter) indent(columns int) {
	for range columns {
		w.WriteByte(' ')
	}
}

// isBareText reports whether a text needs no quotes, by rules that are the same in all
// versions of YAML: it begins with a letter, or is an IPv4 address or block.
func isBareText(s string) bool {
	dots := 0
	for i := range len(s) {
		switch b := s[i]; {
		case b == '.':
			dots++
		case isAlphanumeric(b), strings.IndexByte("/_-", b) >= 0:
		case b == ':' && i+1 < len(s):
		default:
			return false
		}
	}
	switch {
	case s == "":
		return false
	case s[0] >= '0' && s[0] <= '9':
		return dots == 3 && strings.Trim(s, "0123456789./") == ""
	case !isAlphanumeric(s[0]) && s[0] != '/':
		return false
	}
	_, boolean := yaml11Bools[s]
	return !boolean && plainTag(s) == "!!str"
}

// isBlockText reports whether a text of several lines reads the same as a block.
func isBlockText(s string) bool {
	lines := strings.TrimSuffix(s, "\n")
	if !strings.Contains(lines, "\n") || strings.HasSuffix(lines, "\n") || strings.IndexByte(" \t\n", s[0]) >= 0 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsGraphic(r) || r == '\ufeff' })
}
