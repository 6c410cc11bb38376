package manifests

import (
	"fmt"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// generateName names an object as an API server would that creates it: an object
// without a name may have a generateName, of which several may be alike.
func (l *loader) generateName(n *yaml.Node, gvk schema.GroupVersionKind) {
	m := value(n, "metadata")
	prefix := text(m, "generateName")
	if prefix == "" || value(m, "name") != nil {
		return
	}
	if l.generated == nil {
		l.generated, l.generatedNames = map[string]int{}, map[*yaml.Node]*yaml.Node{}
	}
	key := gvk.GroupKind().String() + "\x00" + text(m, "namespace") + "\x00" + prefix
	l.generated[key]++
	at := value(m, "generateName")
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Line: at.Line, Column: at.Column,
		Value: fmt.Sprintf("%s%05d", prefix, l.generated[key])}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "name", Line: at.Line, Column: at.Column}, name)
	if l.manifests != nil {
		l.generatedNames[m] = name
	}
}

// isGenerated reports whether generateName has named an object.
func (l *loader) isGenerated(n *yaml.Node) bool {
	m := value(n, "metadata")
	at := value(m, "name")
	return at != nil && at == l.generatedNames[m]
}
