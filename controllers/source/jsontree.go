package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

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
		r.at = to
	}
	return r.lines
}

// document reads the next document; io.EOF if there is none.
func (r *jsonReader) document() (*yaml.Node, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	n, err := r.value(t, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *jsonReader) value(t json.Token, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line()}
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
			t, err := r.dec.Token()
			if err != nil {
				return nil, err
			}
			c, err := r.value(t, depth+1)
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
