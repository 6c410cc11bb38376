package crd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// document is one YAML document of a file.
type document struct {
	file   string
	object *unstructured.Unstructured
	expect []string
}

func (d document) String() string {
	return filepath.Base(d.file) + ": " + d.object.GetKind() + "/" + d.object.GetName()
}

func readDocuments(t testing.TB, file string) []document {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []document
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		d := document{file: file, object: &unstructured.Unstructured{}}
		if err := yaml.UnmarshalStrict(text, &d.object.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.object.Object == nil {
			continue
		}
		// Through JSON again, so that numbers have the API server's types.
		asJSON, err := d.object.MarshalJSON()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := d.object.UnmarshalJSON(asJSON); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for line := range bytes.Lines(text) {
			if text, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("# expect: ")); ok {
				d.expect = append(d.expect, string(text))
			}
		}
		out = append(out, d)
	}
}

// admit does what an API server does with a new object: refuse unknown fields,
// apply defaults, check the OpenAPI schema, list types, and the CEL rules.
func admit(d *definition, o *unstructured.Unstructured) (problems []string) {
	unknown := pruning.PruneWithOptions(o.Object, d.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		problems = append(problems, "unknown field "+path)
	}
	defaulting.Default(o.Object, d.structural)
	for _, err := range validation.ValidateCustomResource(nil, o.Object, d.openAPI) {
		problems = append(problems, err.Error())
	}
	for _, err := range listtype.ValidateListSetsAndMaps(nil, d.structural, o.Object) {
		problems = append(problems, err.Error())
	}
	if len(problems) == 0 {
		errs, _ := d.rules.Validate(context.Background(), nil, d.structural, o.Object, nil, celconfig.RuntimeCELCostBudget)
		for _, err := range errs {
			problems = append(problems, err.Error())
		}
	}
	return problems
}

func TestGoodObjectsAreAccepted(t *testing.T) {
	defs := loadDefinitions(t)
	seen := map[string]bool{}
	for _, file := range glob(t, "testdata/good/*.yaml") {
		for _, doc := range readDocuments(t, file) {
			seen[doc.object.GetKind()] = true
			for _, p := range admit(defs[doc.object.GetKind()], doc.object) {
				t.Errorf("%s: %s", doc, p)
			}
		}
	}
	for kind := range defs {
		if !seen[kind] {
			t.Errorf("no good object of kind %s in testdata", kind)
		}
	}
}

func TestBadObjectsAreRefused(t *testing.T) {
	defs := loadDefinitions(t)
	for _, file := range glob(t, "testdata/bad/*.yaml") {
		for _, doc := range readDocuments(t, file) {
			if len(doc.expect) == 0 {
				t.Errorf("%s: no line `# expect:`", doc)
				continue
			}
			problems := admit(defs[doc.object.GetKind()], doc.object)
			for _, want := range doc.expect {
				if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
					t.Errorf("%s: not refused with %q, but with:\n\t%s", doc, want, strings.Join(problems, "\n\t"))
				}
			}
			if len(problems) > len(doc.expect) {
				t.Errorf("%s: refused for more than expected:\n\t%s", doc, strings.Join(problems, "\n\t"))
			}
		}
	}
}

// TestSamplesAreAccepted holds the samples of the repository to the CRDs.
func TestSamplesAreAccepted(t *testing.T) {
	defs := loadDefinitions(t)
	n := 0
	err := filepath.WalkDir("../../config/samples", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		for _, doc := range readDocuments(t, path) {
			d := defs[doc.object.GetKind()]
			if d == nil || !strings.HasPrefix(doc.object.GetAPIVersion(), "tierwall.io/") {
				continue
			}
			n++
			for _, p := range admit(d, doc.object) {
				t.Errorf("%s: %s: %s", path, doc, p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Error("no sample of a Tierwall kind found")
	}
}

func TestDefaults(t *testing.T) {
	defs := loadDefinitions(t)
	for _, tc := range []struct{ kind, want string }{
		{"Tier", `{"defaultAction":"Deny"}`},
		{"GlobalNetworkPolicy", `{"enforcement":"Enforced","tier":"default"}`},
		{"NetworkPolicy", `{"enforcement":"Enforced","tier":"default"}`},
		{"Tierwall", `{"budgets":{"mode":"Auto","namespace":10000,"node":200000},"dataplane":"Auto","dns":{"extraTTL":"120s","hold":"Always","maxAddressesPerName":1000,"maxNames":10000,"maxNamesPerWildcard":1024,"maxTTL":"1h","minTTL":"10s","refuseInternalAddresses":true},"encapsulationGuard":"Auto","endpointToHostAction":"Accept","flows":{"enabled":"Auto","history":{"hours":24,"maxMebibytes":1024}},"linkGuard":"Auto","logging":{"format":"JSON","ratePerNode":1000,"ratePerRule":10},"metrics":{"access":"Authenticated","port":9477},"namespacedSets":"Auto","podStartup":"Wait","sourceGuard":"Auto","unknownWorkloads":"Deny","wildcardGuard":"Auto"}`},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "tierwall.io/v1alpha1", "kind": tc.kind,
			"metadata": map[string]any{"name": "default"},
		}}
		defaulting.Default(o.Object, defs[tc.kind].structural)
		spec, err := yaml.Marshal(o.Object["spec"])
		if err != nil {
			t.Fatal(err)
		}
		got, err := yaml.YAMLToJSON(spec)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tc.want {
			t.Errorf("%s: spec defaults to %s, want %s", tc.kind, got, tc.want)
		}
	}
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no file matches %s", pattern)
	}
	return files
}
