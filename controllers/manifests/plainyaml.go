package manifests

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// plainYAML reads a document of the part of YAML that kubectl and most people write:
// mappings and lists by indentation, scalars without escapes, and literal texts. It makes the tree that the
// parser makes (see resolve), many times as fast. It returns false for any other
// document, and for all that is wrong: the parser is to read that.
func plainYAML(c chunk) (*yaml.Node, bool) {
	for _, b := range c.text {
		if (b < ' ' || b > '~') && b != '\n' {
			return nil, false
		}
	}
	r := plainReader{text: string(c.text), line: c.line}
	if !r.first() {
		return nil, false
	}
	n := r.block(0)
	return n, n != nil && r.done
}

// plainReader reads line by line. A nil node means that the document is not plain.
type plainReader struct {
	text string
	next int // offset of the line after the current one
	line int // number of the current line, from 1
	done bool
	// The rest of the current line that is not read yet begins at column at, from 0.
	rest string
	at   int

	slab  []yaml.Node  // nodes to hand out
	stack []*yaml.Node // the entries of what is being read
}

// maxPlainKey is less than the parser allows keys to have.
const maxPlainKey = 512

// first goes to the first line with content, past a marker.
func (r *plainReader) first() bool {
	if text, ok := strings.CutPrefix(r.text, "---"); ok {
		line, _, _ := strings.Cut(text, "\n")
		if strings.TrimLeft(line, " ") != "" {
			return false
		}
		r.next = len(line) + 3
		if r.next < len(r.text) {
			r.next++
		}
		r.line++
	}
	r.forth()
	return !r.done
}

// forth goes to the next line that is neither blank nor a comment.
func (r *plainReader) forth() {
	for r.next < len(r.text) {
		line, _, _ := strings.Cut(r.text[r.next:], "\n")
		r.next += len(line) + 1
		r.line++
		r.rest = strings.TrimLeft(line, " ")
		if r.at = len(line) - len(r.rest); r.rest != "" && r.rest[0] != '#' {
			return
		}
	}
	r.done, r.rest, r.at = true, "", -1
}

func (r *plainReader) node(kind yaml.Kind, tag, value string, column int) *yaml.Node {
	if len(r.slab) == 0 {
		r.slab = make([]yaml.Node, 64)
	}
	n := &r.slab[0]
	r.slab = r.slab[1:]
	n.Kind, n.Tag, n.Value, n.Line, n.Column = kind, tag, value, r.line, column+1
	return n
}

// block reads the mapping or list that begins at the current place.
func (r *plainReader) block(depth int) *yaml.Node {
	switch {
	case depth > maxDepth/2:
		return nil
	case r.rest == "-" || strings.HasPrefix(r.rest, "- "):
		return r.list(r.at, depth)
	}
	return r.mapping(r.at, depth)
}

func (r *plainReader) list(indent, depth int) *yaml.Node {
	n := r.node(yaml.SequenceNode, "!!seq", "", indent)
	start := len(r.stack)
	for r.at == indent && (r.rest == "-" || strings.HasPrefix(r.rest, "- ")) {
		rest := strings.TrimLeft(r.rest[1:], " ")
		var item *yaml.Node
		switch {
		case rest == "" || rest[0] == '#':
			if r.forth(); r.at <= indent {
				return nil // an empty entry
			}
			item = r.block(depth + 1)
		default:
			r.at += len(r.rest) - len(rest)
			r.rest = rest
			if rest == "|" || rest == "|-" {
				if item = r.literal(rest, indent, r.at); item == nil {
					return nil
				}
				r.stack = append(r.stack, item)
				continue
			}
			if _, _, ok := cutPlainKey(rest); ok || rest == "-" || strings.HasPrefix(rest, "- ") {
				item = r.block(depth + 1)
			} else if item = r.scalar(rest, indent, r.at); item != nil {
				if r.forth(); r.at > indent {
					return nil
				}
			}
		}
		if item == nil {
			return nil
		}
		r.stack = append(r.stack, item)
	}
	if r.at > indent {
		return nil
	}
	n.Content = r.pop(start)
	return n
}

