package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// jsonReader builds the tree of JSON documents, with lines, in the form that
// YAML documents have. The YAML parser would take most JSON, but not tabs nor
// surrogate pairs.
type jsonReader struct {
	data []byte
	dec  *json.Decoder
	// lines are counted up to offset at.
	at    int64
	lines int
	// begin is where the current line begins.
	begin int64
}

func newJSONReader(data []byte) *jsonReader {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return &jsonReader{data: data, dec: dec, lines: 1}
}

// line of the token that was read last.
func (r *jsonReader) line() int {
	to := min(r.dec.InputOffset(), int64(len(r.data)))
	if to > r.at {
		r.lines += bytes.Count(r.data[r.at:to], []byte("\n"))
		if i := bytes.LastIndexByte(r.data[r.at:to], '\n'); i >= 0 {
			r.begin = r.at + int64(i) + 1
		}
		r.at = to
	}
	return r.lines
}

// position is where an error is: at the character that cannot be, or behind what was read
// last.
func (r *jsonReader) position(err error) (line, column int) {
	at := min(r.dec.InputOffset(), int64(len(r.data)))
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset > at && syntax.Offset <= int64(len(r.data)) {
		at = syntax.Offset - 1
	}
	read := r.data[:at]
	return 1 + bytes.Count(read, []byte("\n")), 1 + utf8.RuneCount(read[bytes.LastIndexByte(read, '\n')+1:])
}

// token reads the next token; column is where it begins, from 1.
func (r *jsonReader) token() (t json.Token, column int, err error) {
	from := r.dec.InputOffset()
	if t, err = r.dec.Token(); err != nil {
		return nil, 0, err
	}
	for from < int64(len(r.data)) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[from]) >= 0 {
		from++
	}
	r.line()
	if from < r.begin {
		return t, 0, nil
	}
	return t, utf8.RuneCount(r.data[r.begin:from]) + 1, nil
}

// document reads the next document; io.EOF if there is none.
func (r *jsonReader) document() (*yaml.Node, error) {
	t, column, err := r.token()
	if err != nil {
		return nil, err
	}
	n, err := r.value(t, column, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *jsonReader) value(t json.Token, column, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line(), Column: column}
	switch v := t.(type) {
	case nil:
		n.Tag, n.Value = "!!null", "null"
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(v)
	case json.Number:
		n.Tag, n.Value = "!!float", v.String()
		if isInteger(v.String()) {
			n.Tag = "!!int"
		}
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Delim:
		n.Kind, n.Tag, n.Style = yaml.MappingNode, "!!map", yaml.FlowStyle
		if v == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for r.dec.More() {
			t, column, err := r.token()
			if err != nil {
				return nil, err
			}
			c, err := r.value(t, column, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		// The closing bracket. The decoder has paired keys with values.
		if _, err := r.dec.Token(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// isInteger says whether a JSON number is written as a whole number.
func isInteger(s string) bool {
	for i, c := range s {
		if (c < '0' || c > '9') && (i != 0 || c != '-') {
			return false
		}
	}
	return s != ""
}
