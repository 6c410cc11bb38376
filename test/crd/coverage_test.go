package crd

import (
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// TestEveryRuleHasABadObject fails for a CEL rule that no object of
// testdata/bad is refused by: a rule that cannot refuse is no rule.
func TestEveryRuleHasABadObject(t *testing.T) {
	var expected []string
	for _, file := range glob(t, "testdata/bad/*.yaml") {
		for _, doc := range readDocuments(t, file) {
			expected = append(expected, doc.expect...)
		}
	}
	for kind, d := range loadDefinitions(t) {
		walk(d.structural, "", 1, true, func(s *schema.Structural, path string, _ uint64, _ bool) {
			for _, rule := range s.XValidations {
				if rule.Message == "" {
					t.Errorf("%s%s: a rule without a message: %s", kind, path, rule.Rule)
				} else if !anyNames(expected, rule.Message) {
					t.Errorf("%s%s: no bad object expects %q", kind, path, rule.Message)
				}
			}
		})
	}
}

// anyNames says whether one of the expectations names the message: its
// beginning after the field's path and value, or all of it.
func anyNames(expected []string, message string) bool {
	for _, e := range expected {
		for e != "" {
			if strings.HasPrefix(message, e) && len(e) >= 15 {
				return true
			}
			_, rest, found := strings.Cut(e, ": ")
			if !found {
				break
			}
			e = rest
		}
	}
	return false
}
