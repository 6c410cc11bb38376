package cmd

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/tierwall/tierwall/policy/index"
	"github.com/tierwall/tierwall/policy/model"
)

// selectionFlags choose endpoints as kubectl chooses pods: -n, -A and -l.
type selectionFlags struct {
	namespace namespaceFlag
	all       bool
	selector  labelSelector
}

// register adds -n, -A and -l.
func (f *selectionFlags) register(fs *pflag.FlagSet) {
	f.namespace.register(fs)
	fs.BoolVarP(&f.all, "all-namespaces", "A", false, "all namespaces, whatever -n and the context say")
	fs.VarP(&f.selector, "selector", "l", "only endpoints with these labels, as kubectl's -l: app=web,tier!=db")
}

// endpoints returns the endpoints that the flags choose, in the index's order.
// Host endpoints have no namespace: -n leaves them out.
func (f *selectionFlags) endpoints(ix *index.Index) ([]model.Ref, error) {
	if f.all && f.namespace.name != "" {
		return nil, fmt.Errorf("--namespace cannot be combined with --all-namespaces")
	}
	var out []model.Ref
	for _, ref := range ix.Endpoints() {
		e, ok := ix.Endpoint(ref)
		if !ok || f.namespace.name != "" && ref.Namespace != f.namespace.name || !f.selector.matches(e.Labels) {
			continue
		}
		out = append(out, ref)
	}
	return out, nil
}

// labelSelector is the flag -l. The zero value matches everything.
type labelSelector struct {
	text   string
	parsed labels.Selector
}

// String implements pflag.Value.
func (s *labelSelector) String() string { return s.text }

// Type implements pflag.Value.
func (s *labelSelector) Type() string { return "selector" }

// Set implements pflag.Value.
func (s *labelSelector) Set(v string) error {
	parsed, err := labels.Parse(v)
	if err != nil {
		return err
	}
	s.text, s.parsed = v, parsed
	return nil
}

func (s *labelSelector) matches(l map[string]string) bool {
	return s.parsed == nil || s.parsed.Matches(labels.Set(l))
}