func (r *plainReader) mapping(indent, depth int) *yaml.Node {
	n := r.node(yaml.MappingNode, "!!map", "", indent)
	start := len(r.stack)
	var keys map[string]bool
	for r.at == indent {
		key, rest, ok := cutPlainKey(r.rest)
		if !ok {
			return nil
		}
		// Few keys are compared with each other.
		if count := (len(r.stack) - start) / 2; count < 16 {
			for i := start; i < len(r.stack); i += 2 {
				if r.stack[i].Value == key {
					return nil
				}
			}
		} else {
			if keys == nil {
				keys = make(map[string]bool, 2*count)
				for i := start; i < len(r.stack); i += 2 {
					keys[r.stack[i].Value] = true
				}
			}
			if keys[key] {
				return nil
			}
			keys[key] = true
		}
		r.stack = append(r.stack, r.node(yaml.ScalarNode, plainTag(key), key, indent))
		value := r.value(indent, depth, len(key)+1, rest)
		if value == nil {
			return nil
		}
		r.stack = append(r.stack, value)
	}
	if r.at > indent {
		return nil
	}
	n.Content = r.pop(start)
	return n
}

// value reads what follows a key and its colon, after which the line goes on with rest.
func (r *plainReader) value(indent, depth, colon int, rest string) *yaml.Node {
	text := strings.TrimLeft(rest, " ")
	if text == "|" || text == "|-" {
		return r.literal(text, indent, r.at+colon+len(rest)-len(text))
	}
	if text != "" && text[0] != '#' {
		v := r.scalar(text, indent, r.at+colon+len(rest)-len(text))
		if r.forth(); r.at > indent { // the scalar goes on in another way
			return nil
		}
		return v
	}
	empty := r.node(yaml.ScalarNode, "!!null", "", indent+colon)
	r.forth()
	if r.at > indent || r.at == indent && (r.rest == "-" || strings.HasPrefix(r.rest, "- ")) {
		return r.block(depth + 1)
	}
	return empty
}

// scalar reads a scalar, or an empty list or object. Lines on which it goes on are further
// in than indent, the column of what has it.
func (r *plainReader) scalar(text string, indent, column int) *yaml.Node {
	n := r.node(yaml.ScalarNode, "!!str", "", column)
	ok := false
	switch b := text[0]; {
	case strings.HasPrefix(text, "{}"), strings.HasPrefix(text, "[]"):
		n.Kind, n.Tag, n.Style = yaml.MappingNode, "!!map", yaml.FlowStyle
		if b == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		ok = blankOrComment(text[2:])
	case b == '"':
		n.Style = yaml.DoubleQuotedStyle
		n.Value, ok = r.quoted(text[1:], b, indent)
		ok = ok && strings.IndexByte(n.Value, '\\') < 0
	case b == '\'':
		n.Style = yaml.SingleQuotedStyle
		n.Value, ok = r.quoted(text[1:], b, indent)
	case isPlainStart(b), b == '-' && len(text) > 1 && text[1] != ' ':
		if n.Value, ok = r.unquoted(text, indent); ok {
			n.Tag = plainTag(n.Value)
		}
	}
	if !ok {
		return nil
	}
	return n
}

// quoted reads a text up to its closing quote, of which two would stand for one. Lines
// are joined with a space.
func (r *plainReader) quoted(text string, quote byte, indent int) (value string, ok bool) {
	for {
		if end := strings.IndexByte(text, quote); end >= 0 {
			return value + text[:end], blankOrComment(text[end+1:])
		}
		value += strings.TrimRight(text, " ") + " "
		if text, ok = r.further(indent); !ok || text == "" {
			return "", false
		}
	}
}

