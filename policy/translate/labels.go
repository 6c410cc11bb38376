package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// podsOnly is the term that keeps host endpoints and network sets out of a
// selector: only pods have this label.
const podsOnly = "tierwall.io/orchestrator == 'k8s'"

// labelTerms turns a native label selector into terms of the selector language,
// to be joined by "&&". The empty selector, which matches everything, has none.
func labelTerms(s *metav1.LabelSelector) ([]string, error) {
	if s == nil {
		return nil, nil
	}
	var terms []string
	for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		if err := checkKey(k); err != nil {
			return nil, fmt.Errorf("matchLabels[%s]: %w", k, err)
		}
		v, err := quote(s.MatchLabels[k])
		if err != nil {
			return nil, fmt.Errorf("matchLabels[%s]: %w", k, err)
		}
		terms = append(terms, k+" == "+v)
	}
	for i, e := range s.MatchExpressions {
		term, err := expressionTerm(e)
		if err != nil {
			return nil, fmt.Errorf("matchExpressions[%d]: %w", i, err)
		}
		terms = append(terms, term)
	}
	return terms, nil
}

func expressionTerm(e metav1.LabelSelectorRequirement) (string, error) {
	key := e.Key
	if err := checkKey(key); err != nil {
		return "", err
	}
	switch e.Operator {
	case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		if len(e.Values) > 0 {
			return "", fmt.Errorf("operator %s takes no values", e.Operator)
		}
		if e.Operator == metav1.LabelSelectorOpExists {
			return "has(" + key + ")", nil
		}
		return "!has(" + key + ")", nil
	case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
		if len(e.Values) == 0 {
			return "", fmt.Errorf("operator %s needs values", e.Operator)
		}
		quoted := make([]string, len(e.Values))
		for i, v := range e.Values {
			var err error
			if quoted[i], err = quote(v); err != nil {
				return "", err
			}
		}
		op := " in {"
		if e.Operator == metav1.LabelSelectorOpNotIn {
			op = " not in {"
		}
		return key + op + strings.Join(quoted, ", ") + "}", nil
	}
	return "", fmt.Errorf("operator %q is not one of In, NotIn, Exists, DoesNotExist", e.Operator)
}

// checkKey checks that the selector language can hold a key.
func checkKey(key string) error {
	if key == "" {
		return fmt.Errorf("empty label key")
	}
	for _, r := range key {
		if !(r == '.' || r == '/' || r == '-' || r == '_' ||
			'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9') {
			return fmt.Errorf("%q is not a label key", key)
		}
	}
	return nil
}

// quote quotes a label value.
func quote(v string) (string, error) {
	switch {
	case !strings.ContainsAny(v, "'\n"):
		return "'" + v + "'", nil
	case !strings.ContainsAny(v, "\"\n"):
		return `"` + v + `"`, nil
	}
	return "", fmt.Errorf("%q is not a label value", v)
}

// join joins terms; no terms at all select everything.
func join(terms []string) string {
	if len(terms) == 0 {
		return "all()"
	}
	return strings.Join(terms, " && ")
}
