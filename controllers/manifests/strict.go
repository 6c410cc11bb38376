package manifests

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/policy/nearest"
)

// checker compares a tree with the Go type that it is to be decoded into: every
// field must be known, and every value of the right type. What passes decodes
// without an error.
type checker struct {
	// path of the field that is looked at.
	path []byte
	// forget takes what nobody reads (see readOf) out of the tree once it is checked.
	forget bool
	// unknown reports a field that the type does not have; bad a value of the wrong type.
	unknown, bad func(n *yaml.Node, path, message string)
}

var (
	intOrStringType = reflect.TypeFor[intstr.IntOrString]()
	quantityType    = reflect.TypeFor[resource.Quantity]()
	timeType        = reflect.TypeFor[metav1.Time]()
	microTimeType   = reflect.TypeFor[metav1.MicroTime]()
	durationType    = reflect.TypeFor[metav1.Duration]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// check walks node and type together. Nodes of null pass as unset.
func (c *checker) check(n *yaml.Node, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if isNull(n) {
		return
	}
	switch t {
	case intOrStringType:
		c.checkIntOrString(n)
		return
	case quantityType:
		c.checkParsed(n, "a quantity", func(s string) error { _, err := resource.ParseQuantity(s); return err })
		return
	case timeType, microTimeType:
		c.checkParsed(n, "a time as in 2006-01-02T15:04:05Z", func(s string) error { _, err := time.Parse(time.RFC3339, s); return err })
		return
	case durationType:
		c.checkParsed(n, "a duration as in 1m30s", func(s string) error { _, err := time.ParseDuration(s); return err })
		return
	}
	if reflect.PointerTo(t).Implements(unmarshalerType) || t.Kind() == reflect.Interface {
		return // opaque: anything goes
	}
	switch t.Kind() {
	case reflect.Struct:
		c.checkStruct(n, t)
	case reflect.Map:
		c.checkMap(n, t)
	case reflect.Slice, reflect.Array:
		c.checkList(n, t)
	case reflect.String:
		c.checkString(n)
	case reflect.Bool:
		c.checkBool(n)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		c.checkInt(n, t)
	case reflect.Float32, reflect.Float64:
		c.checkFloat(n)
	}
}

func (c *checker) checkMap(n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		c.wrong(n, "an object")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if what, becomes := misreadKey(k); becomes != "" {
			c.bad(k, string(c.path)+"["+k.Value+"]", fmt.Sprintf("the key %s is %s and becomes %q; quote it to keep it as text", oneLine(k.Value), what, becomes))
		}
		if isNull(v) && t.Elem().Kind() == reflect.String {
			continue
		}
		mark := len(c.path)
		c.path = append(append(append(c.path, '['), k.Value...), ']')
		c.check(v, t.Elem())
		c.path = c.path[:mark]
	}
}

func (c *checker) checkList(n *yaml.Node, t reflect.Type) {
	if t.Elem().Kind() == reflect.Uint8 {
		c.checkString(n)
		return
	}
	if n.Kind != yaml.SequenceNode {
		c.wrong(n, "a list")
		return
	}
	for i, item := range n.Content {
		mark := len(c.path)
		c.path = append(strconv.AppendInt(append(c.path, '['), int64(i), 10), ']')
		if isNull(item) {
			// An empty rule means everything, so a forgotten one must not pass for it.
			c.bad(item, string(c.path), "the list entry is empty")
		} else {
			c.check(item, t.Elem())
		}
		c.path = c.path[:mark]
	}
}

func (c *checker) checkStruct(n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		c.wrong(n, "an object")
		return
	}
	fields := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		mark := len(c.path)
		if mark > 0 {
			c.path = append(c.path, '.')
		}
		c.path = append(c.path, k.Value...)
		if f, ok := fields[k.Value]; ok {
			c.check(v, f)
		} else {
			names := make([]string, 0, len(fields))
			for name := range fields {
				names = append(names, name)
			}
			c.unknown(k, cutPath(string(c.path)), "unknown field"+nearest.Clause(k.Value, names))
		}
		c.path = c.path[:mark]
	}
	if read := readOf[t]; read != nil && c.forget {
		n.Content = keepEntries(n.Content, read)
	}
}