// unquoted reads a text without quotes.
func (r *plainReader) unquoted(text string, indent int) (value string, ok bool) {
	for {
		i := strings.Index(text, " #")
		if i >= 0 {
			text = text[:i]
		}
		value += strings.TrimRight(text, " ")
		if strings.Contains(value, ": ") || strings.HasSuffix(value, ":") {
			return "", false
		}
		if i >= 0 {
			return value, true
		}
		next := r.next
		if text, ok = r.further(indent); !ok || text == "" || text[0] == '#' {
			if r.next != next {
				r.next = next
				r.line--
			}
			return value, true
		}
		value += " "
	}
}

// further goes on to the next line, without the spaces before it; false if it is not
// further in than indent.
func (r *plainReader) further(indent int) (string, bool) {
	if r.next >= len(r.text) {
		return "", false
	}
	line, _, _ := strings.Cut(r.text[r.next:], "\n")
	text := strings.TrimLeft(line, " ")
	if text != "" && len(line)-len(text) <= indent {
		return "", false
	}
	r.next += len(line) + 1
	r.line++
	return text, true
}

// literal reads a text of several lines behind its header, which is at a column of the
// current line, and goes to the line after it. The lines are further in than indent, the
// column of what has the text.
func (r *plainReader) literal(header string, indent, column int) *yaml.Node {
	n := r.node(yaml.ScalarNode, "!!str", "", column)
	n.Style = yaml.LiteralStyle
	inner, blank := 0, 0 // the column of the text, and how many blank lines are pending
	var b strings.Builder
	for r.next < len(r.text) {
		line, _, whole := strings.Cut(r.text[r.next:], "\n")
		text := strings.TrimLeft(line, " ")
		at := len(line) - len(text)
		switch {
		case text == "" && at > inner:
			return nil // spaces that may belong to the text
		case text != "" && inner == 0:
			inner = at
		}
		if text != "" && (at < inner || inner <= indent) {
			break
		}
		if !whole {
			return nil
		}
		r.next += len(line) + 1
		r.line++
		if text == "" {
			blank++
			continue
		}
		for range blank {
			b.WriteByte('\n')
		}
		blank = 0
		b.WriteString(line[inner:])
		b.WriteByte('\n')
	}
	if n.Value = b.String(); n.Value == "" {
		return nil
	}
	if header == "|-" {
		n.Value = strings.TrimSuffix(n.Value, "\n")
	}
	if r.forth(); r.at > indent {
		return nil
	}
	return n
}

func (r *plainReader) pop(start int) []*yaml.Node {
	out := slices.Clone(r.stack[start:])
	r.stack = r.stack[:start]
	return out
}

func blankOrComment(s string) bool {
	t := strings.TrimLeft(s, " ")
	return t == "" || t[0] == '#' && len(t) < len(s)
}

func isAlphanumeric(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// isPlainStart reports whether a scalar without quotes may begin so, whatever follows.
func isPlainStart(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("/_.+$(=^;~", b) >= 0
}

// cutPlainKey cuts a key of letters, digits and the like, and its colon, off a line.
func cutPlainKey(line string) (key, rest string, ok bool) {
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case isAlphanumeric(b), b == '.', b == '_', b == '/':
		case b == '-' && i > 0:
		case b == ':' && i > 0 && i <= maxPlainKey && (i+1 == len(line) || line[i+1] == ' '):
			return line[:i], line[i+1:], true
		default:
			return "", "", false
		}
	}
	return "", "", false
}

// plainTag is what a scalar without quotes is.
func plainTag(s string) string {
	switch b := s[0]; {
	case b >= '0' && b <= '9', b == '+', b == '-', b == '.':
		digits, dots := 0, 0
		for i := range len(s) {
			switch {
			case s[i] >= '0' && s[i] <= '9':
				digits++
			case s[i] == '.':
				dots++
			}
		}
		switch {
		case digits == len(s) && len(s) < 18 && (b != '0' || len(s) == 1):
			return "!!int"
		case digits+dots == len(s) && dots > 1: // an IPv4 address
			return "!!str"
		}
	case strings.IndexByte("yYnNtTfFoO~", b) < 0 || len(s) > len("false"):
		return "!!str"
	}
	n := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	return n.ShortTag()
}
