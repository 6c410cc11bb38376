package crd

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

const crdFolder = "../../config/crd/bases"

// definition is one CRD with what is needed to validate objects against it.
type definition struct {
	v1         *apiextensionsv1.CustomResourceDefinition
	internal   *apiextensions.CustomResourceDefinition
	structural *schema.Structural
	openAPI    validation.SchemaValidator
	rules      *cel.Validator
}

// loadDefinitions reads the generated CRDs, by kind.
func loadDefinitions(t testing.TB) map[string]*definition {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensions.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(crdFolder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*definition{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := &definition{v1: &apiextensionsv1.CustomResourceDefinition{}, internal: &apiextensions.CustomResourceDefinition{}}
		if err := yaml.UnmarshalStrict(data, d.v1); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		scheme.Default(d.v1)
		d.v1.Status.StoredVersions = []string{d.v1.Spec.Versions[0].Name}
		if err := scheme.Convert(d.v1, d.internal, nil); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		props := d.internal.Spec.Validation
		if props == nil {
			props = d.internal.Spec.Versions[0].Schema
		}
		if d.structural, err = schema.NewStructural(props.OpenAPIV3Schema); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.openAPI, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		d.rules = cel.NewValidator(d.structural, true, celconfig.PerCallLimit)
		out[d.v1.Spec.Names.Kind] = d
	}
	return out
}
