package convert

import (
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/policy/model"
)

var metadataPath = field.NewPath("metadata")

// checkMeta reports names that no API server would take. The object stays in
// force: its name is only how it is called.
func (r *report) checkMeta(m metav1.Object, namespaced bool) {
	r.checkTexts(m)
	switch name := m.GetName(); {
	case name == "":
		r.errorf(metadataPath.Child("name"), "is missing")
	case r.ref.Kind == model.KindNamespace && !isDNSLabel(name):
		r.errorf(metadataPath.Child("name"), "invalid value %s: want at most 63 characters a-z, 0-9 or '-', first and last a letter or digit", quote(name))
	case !isDNSSubdomain(name):
		r.errorf(metadataPath.Child("name"), "invalid value %s: want at most 253 characters a-z, 0-9, '-' or '.', each part between dots starting and ending with a letter or digit", quote(name))
	}
	switch ns := m.GetNamespace(); {
	case namespaced && ns == "":
		r.errorf(metadataPath.Child("namespace"), "is missing")
	case namespaced && !isDNSLabel(ns):
		r.errorf(metadataPath.Child("namespace"), "invalid value %s: want at most 63 characters a-z, 0-9 or '-', first and last a letter or digit", quote(ns))
	case !namespaced && ns != "":
		r.warnf(metadataPath.Child("namespace"), "%s is ignored: %s is not namespaced", quote(ns), r.ref.Kind)
	}
}

// oneLine escapes what would break a line of output or steer a terminal, in
// names that are printed and that no API server restricts.
func oneLine(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsGraphic(r) }) {
		return name
	}
	q := strconv.QuoteToGraphic(name)
	return q[1 : len(q)-1]
}

// reservedLabels are those that the core gives endpoints and that rewritten
// selectors look up. An object that could set them itself could pretend to be
// in a namespace or to run as a service account.
var reservedLabels = []string{model.LabelNamespace, model.LabelOrchestrator, model.LabelServiceAccount}

// labels returns an object's labels without those that it cannot set. The map
// is shared where nothing has to go.
func (r *report) labels(in map[string]string) map[string]string {
	var odd []string
	for k, v := range in {
		if !isLabelKey(k) || !isLabelValue(v) || slices.Contains(reservedLabels, k) {
			odd = append(odd, k)
		}
	}
	if odd == nil {
		return in
	}
	slices.Sort(odd)
	drop := map[string]bool{}
	for _, k := range odd {
		path := metadataPath.Child("labels").Key(pathKey(k))
		switch {
		case slices.Contains(reservedLabels, k):
			r.warnf(path, "is ignored: Tierwall sets this label itself")
			drop[k] = true
		case !isLabelKey(k):
			r.warnf(path, "is ignored: invalid label key %s", quote(k))
			drop[k] = true
		default:
			r.warnf(path, "invalid label value %s: want at most 63 characters a-z, A-Z, 0-9, '-', '_' or '.', first and last a letter or digit", quote(in[k]))
		}
	}
	if len(drop) == 0 {
		return in
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		if !drop[k] {
			out[k] = v
		}
	}
	return out
}

// The checks below are loops and not regular expressions because they run for
// every label of every pod at start.

// isDNSLabel reports whether s is an RFC 1123 label.
func isDNSLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

// isDNSSubdomain reports whether s is an RFC 1123 subdomain as Kubernetes has it:
// the length of the parts is not limited.
func isDNSSubdomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	previous := byte('.')
	for i := range len(s) {
		c := s[i]
		switch {
		case isLower(c) || isDigit(c):
		case c == '-':
			if previous == '.' {
				return false
			}
		case c == '.':
			if previous == '.' || previous == '-' {
				return false
			}
		default:
			return false
		}
		previous = c
	}
	return previous != '.' && previous != '-'
}

// isLabelKey reports whether s is a label key: an optional DNS subdomain and a
// slash, and a name of at most 63 characters.
func isLabelKey(s string) bool {
	if prefix, name, ok := strings.Cut(s, "/"); ok {
		return isDNSSubdomain(prefix) && isLabelName(name)
	}
	return isLabelName(s)
}

// isLabelValue reports whether s is a label value, which may be empty.
func isLabelValue(s string) bool { return s == "" || isLabelName(s) }

func isLabelName(s string) bool {
	if s == "" || len(s) > 63 || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func isLower(c byte) bool        { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool        { return '0' <= c && c <= '9' }
func isLetter(c byte) bool       { return isLower(c) || 'A' <= c && c <= 'Z' }
func isAlphanumeric(c byte) bool { return isLetter(c) || isDigit(c) }
