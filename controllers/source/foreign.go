package source

import (
	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Foreign is an object of another policy system, as it is.
type Foreign struct {
	// Object is the struct that translate.New made for the kind, decoded; it is
	// what translate.Translate takes.
	Object any
	GVK    schema.GroupVersionKind
	File   string
	Line   int

	node *yaml.Node
}

// LineOf is as that of Object.
func (f *Foreign) LineOf(fieldPath string) int { return lineOf(f.node, fieldPath) }

// LoadForeign is Load without translation: foreign objects of all kinds that
// package translate knows, more than Load reads, are returned as they are, in
// order; all other objects are in the Result.
func LoadForeign(paths []string, opts Options) ([]Foreign, *Result, error) {
	l := &loader{res: &Result{}, keepForeign: true}
	l.paths(paths, opts)
	r, err := l.finish()
	if err != nil {
		return nil, nil, err
	}
	return l.kept, r, nil
}
