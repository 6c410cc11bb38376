package manifests

import (
	"strconv"

	"go.yaml.in/yaml/v3"
)

// yaml11Bools are the plain words that are booleans to YAML 1.1, which kubectl reads,
// and text to YAML 1.2.
var yaml11Bools = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

// yaml11Bool returns the value of a scalar that is a boolean to YAML 1.1 only.
func yaml11Bool(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Style != 0 || n.ShortTag() != "!!str" {
		return false, false
	}
	value, ok = yaml11Bools[n.Value]
	return value, ok
}

// misreadKey says what a key of a map is that kubectl turns into another text, and into
// which; becomes is empty for keys that stay as they are written.
func misreadKey(k *yaml.Node) (what, becomes string) {
	if v, ok := yaml11Bool(k); ok {
		return "a boolean", strconv.FormatBool(v)
	}
	if k.Kind != yaml.ScalarNode || k.Style != 0 {
		return "", ""
	}
	switch k.ShortTag() {
	case "!!bool":
		var v bool
		if k.Decode(&v) == nil {
			what, becomes = "a boolean", strconv.FormatBool(v)
		}
	case "!!int":
		var v int64
		if k.Decode(&v) == nil {
			becomes = strconv.FormatInt(v, 10)
			what = "the number " + becomes
		}
	case "!!float":
		var v float64
		if k.Decode(&v) == nil {
			becomes = strconv.FormatFloat(v, 'g', -1, 64)
			what = "the number " + becomes
		}
	}
	if becomes == k.Value {
		return "", ""
	}
	return what, becomes
}
