package translate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/policy/convert"
)

// TestResultsAreValid converts all that the golden documents translate to: the
// result must be objects that Tierwall accepts as they stand, but for what was
// invalid before.
func TestResultsAreValid(t *testing.T) {
	invalidBefore := []string{"nonsense"}
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	converted := 0
	for _, in := range files {
		text, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
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
			if err != nil {
				continue // the golden file says so
			}
		objects:
			for _, o := range r.Objects {
				_, problems, known := convert.Object(o)
				if !known {
					t.Errorf("%s: %T is unknown to package convert", in, o)
				}
				converted++
				for _, p := range problems {
					for _, s := range invalidBefore {
						if strings.Contains(p.Error(), s) {
							continue objects
						}
					}
					if !p.Warning {
						t.Errorf("%s: %v", in, p)
					}
				}
			}
		}
	}
	if converted < 50 {
		t.Errorf("only %d objects were converted", converted)
	}
}
