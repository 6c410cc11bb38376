package admission

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
)

// TestAgreement: what the CRDs accept converts without an error, and what they
// refuse does not.
func TestAgreement(t *testing.T) {
	// Objects that only the CRDs refuse, and why convert need not.
	onlyTheCRDRefuses := map[string]string{
		"tiers.yaml/kube-admin": "what a built-in tier leaves out is known; the API server's object should say it, because people read it there",
		"tiers.yaml/default":    "as kube-admin",
		"policies.yaml/twice":   "a type that is there twice harms nobody: convert warns",
		"nets.yaml/mapped":      "convert reads an IPv4-mapped block as the IPv4 block that it means",
		"nets.yaml/many":        "the limit protects the API server: convert warns",
		"ports.yaml/many":       "the limit protects the API server: convert warns",
	}
	taken := map[string]bool{}
	for _, folder := range []string{"good", "bad"} {
		files, err := filepath.Glob("../crd/testdata/" + folder + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Fatalf("no %s objects found", folder)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range strings.Split(string(data), "\n---\n") {
				name, input, errs := judge(t, text)
				id := filepath.Base(file) + "/" + name
				switch {
				case !input: // what agents say: convert has no part in it
				case folder == "good" && len(errs) > 0:
					t.Errorf("%s (document %d): accepted by the CRD, but convert says:\n\t%s", id, i, strings.Join(errs, "\n\t"))
				case folder == "bad" && len(errs) == 0 && onlyTheCRDRefuses[id] != "":
					taken[id] = true
				case folder == "bad" && len(errs) == 0:
					t.Errorf("%s (document %d): refused by the CRD, but convert takes it:\n%s", id, i, text)
				}
			}
		}
	}
	for id := range onlyTheCRDRefuses {
		if !taken[id] {
			t.Errorf("%s is listed as refused by the CRD only, but convert refuses it too", id)
		}
	}
}

// judge reads one document and returns its name and what is wrong with it.
func judge(t *testing.T, text string) (name string, input bool, errs []string) {
	t.Helper()
	var head struct {
		Kind     string
		Metadata struct{ Name string }
	}
	if err := yaml.Unmarshal([]byte(text), &head); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	o, err := scheme.New(v1alpha1.GroupVersion.WithKind(head.Kind))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(text), o); err != nil {
		return head.Metadata.Name, true, []string{err.Error()}
	}
	_, problems, known := convert.Object(o)
	if head.Kind == "NodeReport" || head.Kind == "PodAddressReport" {
		// Of what agents say, the links of a node are an input of policy.
		if known != (head.Kind == "NodeReport") {
			t.Errorf("convert takes a %s: %t", head.Kind, known)
		}
		return head.Metadata.Name, false, nil
	}
	if !known {
		t.Fatalf("convert does not know %s", head.Kind)
	}
	for _, p := range problems {
		if !p.Warning {
			errs = append(errs, p.Error())
		}
	}
	return head.Metadata.Name, true, errs
}
