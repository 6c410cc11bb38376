package admission

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// document is an object of test/crd/testdata and what it must be refused with.
type document struct {
	object *unstructured.Unstructured
	expect []string
}

// documents reads the objects of a folder of test/crd/testdata.
func documents(folder string) map[string][]document {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(server.Root(), "test", "crd", "testdata", folder, "*.yaml"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).NotTo(BeEmpty())
	out := map[string][]document{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		for _, text := range strings.Split(string(data), "\n---\n") {
			d := document{object: &unstructured.Unstructured{}}
			asJSON, err := yaml.YAMLToJSON([]byte(text))
			Expect(err).NotTo(HaveOccurred(), file)
			Expect(d.object.UnmarshalJSON(asJSON)).To(Succeed(), file)
			for line := range strings.Lines(text) {
				if want, ok := strings.CutPrefix(strings.TrimSpace(line), "# expect: "); ok {
					d.expect = append(d.expect, want)
				}
			}
			out[filepath.Base(file)] = append(out[filepath.Base(file)], d)
		}
	}
	return out
}

// unknownField is how test/crd names a field that the kind does not have.
var unknownField = regexp.MustCompile(`^unknown field (.*)$`)

var _ = Describe("the CustomResourceDefinitions", func() {
	// As kubectl does: an unknown field is an error.
	strict := func() client.Client { return client.WithFieldValidation(admin, metav1.FieldValidationStrict) }

	It("accept every good object", func() {
		for file, list := range documents("good") {
			for _, d := range list {
				Expect(strict().Create(ctx(), d.object, client.DryRunAll)).To(Succeed(), "%s: %s", file, d.object.GetName())
			}
		}
	})

	It("refuse every bad object, for the reason given", func() {
		for file, list := range documents("bad") {
			for _, d := range list {
				Expect(d.expect).NotTo(BeEmpty(), "%s: %s", file, d.object.GetName())
				err := strict().Create(ctx(), d.object, client.DryRunAll)
				Expect(err).To(HaveOccurred(), "%s: %s", file, d.object.GetName())
				for _, want := range d.expect {
					want = unknownField.ReplaceAllString(want, `unknown field "$1"`)
					Expect(err).To(MatchError(ContainSubstring(want)), "%s: %s", file, d.object.GetName())
				}
			}
		}
	})
})
