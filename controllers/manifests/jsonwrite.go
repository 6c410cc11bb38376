package manifests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// toJSON writes a resolved tree as JSON.
func toJSON(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, n); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, n *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, n.Content[i].Value)
			b.WriteByte(':')
			if err := writeJSON(b, n.Content[i+1]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, c); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case yaml.ScalarNode:
		return writeScalar(b, n)
	default:
		return fmt.Errorf("line %d: unexpected YAML node", n.Line)
	}
	return nil
}

func writeScalar(b *bytes.Buffer, n *yaml.Node) error {
	switch n.ShortTag() {
	case "!!null":
		b.WriteString("null")
	case "!!int":
		if isDecimal(n.Value) {
			b.WriteString(n.Value)
			return nil
		}
		return writeNumber(b, n)
	case "!!float":
		return writeNumber(b, n)
	case "!!bool":
		var v bool
		if err := n.Decode(&v); err != nil {
			return err
		}
		b.WriteString(strconv.FormatBool(v))
	default:
		// Text, and what only YAML knows (timestamps, binary): as it is written.
		writeString(b, n.Value)
	}
	return nil
}

func writeNumber(b *bytes.Buffer, n *yaml.Node) error {
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	// Infinities and NaN are errors here: JSON has none.
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("line %d: %s is not a number in JSON", n.Line, quote(n.Value))
	}
	b.Write(text)
	return nil
}

// isDecimal reports whether YAML and JSON write a whole number so.
func isDecimal(s string) bool {
	return isInteger(s) && len(s) < 18 && s[0] != '-' && (s[0] != '0' || len(s) == 1)
}

// isSimple reports whether text stands in JSON as it is.
func isSimple(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return true
}

func writeString(b *bytes.Buffer, s string) {
	if isSimple(s) {
		b.WriteByte('"')
		b.WriteString(s)
		b.WriteByte('"')
		return
	}
	text, err := json.Marshal(s)
	if err != nil {
		// Strings always have a JSON form.
		text = []byte(`""`)
	}
	b.Write(text)
}
