package manifests

import "go.yaml.in/yaml/v3"

// value returns the value of a key of a mapping, or nil.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// text returns the text under a key of a mapping, or "".
func text(n *yaml.Node, key string) string {
	v := value(n, key)
	if v == nil || v.Kind != yaml.ScalarNode || isNull(v) {
		return ""
	}
	return v.Value
}

// objectName names an object that is not decoded yet.
func objectName(n *yaml.Node, kind string, namespaced bool) string {
	m := value(n, "metadata")
	name, namespace := text(m, "name"), text(m, "namespace")
	if namespaced && namespace == "" {
		namespace = DefaultNamespace
	}
	switch {
	case name == "":
		return oneLine(kind)
	case namespace == "":
		return oneLine(kind + "/" + name)
	}
	return oneLine(kind + "/" + namespace + "/" + name)
}
