package selector

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// frame is a group that a walk in preorder is inside of.
type frame struct {
	end     int // index after the group's last node
	op      op
	started bool // an operand has been seen
}

// appendText appends the canonical text of a tree.
func appendText(text []byte, nodes []node) []byte {
	var buf [16]frame
	stack := buf[:0]
	for i := 0; i < len(nodes); {
		n := &nodes[i]
		if len(stack) > 0 {
			switch top := &stack[len(stack)-1]; {
			case !top.started:
				top.started = true
			case top.op == opAnd:
				text = append(text, " && "...)
			default:
				text = append(text, " || "...)
			}
		}
		if n.group() {
			// Only || inside && needs parentheses.
			if n.op == opOr && len(stack) > 0 {
				text = append(text, '(')
			}
			stack = append(stack, frame{end: i + int(n.size), op: n.op})
			i++
			continue
		}
		text = n.appendLeaf(text)
		i++
		for len(stack) > 0 && stack[len(stack)-1].end == i {
			if stack[len(stack)-1].op == opOr && len(stack) > 1 {
				text = append(text, ')')
			}
			stack = stack[:len(stack)-1]
		}
	}
	return text
}

func (n *node) appendLeaf(text []byte) []byte {
	if n.negated && n.op != opIn {
		text = append(text, '!')
	}
	switch n.op {
	case opAll:
		return append(text, "all()"...)
	case opGlobal:
		return append(text, "global()"...)
	case opHas:
		text = append(text, "has("...)
		text = appendKey(text, n.key)
		return append(text, ')')
	}
	text = appendKey(text, n.key)
	switch {
	case n.op == opContains:
		text = append(text, " contains "...)
	case n.op == opStarts:
		text = append(text, " starts with "...)
	case n.op == opEnds:
		text = append(text, " ends with "...)
	case len(n.values) == 1 && n.negated:
		text = append(text, " != "...)
	case len(n.values) == 1:
		text = append(text, " == "...)
	case n.negated:
		text = append(text, " not in {"...)
	default:
		text = append(text, " in {"...)
	}
	for i, v := range n.values {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = appendValue(text, v)
	}
	if n.op == opIn && len(n.values) > 1 {
		text = append(text, '}')
	}
	return text
}

// appendKey appends a key; one that would not stand out as a key is escaped.
func appendKey(text []byte, key string) []byte {
	plain := key != ""
	for i := 0; i < len(key) && plain; i++ {
		plain = keyByte[key[i]] || key[i] == ':'
	}
	if plain {
		return append(text, key...)
	}
	return appendEscaped(text, key)
}

// appendValue appends a value between the quotes that it does not contain.
func appendValue(text []byte, value string) []byte {
	quote := byte('\'')
	if strings.IndexByte(value, quote) >= 0 {
		quote = '"'
		if strings.IndexByte(value, quote) >= 0 {
			return appendEscaped(text, value)
		}
	}
	if badValueByte(value) >= 0 {
		return appendEscaped(text, value)
	}
	text = append(text, quote)
	text = append(text, value...)
	return append(text, quote)
}

// appendEscaped appends a string that the grammar cannot express. The back
// quote occurs nowhere else outside of quotes.
func appendEscaped(text []byte, s string) []byte {
	text = append(text, '`')
	// To ASCII, so that the text does not depend on a version's idea of what is printable.
	text = strconv.AppendQuoteToASCII(text, s)
	return append(text, '`')
}

// badValueByte returns the index of the first byte that is part of a control
// character or of no UTF-8 character, or -1.
func badValueByte(s string) int {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
			return i
		}
		i += size
	}
	return -1
}

// excerptLength is how many bytes of the text an error repeats at most.
const excerptLength = 32

// excerpt quotes a piece of the text for an error.
func excerpt(s string) string {
	if len(s) > excerptLength {
		return strconv.QuoteToASCII(s[:excerptLength-3] + "...")
	}
	return strconv.QuoteToASCII(s)
}
