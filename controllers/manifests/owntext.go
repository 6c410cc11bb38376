package manifests

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one document of a file.
type document struct {
	root *yaml.Node
	// text is the document as it is written, from line on; nil for a document of JSON.
	text []byte
	line int // of the first line of text, from 0
	// elsewhere: some of the tree stands for what another part of the text says.
	elsewhere bool

	lines [][]byte // of text; nil: not cut yet
}

// ownText is the text of an object of the document as it is written, comments included: all
// of the document, or what a list holds between the object and the line end, which is the
// first that is not the object's (0: the document's last line is). It returns false where
// nothing is written of the object alone, as in JSON.
func (d *document) ownText(n *yaml.Node, end int) (string, bool) {
	switch {
	case d.text == nil:
		return "", false
	case n == d.root:
		return afterMarker(d.text)
	case d.elsewhere || n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0:
		return "", false
	}
	if d.lines == nil {
		d.lines = bytes.SplitAfter(d.text, []byte("\n"))
	}
	first, last := n.Line-1-d.line, len(d.lines)
	if end > 0 {
		last = end - 1 - d.line
	}
	if first < 0 || first >= last || last > len(d.lines) {
		return "", false
	}
	return cutItem(d.lines, first, last, n.Column-1)
}

// afterMarker is the text of a document without the marker that opens it; false where the
// marker's line holds more than that.
func afterMarker(text []byte) (string, bool) {
	rest, marked := bytes.CutPrefix(text, []byte("---"))
	if !marked {
		return string(text), true
	}
	line, rest, _ := bytes.Cut(rest, []byte("\n"))
	comment := bytes.TrimSpace(line)
	switch {
	case len(comment) == 0:
		return string(rest), true
	case comment[0] == '#':
		return string(comment) + "\n" + string(rest), true
	}
	return "", false
}

// cutItem is the text of an item of a list, the lines from first to last, as it would stand
// alone: without the dash and the indent columns before it. Comments that stand further left,
// above the dash, belong to it.
func cutItem(lines [][]byte, first, last, indent int) (string, bool) {
	if len(lines[first]) < indent || strings.TrimSpace(string(lines[first][:indent])) != "-" {
		return "", false
	}
	content := first
	for i := first + 1; i < last; i++ {
		if !isBlank(lines[i]) && !isLeft(lines[i], indent) {
			content = i
		}
	}
	// A comment further left at its end is about what follows.
	for i := content + 1; i < last; i++ {
		if isLeft(lines[i], indent) {
			last = i
		}
	}
	above := first
	for above > 0 && isLeft(lines[above-1], indent) {
		above--
	}
	var b strings.Builder
	for _, line := range lines[above:first] {
		b.Write(bytes.TrimLeft(line, " "))
	}
	b.Write(lines[first][indent:])
	for _, line := range lines[first+1 : last] {
		blank := len(line) - len(bytes.TrimLeft(line, " "))
		if blank < indent && !isBlank(line) && !isLeft(line, indent) {
			return "", false // a text that goes on, or an item of an unusual form
		}
		b.Write(line[min(blank, indent):])
	}
	return b.String(), true
}

// isLeft reports whether a line is a comment that stands left of a column, from 0.
func isLeft(line []byte, column int) bool {
	text := bytes.TrimLeft(line, " ")
	return len(text) > 0 && text[0] == '#' && len(line)-len(text) < column
}

func isBlank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }

// isElsewhere reports whether a tree of the parser has aliases or merge keys.
func isElsewhere(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Kind == yaml.ScalarNode && n.Value == "<<" {
		return true
	}
	for _, c := range n.Content {
		if isElsewhere(c) {
			return true
		}
	}
	return false
}
