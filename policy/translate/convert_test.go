package translate

import (
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/convert"
)

// TestResultsAreValid converts all that the golden documents translate to: the
// result must be objects that Tierwall accepts as they stand, but for what was
// invalid before.
func TestResultsAreValid(t *testing.T) {
	invalidBefore := []string{"nonsense"}
	converted := 0
	for _, doc := range goldenDocuments(t) {
		obj, err := decode(doc)
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
				t.Errorf("%T is unknown to package convert", o)
			}
			converted++
			for _, p := range problems {
				for _, s := range invalidBefore {
					if strings.Contains(p.Error(), s) {
						continue objects
					}
				}
				if !p.Warning {
					t.Error(p)
				}
			}
		}
	}
	if converted < 50 {
		t.Errorf("only %d objects were converted", converted)
	}
}
