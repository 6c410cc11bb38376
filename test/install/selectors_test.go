package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/selector"
)

// TestSelectorExamples: what `kubectl explain` shows of a selector ends in an example
// that can be applied as it stands.
func TestSelectorExamples(t *testing.T) {
	files, err := filepath.Glob("../../config/crd/bases/*policies.yaml")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	found := 0
	var look func(path string, p *apiextensionsv1.JSONSchemaProps)
	look = func(path string, p *apiextensionsv1.JSONSchemaProps) {
		if strings.HasSuffix(strings.ToLower(path), "selector") && p.Type == "string" {
			_, example, ok := strings.Cut(strings.Join(strings.Fields(p.Description), " "), "For example: ")
			if _, err := selector.Parse(example); !ok || example == "" || err != nil {
				t.Errorf("%s: the description has the example %q: %v", path, example, err)
			}
			found++
		}
		for name := range p.Properties {
			child := p.Properties[name]
			look(path+"."+name, &child)
		}
		if p.Items != nil && p.Items.Schema != nil {
			look(path+"[]", p.Items.Schema)
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			t.Fatal(err)
		}
		for i := range crd.Spec.Versions {
			look(crd.Spec.Names.Kind, crd.Spec.Versions[i].Schema.OpenAPIV3Schema)
		}
	}
	if found < 30 {
		t.Errorf("%d selectors found", found)
	}
}