// keepEntries keeps the entries of a mapping of some keys.
func keepEntries(content []*yaml.Node, keys []string) []*yaml.Node {
	out := content[:0]
	for i := 0; i+1 < len(content); i += 2 {
		if slices.Contains(keys, content[i].Value) {
			out = append(out, content[i], content[i+1])
		}
	}
	return out
}

// cutPath bounds a path of the input's own keys.
func cutPath(p string) string {
	const limit = 200
	if len(p) > limit {
		return strings.ToValidUTF8(p[:limit], "") + "…"
	}
	return p
}

// structFields remembers the fields of struct types, which the same few of are
// looked up for every object: reflect.Type → map[string]reflect.Type.
var structFields sync.Map

// fieldsOf lists the fields of a struct by their JSON names, those of embedded
// structs included. The map is shared.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := structFields.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	out := listFields(t)
	structFields.Store(t, out)
	return out
}

func listFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if embedded.Kind() == reflect.Struct {
				for k, v := range fieldsOf(embedded) {
					if _, ok := out[k]; !ok {
						out[k] = v
					}
				}
			}
		case !f.IsExported():
		case name == "":
			out[f.Name] = f.Type
		default:
			out[name] = f.Type
		}
	}
	return out
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// wrong reports a node that is not what it should be.
func (c *checker) wrong(n *yaml.Node, want string) {
	c.bad(n, cutPath(string(c.path)), "want "+want+", not "+describe(n))
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	if _, ok := yaml11Bool(n); ok {
		return "the boolean " + n.Value
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the boolean " + n.Value
	case "!!null":
		return "nothing"
	case "!!str", "!!timestamp":
		return "the text " + quote(n.Value)
	}
	return n.ShortTag() + " " + quote(n.Value)
}

func isText(n *yaml.Node) bool {
	_, boolean := yaml11Bool(n)
	return !boolean && n.Kind == yaml.ScalarNode && slices.Contains([]string{"!!str", "!!timestamp", "!!binary"}, n.ShortTag())
}

func (c *checker) checkString(n *yaml.Node) {
	if isText(n) {
		return
	}
	want := "text"
	if n.Kind == yaml.ScalarNode {
		want = "text (in quotes)"
	}
	c.wrong(n, want)
}

func (c *checker) checkBool(n *yaml.Node) {
	if v, ok := yaml11Bool(n); ok {
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
		c.wrong(n, "true or false")
	}
}

func (c *checker) checkInt(n *yaml.Node, t reflect.Type) {
	// A whole number beyond 64 bits is a fraction to the parser.
	huge := n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float" && strings.Trim(n.Value, "+-0123456789") == ""
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" && !huge {
		c.wrong(n, "a whole number")
		return
	}
	if len(n.Value) < 3 && n.Tag == "!!int" && strings.Trim(n.Value, "0123456789") == "" {
		return // fits into any type
	}
	v := reflect.New(t).Elem()
	var i int64
	var u uint64
	switch {
	case v.CanInt() && n.Decode(&i) == nil && !v.OverflowInt(i):
	case v.CanUint() && n.Decode(&u) == nil && !v.OverflowUint(u):
	default:
		c.bad(n, cutPath(string(c.path)), "the number "+oneLine(n.Value)+" is out of range")
	}
}

func (c *checker) checkFloat(n *yaml.Node) {
	var f float64
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!float" && n.ShortTag() != "!!int" || n.Decode(&f) != nil {
		c.wrong(n, "a number")
		return
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		c.bad(n, cutPath(string(c.path)), "the number "+oneLine(n.Value)+" is out of range")
	}
}

func (c *checker) checkIntOrString(n *yaml.Node) {
	if isText(n) {
		return
	}
	var i int32
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int":
		c.wrong(n, "a whole number or text")
	case n.Decode(&i) != nil:
		c.bad(n, cutPath(string(c.path)), "the number "+oneLine(n.Value)+" is out of range")
	}
}

// checkParsed checks a scalar that is text or a number to YAML and something
// else to Kubernetes.
func (c *checker) checkParsed(n *yaml.Node, want string, parse func(string) error) {
	if n.Kind != yaml.ScalarNode || !isText(n) && n.ShortTag() != "!!int" && n.ShortTag() != "!!float" {
		c.wrong(n, want)
		return
	}
	if err := parse(n.Value); err != nil {
		c.bad(n, cutPath(string(c.path)), fmt.Sprintf("%s is not %s", quote(n.Value), want))
	}
}
