package manifests

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/nearest"
	"github.com/tierwall/tierwall/policy/translate"
)

// readable are all kinds that some command reads, sorted by preference.
var readable = func() []schema.GroupVersionKind {
	out := make([]schema.GroupVersionKind, 0, len(kinds)+2)
	for i := range kinds {
		out = append(out, kinds[i].GroupVersionKind)
	}
	return append(append(out, policyTestGVK, dnsAnswersGVK), translate.Kinds()...)
}()

// slip explains an unknown kind that is surely meant to be one that is read: of a
// Tierwall or policy group with an unknown kind or version, or a kind under the
// wrong apiVersion. It returns "" for kinds that may be skipped.
func slip(gvk schema.GroupVersionKind) (field, message string) {
	if _, ok := foreignKinds[gvk.GroupKind()]; ok {
		return "", ""
	}
	var inGroup, versions, elsewhere []string
	near := ""
	for _, k := range readable {
		switch {
		case k.Group == gvk.Group && k.Kind == gvk.Kind:
			versions = append(versions, k.GroupVersion().String())
		case k.Group == gvk.Group:
			inGroup = append(inGroup, k.Kind)
			if near == "" && sameWord(gvk.Kind, k.Kind) {
				near = k.Kind
			}
		case k.Kind == gvk.Kind && (!translated(k) || closeGroups(k.Group, gvk.Group)):
			elsewhere = append(elsewhere, k.GroupVersion().String())
		}
	}
	group := gvk.Group
	if group == "" {
		group = gvk.GroupVersion().String()
	}
	switch {
	case len(versions) > 0:
		return "apiVersion", fmt.Sprintf("%s has no version %s; want %s", group, quote(gvk.Version), alternatives(versions))
	case near != "":
		return "kind", fmt.Sprintf("%s has no kind %s; did you mean %q?", group, quote(gvk.Kind), near)
	case gvk.Group == v1alpha1.GroupName:
		return "kind", fmt.Sprintf("%s has no kind %s%s", group, quote(gvk.Kind), nearest.Clause(gvk.Kind, inGroup))
	case len(elsewhere) > 0 && (gvk.Group == "" || gvk.Group == "extensions" || gvk.Kind == policyTestGVK.Kind || nearGroup(gvk.Group)):
		return "apiVersion", fmt.Sprintf("%s is not read as %s; want %s", gvk.Kind, gvk.GroupVersion(), alternatives(elsewhere))
	}
	for _, k := range readable {
		meant := closeGroups(k.Group, gvk.Group) || k == policyTestGVK && strings.EqualFold(gvk.Kind, k.Kind)
		if k.Group != gvk.Group && meant && sameWord(gvk.Kind, k.Kind) {
			return "apiVersion", fmt.Sprintf("%s is not read as %s; did you mean %s, kind %q?", gvk.Kind, gvk.GroupVersion(), k.GroupVersion(), k.Kind)
		}
	}
	return "", ""
}

// alternatives is "a, b or c".
func alternatives(words []string) string {
	slices.Sort(words)
	words = slices.Compact(words)
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// sameWord reports whether a kind is written as nobody would who means another:
// with a letter or two wrong, in another case, or as its plural.
func sameWord(word, kind string) bool {
	word, kind = strings.ToLower(word), strings.ToLower(kind)
	return word != "" && len(word) <= 2*len(kind) && nearest.Distance(word, kind) <= 1+len(kind)/6
}

// nearGroup reports whether a group is one that is read, or looks like a slip for one.
func nearGroup(group string) bool {
	return slices.ContainsFunc(readable, func(k schema.GroupVersionKind) bool { return k.Group == group || closeGroups(k.Group, group) })
}

// closeGroups reports whether two groups differ by a slip.
func closeGroups(known, group string) bool {
	return known != "" && len(group) > 3 && len(group) < 100 && nearest.Distance(known, strings.ToLower(group)) <= 1+len(known)/8
}

// kindLine is the rest of a line that names a kind, from that word on.
var kindLine = regexp.MustCompile(`(?i)^kind["']?[ \t]*:[ \t]*["']?([A-Za-z]+)`)

// mayHoldTests reports whether a file holds the word PolicyTest, a kind that is
// nearly that, or cases of an object of ours. Files that do not are not parsed for policy tests, so that they
// may be templates and the like.
func mayHoldTests(data []byte) bool {
	if bytes.Contains(data, []byte(policyTestGVK.Kind)) || bytes.Contains(data, []byte(v1alpha1.GroupName)) && bytes.Contains(data, []byte("cases")) {
		return true
	}
	for _, kind := range kindsNamed(data) {
		if len(kind) < 20 && nearest.Distance(strings.ToLower(kind), strings.ToLower(policyTestGVK.Kind)) <= 3 {
			return true
		}
	}
	return false
}

// kindsNamed finds the kinds of a file without parsing it: each once, in order. The
// expression is tried only where the word is: on a dump of thousands of pods it takes
// a second otherwise.
func kindsNamed(data []byte) []string {
	lower := make([]byte, len(data)) // as far as letters of ASCII go
	for i, b := range data {
		lower[i] = b | 0x20
	}
	var out []string
	for at := 0; ; {
		i := bytes.Index(lower[at:], []byte("kind"))
		if i < 0 {
			return out
		}
		word := at + i
		at = word + len("kind")
		if word > 0 && (isAlphanumeric(data[word-1]) || data[word-1] == '_') {
			continue
		}
		line, _, _ := bytes.Cut(data[word:], []byte("\n"))
		if m := kindLine.FindSubmatch(line); len(m) == 2 && !slices.Contains(out, string(m[1])) {
			out = append(out, string(m[1]))
		}
	}
}

// meantAsTest reports whether an object is a PolicyTest, or was to be one.
func meantAsTest(n *yaml.Node, apiVersion, kind string) bool {
	if strings.EqualFold(kind, policyTestGVK.Kind) {
		return true
	}
	group, _, _ := strings.Cut(apiVersion, "/")
	ours := group == v1alpha1.GroupName || closeGroups(v1alpha1.GroupName, group)
	if kind == "" {
		return ours && (value(value(n, "spec"), "cases") != nil || text(n, "Kind") != "")
	}
	_, known := kindByGVK[policyTestGVK.GroupVersion().WithKind(kind)]
	return ours && !known && sameWord(kind, policyTestGVK.Kind)
}
