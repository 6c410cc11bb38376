package translate

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// decode decodes one JSON document strictly into what New returns for it.
func decode(doc []byte) (any, error) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	obj := New(schema.FromAPIVersionAndKind(head.APIVersion, head.Kind))
	if obj == nil {
		return nil, fmt.Errorf("%s %s: not a foreign kind", head.APIVersion, head.Kind)
	}
	strict, err := kjson.UnmarshalStrict(doc, obj)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, strict[0]
	}
	return obj, nil
}

// render prints an object without its empty status and timestamp.
func render(t *testing.T, o runtime.Object) string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "status")
	delete(m["metadata"].(map[string]any), "creationTimestamp")
	y, err := yaml.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(y)
}

// TestGolden translates each document of testdata/*.in.yaml and compares
// objects and notes with the .out.yaml beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, in := range files {
		t.Run(strings.TrimSuffix(filepath.Base(in), ".in.yaml"), func(t *testing.T) {
			text, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			var all []runtime.Object
			for _, doc := range strings.Split(string(text), "\n---\n") {
				j, err := yaml.YAMLToJSON([]byte(doc))
				if err != nil {
					t.Fatal(err)
				}
				obj, err := decode(j)
				if err != nil {
					t.Fatal(err)
				}
				r, err := Translate(obj)
				b.WriteString("---\n")
				if err != nil {
					fmt.Fprintf(&b, "# error: %v\n", err)
					continue
				}
				for _, n := range r.Notes {
					kind := "note"
					if n.Lossy {
						kind = "lossy"
					}
					fmt.Fprintf(&b, "# %s: %s\n", kind, n)
				}
				for i, o := range r.Objects {
					if i > 0 {
						b.WriteString("---\n")
					}
					checkTypeMeta(t, o)
					b.WriteString(render(t, o))
				}
				all = append(all, r.Objects...)
			}
			if strings.HasPrefix(filepath.Base(in), "reconcile") {
				kept, notes := Reconcile(all, nil)
				b.WriteString("# after Reconcile\n")
				for _, n := range notes {
					fmt.Fprintf(&b, "# %s\n", n)
				}
				for _, o := range kept {
					b.WriteString("---\n" + render(t, o))
				}
			}
			golden := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != string(want) {
				t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", golden, got)
			}
		})
	}
}

func checkTypeMeta(t *testing.T, o runtime.Object) {
	t.Helper()
	gvk := o.GetObjectKind().GroupVersionKind()
	if gvk.Kind == "" || gvk.Version == "" {
		t.Errorf("%T has no TypeMeta", o)
	}
	if gvk.Group == v1alpha1.GroupName && !strings.HasSuffix(fmt.Sprintf("%T", o), "."+gvk.Kind) {
		t.Errorf("%T calls itself %s", o, gvk.Kind)
	}
}
