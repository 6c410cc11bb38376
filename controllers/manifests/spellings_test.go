package manifests

import (
	"strings"
	"testing"
	"unicode/utf16"

	corev1 "k8s.io/api/core/v1"
)

// YAML 1.1, which kubectl reads, takes some plain words for booleans: as text an
// API server refuses them, and as keys it knows them by another name.
func TestYAML11Booleans(t *testing.T) {
	pod := func(labels string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  labels:\n    " + labels + "\n"
	}
	for _, word := range []string{"y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"} {
		_, err := LoadBytes("a.yaml", []byte(pod("access: "+word)))
		if want := "a.yaml:6:13: Pod/default/x: metadata.labels[access]: want text (in quotes), not the boolean " + word; err == nil || err.Error() != want {
			t.Errorf("value %s: got %v, want %s", word, err, want)
		}
		_, err = LoadBytes("a.yaml", []byte(pod(word+": a")))
		if err == nil || !strings.HasPrefix(err.Error(), "a.yaml:6:5: Pod/default/x: metadata.labels["+word+"]: the key ") {
			t.Errorf("key %s: got %v", word, err)
		}
		for _, fine := range []string{`access: "` + word + `"`, "access: '" + word + "'", "access: !!str " + word, `"` + word + `": a`} {
			if _, err := LoadBytes("a.yaml", []byte(pod(fine))); err != nil {
				t.Errorf("%s: %v", fine, err)
			}
		}
		if _, err := LoadBytes("a.json", []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","labels":{"`+word+`":"`+word+`"}}}`)); err != nil {
			t.Errorf("JSON %s: %v", word, err)
		}
	}
	tests := []struct{ name, text, want string }{
		{"a name", "apiVersion: v1\nkind: Namespace\nmetadata: {name: on}\n", "a.yaml:3:18: Namespace/on: metadata.name: want text (in quotes), not the boolean on"},
		{"a match", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec:\n  podSelector:\n    matchLabels: {public: yes}\n",
			"a.yaml:6:27: NetworkPolicy/default/x: spec.podSelector.matchLabels[public]: want text (in quotes), not the boolean yes"},
		{"a list of values", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec:\n  podSelector:\n    matchExpressions:\n    - {key: public, operator: In, values: [\"true\", on]}\n",
			"a.yaml:7:52: NetworkPolicy/default/x: spec.podSelector.matchExpressions[0].values[1]: want text (in quotes), not the boolean on"},
		{"a port", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec:\n  podSelector: {}\n  ingress: [{ports: [{port: y}]}]\n",
			"a.yaml:6:29: NetworkPolicy/default/x: spec.ingress[0].ports[0].port: want a whole number or text, not the boolean y"},
		{"a key that is a number with zeros", pod("1.10: a"), `a.yaml:6:5: Pod/default/x: metadata.labels[1.10]: the key 1.10 is the number 1.1 and becomes "1.1"; quote it to keep it as text`},
		{"a key that is an octal number", pod("010: a"), `a.yaml:6:5: Pod/default/x: metadata.labels[010]: the key 010 is the number 8 and becomes "8"; quote it to keep it as text`},
		{"a key that is a boolean everywhere", pod("True: a"), `a.yaml:6:5: Pod/default/x: metadata.labels[True]: the key True is a boolean and becomes "true"; quote it to keep it as text`},
		{"a key that is a number", pod("8080: a"), ""},
		{"a key that is true", pod("true: a"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadBytes("a.yaml", []byte(tt.text))
			if err == nil && tt.want != "" || err != nil && err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// encode is text as PowerShell writes it into files.
func encode(text string, bigEndian, mark bool) string {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	out := make([]byte, 0, 2*len(units))
	for _, u := range units {
		if bigEndian {
			out = append(out, byte(u>>8), byte(u))
		} else {
			out = append(out, byte(u), byte(u>>8))
		}
	}
	return string(out)
}

func TestEncodings(t *testing.T) {
	const one, two = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, annotations: {x: \"grün 😀\"}}\n", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n"
	const both = "a.yaml:1 Namespace/a\na.yaml:5 Namespace/b"
	const json = `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`
	tests := []struct{ name, text, want string }{
		{"a mark before the first document", "\ufeff" + one + "---\n" + two, both},
		{"a mark after a document marker", one + "---\n\ufeff" + two, both},
		{"a mark before a document marker", one + "\ufeff---\n" + two, both},
		{"a mark before each of joined files", "\ufeff---\n" + one + "\ufeff---\n" + two, "a.yaml:2 Namespace/a\na.yaml:6 Namespace/b"},
		{"a mark and lines that Windows ends", "\ufeff" + strings.ReplaceAll(one, "\n", "\r\n") + "\ufeff---\r\n" + strings.ReplaceAll(two, "\n", "\r\n"), both},
		{"marks before JSON", "\ufeff" + json + "\n\ufeff" + strings.ReplaceAll(json, `"a"`, `"b"`), "a.yaml:1 Namespace/a\na.yaml:2 Namespace/b"},
		{"little-endian", encode(one+"---\n"+two, false, true), both},
		{"big-endian", encode(one+"---\n"+two, true, true), both},
		{"little-endian without a mark", encode(one+"---\n"+two, false, false), both},
		{"big-endian without a mark", encode(one+"---\n"+two, true, false), both},
		{"little-endian JSON", encode(json, false, true), "a.yaml:1 Namespace/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := LoadBytes("a.yaml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := refs(r); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if got := r.Objects[0].Object.(*corev1.Namespace).Annotations["x"]; got != "" && got != "grün 😀" {
				t.Errorf("the text became %q", got)
			}
		})
	}
	for name, text := range map[string]string{
		"an odd number of bytes":  "\xff\xfea\x00b",
		"half of a pair":          "\xff\xfe\x3d\xd8a\x00",
		"32 bits":                 "\xff\xfe\x00\x00a\x00\x00\x00",
		"a NUL among the letters": "\xff\xfea\x00\x00\x00",
	} {
		if _, err := LoadBytes("a.yaml", []byte(text)); err == nil || err.Error() != "a.yaml:1: not UTF-8 or UTF-16 text" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Objects without a name and with a generateName are valid input of kubectl create.
func TestGenerateName(t *testing.T) {
	r, err := LoadBytes("a.yaml", []byte(`apiVersion: batch/v1
kind: Job
metadata: {generateName: migrate-, namespace: shop}
spec: {template: {metadata: {labels: {app: migrate}}}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {generateName: p-}}
- {apiVersion: v1, kind: Pod, metadata: {generateName: p-}}
- {apiVersion: v1, kind: Pod, metadata: {generateName: p-, namespace: other}}
- {apiVersion: v1, kind: Pod, metadata: {generateName: p-, name: named}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {generateName: g-}
`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `a.yaml:1 Job/shop/migrate-00001
a.yaml:9 Pod/default/p-00001
a.yaml:10 Pod/default/p-00002
a.yaml:11 Pod/other/p-00001
a.yaml:12 Pod/default/named
a.yaml:14 GlobalNetworkPolicy/g-00001`
	if refs(r) != want {
		t.Errorf("got\n%s\nwant\n%s", refs(r), want)
	}
	for name, meta := range map[string]string{"empty": `{generateName: ""}`, "none": "{}", "null": "{generateName: null}"} {
		if _, err := LoadBytes("a.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: "+meta+"\n")); err == nil || !strings.Contains(err.Error(), "metadata.name: is missing") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Positions are those of the key of a field, in YAML, flow style, lists and JSON.
func TestPositionOf(t *testing.T) {
	yaml := "---\n" + gnp + "metadata: {name: x, labels: {grün: a, b: c}}\nspec:\n  ingress:\n  - action: Allow\n    source:\n      nets: [10.0.0.0/8, 11.0.0.0/8]\n"
	json := "{\"apiVersion\": \"tierwall.io/v1alpha1\", \"kind\": \"GlobalNetworkPolicy\",\n  \"metadata\": {\"name\": \"x\", \"labels\": {\"gr\\u00fcn\": \"ä\", \"b\": \"c\"}},\n\t\"spec\": {\"ingress\": [{\"action\": \"Allow\",\n\"source\": {\"nets\": [\"10.0.0.0/8\",\"11.0.0.0/8\"]}}]}}"
	tests := []struct {
		name, file, text, field string
		line, column            int
	}{
		{"the object", "a.yaml", yaml, "", 2, 1},
		{"a field", "a.yaml", yaml, "spec.ingress", 6, 3},
		{"an item", "a.yaml", yaml, "spec.ingress[0]", 7, 5},
		{"an item in flow style", "a.yaml", yaml, "spec.ingress[0].source.nets[1]", 9, 26},
		{"after letters of two bytes", "a.yaml", yaml, "metadata.labels[b]", 4, 39},
		{"a field that is not there", "a.yaml", yaml, "spec.egress[0].action", 5, 1},
		{"the JSON object", "a.json", json, "", 1, 1},
		{"a JSON field", "a.json", json, "metadata", 2, 3},
		{"a JSON field after letters of two bytes and escapes", "a.json", json, "metadata.labels[b]", 2, 58},
		{"a JSON field after a tab", "a.json", json, "spec", 3, 2},
		{"a JSON item", "a.json", json, "spec.ingress[0].source.nets[1]", 4, 34},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := LoadBytes(tt.file, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if line, column := r.Objects[0].PositionOf(tt.field); line != tt.line || column != tt.column {
				t.Errorf("got %d:%d, want %d:%d", line, column, tt.line, tt.column)
			}
		})
	}
	r, err := LoadBytes("a.yaml", []byte(gnp+"metadata: {name: x"+strings.Repeat(" ", 70_000)+", labels: {a: b}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if line, column := r.Objects[0].PositionOf("metadata.labels"); line != 3 || column != 65535 {
		t.Errorf("a column beyond the limit: got %d:%d", line, column)
	}
}
