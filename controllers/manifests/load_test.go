package manifests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
	"github.com/tierwall/tierwall/policy/model"
)

// write puts files into a fresh folder and makes it the working directory, so
// that messages hold short names.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// refs names the objects of a result with their places.
func refs(r *Result) string {
	var out []string
	for i := range r.Objects {
		out = append(out, r.Objects[i].Place()+" "+r.Objects[i].Ref.String())
	}
	return strings.Join(out, "\n")
}

const gnp = "apiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolicy\n"

func TestLoad(t *testing.T) {
	pod := func(name string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\n"
	}
	tests := []struct {
		name  string
		files map[string]string
		paths []string
		stdin string
		want  string
	}{
		{
			name: "a folder: sorted, all below it, hidden and other files left out",
			files: map[string]string{
				"d/b.yaml": pod("b"), "d/a/z.yml": pod("z"), "d/c.json": `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c"}}`,
				"d/.hidden.yaml": pod("h"), "d/.git/x.yaml": pod("x"), "d/notes.txt": "{",
			},
			paths: []string{"d"},
			want:  "d/a/z.yml:1 Pod/default/z\nd/b.yaml:1 Pod/default/b\nd/c.json:1 Pod/default/c",
		},
		{
			name:  "a file that is reached twice counts once",
			files: map[string]string{"d/a.yaml": pod("a"), "d/b.yaml": pod("b")},
			paths: []string{"d/b.yaml", "d", "./d/a.yaml"},
			want:  "d/b.yaml:1 Pod/default/b\nd/a.yaml:1 Pod/default/a",
		},
		{
			name:  "documents, empty ones, comments, directives, markers with text, byte order mark",
			files: map[string]string{"a.yaml": "\xef\xbb\xbf%YAML 1.2\n---\n# nothing\n---\n" + pod("a") + "---\n\n--- # more\n" + pod("b") + "...\n---\nnull\n--- {apiVersion: v1, kind: Pod, metadata: {name: c}}\n"},
			paths: []string{"a.yaml"},
			want:  "a.yaml:5 Pod/default/a\na.yaml:11 Pod/default/b\na.yaml:17 Pod/default/c",
		},
		{
			name:  "lists, typed and not, nested",
			paths: []string{"-"},
			stdin: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicyList\n  items:\n  - metadata: {name: p, namespace: 'n'}\n    spec: {podSelector: {}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: 'n'}}\n",
			want:  "stdin:7 NetworkPolicy/n/p\nstdin:9 Namespace/n",
		},
		{
			name:  "JSON documents one after the other, with tabs and escapes that YAML lacks",
			paths: []string{"-"},
			stdin: "{\"apiVersion\":\"v1\",\n\t\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\",\"annotations\":{\"x\":\"\\ud83d\\ude00\"}}}\n{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"b\"}}",
			want:  "stdin:1 Namespace/a\nstdin:3 Namespace/b",
		},
		{
			name:  "YAML in flow style is no JSON",
			paths: []string{"-"},
			stdin: "{apiVersion: v1, kind: Namespace, metadata: {name: a}}",
			want:  "stdin:1 Namespace/a",
		},
		{
			name:  "aliases and merge keys",
			paths: []string{"-"},
			stdin: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: &l {x: 'y'}\n  annotations: {<<: *l, z: w}\n",
			want:  "stdin:1 Pod/default/a",
		},
		{
			name:  "Calico's spellings",
			paths: []string{"-"},
			stdin: "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec: {selector: all()}\n---\napiVersion: crd.projectcalico.org/v1\nkind: NetworkPolicy\nmetadata: {name: default.b, namespace: 'n'}\nspec: {tier: default}\n",
			want:  "stdin:1 GlobalNetworkPolicy/a\nstdin:6 NetworkPolicy.tierwall.io/n/b",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.files)
			r, err := Load(tt.paths, Options{Stdin: strings.NewReader(tt.stdin)})
			if err != nil {
				t.Fatal(err)
			}
			if got := refs(r); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestLoadErrors holds the exact text of errors: one line each, with file, line,
// object and field.
func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name  string
		text  string // of a.yaml
		files map[string]string
		paths []string // default a.yaml
		want  string
	}{
		{name: "unknown field", text: gnp + "metadata: {name: deny-all}\nspec:\n  ingress:\n  - action: Deny\n    protokol: TCP\n",
			want: `a.yaml:7:5: GlobalNetworkPolicy/deny-all: spec.ingress[0].protokol: unknown field; did you mean "protocol"?`},
		{name: "field in the wrong case", text: gnp + "metadata: {name: x}\nspec: {Selector: all()}\n",
			want: `a.yaml:4:8: GlobalNetworkPolicy/x: spec.Selector: unknown field; did you mean "selector"?`},
		{name: "singular for plural", text: gnp + "metadata: {name: x}\nspec: {egress: [{action: Allow, destination: {port: [1]}}]}\n",
			want: `a.yaml:4:47: GlobalNetworkPolicy/x: spec.egress[0].destination.port: unknown field; did you mean "ports"?`},
		{name: "a field that would steer a terminal", text: gnp + "metadata: {name: x}\nspec: {\"a\\e[31m\\nb\": 1}\n",
			want: "a.yaml:4:8: GlobalNetworkPolicy/x: spec.a [31m b: unknown field"},
		{name: "nothing near", text: gnp + "metadata: {name: x}\nspec: {xylophone: 1}\n",
			want: `a.yaml:4:8: GlobalNetworkPolicy/x: spec.xylophone: unknown field`},
		{name: "field of the wrong level", text: "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: 'n'}\nspec:\n  podSelector: {app: x}\n",
			want: `a.yaml:5:17: NetworkPolicy/n/x: spec.podSelector.app: unknown field`},
		{name: "text for a number", text: gnp + "metadata: {name: x}\nspec: {order: \"5\"}\n",
			want: `a.yaml:4:15: GlobalNetworkPolicy/x: spec.order: want a number, not the text "5"`},
		{name: "number for text", text: "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  labels: {a: 1}\n",
			want: `a.yaml:5:15: Pod/default/x: metadata.labels[a]: want text (in quotes), not the number 1`},
		{name: "object for a list", text: gnp + "metadata: {name: x}\nspec: {ingress: {action: Allow}}\n",
			want: `a.yaml:4:17: GlobalNetworkPolicy/x: spec.ingress: want a list, not an object`},
		{name: "list for an object", text: gnp + "metadata: {name: x}\nspec: []\n",
			want: `a.yaml:4:7: GlobalNetworkPolicy/x: spec: want an object, not a list`},
		{name: "an empty rule that is none", text: gnp + "metadata: {name: x}\nspec:\n  ingress:\n  -\n",
			want: `a.yaml:6:4: GlobalNetworkPolicy/x: spec.ingress[0]: the list entry is empty`},
		{name: "fraction for a whole number", text: gnp + "metadata: {name: x}\nspec: {ingress: [{action: Allow, ipVersion: 4.5}]}\n",
			want: `a.yaml:4:45: GlobalNetworkPolicy/x: spec.ingress[0].ipVersion: want a whole number, not the number 4.5`},
		{name: "port out of the type's range", text: gnp + "metadata: {name: x}\nspec: {ingress: [{action: Allow, protocol: TCP, destination: {ports: [99999999999]}}]}\n",
			want: `a.yaml:4:71: GlobalNetworkPolicy/x: spec.ingress[0].destination.ports[0]: the number 99999999999 is out of range`},
		{name: "a number beyond all types", text: "apiVersion: v1\nkind: Pod\nmetadata: {name: x, generation: 99999999999999999999}\n",
			want: `a.yaml:3:33: Pod/default/x: metadata.generation: the number 99999999999999999999 is out of range`},
		{name: "infinite order", text: gnp + "metadata: {name: x}\nspec: {order: .inf}\n",
			want: `a.yaml:4:15: GlobalNetworkPolicy/x: spec.order: the number .inf is out of range`},
		{name: "no name", text: gnp + "spec: {}\n",
			want: `a.yaml:1:1: GlobalNetworkPolicy: metadata.name: is missing`},
		{name: "no kind", text: "apiVersion: v1\n", want: `a.yaml:1:1: kind: is missing`},
		{name: "no apiVersion", text: "kind: Pod\nmetadata: {name: x}\n", want: `a.yaml:1:1: Pod/x: apiVersion: is missing`},
		{name: "broken apiVersion", text: "apiVersion: a/b/c\nkind: Pod\nmetadata: {name: x}\n", want: `a.yaml:1:1: Pod/x: apiVersion: "a/b/c" is not group/version`},
		{name: "no object", text: "a: 1\n", want: `a.yaml:1:1: not a Kubernetes object: no apiVersion and no kind`},
		{name: "misspelt kind", text: "apiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolcy\nmetadata: {name: x}\n",
			want: `a.yaml:2:1: GlobalNetworkPolcy/x: kind: tierwall.io has no kind "GlobalNetworkPolcy"; did you mean "GlobalNetworkPolicy"?`},
		{name: "old version", text: "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}\n",
			want: `a.yaml:1:1: NetworkPolicy/x: apiVersion: NetworkPolicy is not read as extensions/v1beta1; want networking.k8s.io/v1 or tierwall.io/v1alpha1`},
		{name: "unknown version", text: "apiVersion: tierwall.io/v1\nkind: Tier\nmetadata: {name: x}\n",
			want: `a.yaml:1:1: Tier/x: apiVersion: tierwall.io has no version "v1"; want tierwall.io/v1alpha1`},
		{name: "misspelt group", text: "apiVersion: networking.k8s.oi/v1\nkind: NetworkPolicy\nmetadata: {name: x}\n",
			want: `a.yaml:1:1: NetworkPolicy/x: apiVersion: NetworkPolicy is not read as networking.k8s.oi/v1; want networking.k8s.io/v1 or tierwall.io/v1alpha1`},
		{name: "duplicate key", text: gnp + "metadata: {name: x}\nspec:\n  order: 1\n  order: 2\n",
			want: `a.yaml:6:3: duplicate key "order", first in line 5`},
		{name: "duplicate object", text: gnp + "metadata: {name: x}\n---\n" + gnp + "metadata: {name: x}\n",
			want: `a.yaml:5:1: GlobalNetworkPolicy/x: defined twice; first at a.yaml:1`},
		{name: "duplicate object in another spelling", text: gnp + "metadata: {name: x}\n---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\n",
			want: `a.yaml:5:1: GlobalNetworkPolicy/x: defined twice; first at a.yaml:1`},
		{name: "a tab", text: "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n",
			want: `a.yaml:4:1: not valid YAML: indented with a tab; YAML needs spaces`},
		{name: "syntax, and the documents around it", text: "apiVersion: v1\nkind: Pod\n---\na: b: c\n---\n" + gnp + "metadata: {name: x}\nspec: {ordr: 1}\n",
			want: "a.yaml:1:1: Pod: metadata.name: is missing\na.yaml:4: not valid YAML: mapping values are not allowed in this context\n" +
				`a.yaml:9:8: GlobalNetworkPolicy/x: spec.ordr: unknown field; did you mean "order"?`},
		{name: "a template", text: "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ .Release.Name }}\n",
			want: `a.yaml:4:10: a key must be text, not a list or an object; this looks like a template: pass its rendered output, such as that of helm template`},
		{name: "a template's control lines", text: "{{- if .Values.on }}\n" + gnp + "metadata: {name: x}\n{{- end }}\n",
			want: `a.yaml:1: not valid YAML: did not find expected node content; this looks like a template: pass its rendered output, such as that of helm template`},
		{name: "a name that would pass for a line of output", text: gnp + "metadata: {name: \"x\\n0 errors\\e[2J\"}\n",
			want: `a.yaml:3:12: GlobalNetworkPolicy/x 0 errors [2J: metadata.name: must be one line of printable text`},
		{name: "a namespace that turns text around", text: "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: \"a\\u202eb\"}\n",
			want: `a.yaml:3:21: Pod/a b/x: metadata.namespace: must be one line of printable text`},
		{name: "a Calico name of two lines", text: "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: \"x\\ny\"}\n",
			want: `a.yaml:3:12: GlobalNetworkSet/x y: metadata.name: must be one line of printable text`},
		{name: "alias of itself", text: "a: &a [*a]\n", want: `a.yaml:1:8: alias *a refers to itself`},
		{name: "a key that is a list", text: "[a, b]: c\n", want: `a.yaml:1:1: a key must be text, not a list or an object`},
		{name: "a merge of text", text: "<<: a\n", want: `a.yaml:1:5: a merge key (<<) must be an object or a list of objects`},
		{name: "items that are none", text: "apiVersion: v1\nkind: List\nitems: 5\n", want: `a.yaml:3:8: List: items: want a list, not the number 5`},
		{name: "an item that is none", text: "apiVersion: v1\nkind: List\nitems:\n- 5\n", want: `a.yaml:4:3: List: items[0]: want an object, not the number 5`},
		{name: "an item of no kind", text: "apiVersion: v1\nkind: List\nitems:\n- {a: 1}\n", want: `a.yaml:4:3: apiVersion: is missing`},
		{name: "not UTF-8", text: "a: 1\nb: \xe9\n", want: `a.yaml:2: not UTF-8 text`},
		{name: "a NUL", text: "a: 1\nb: \x00\n", want: `a.yaml:2: not UTF-8 text`},
		{name: "an empty file", text: "# nothing\n", want: `a.yaml: holds no objects`},
		{name: "no such file", paths: []string{"none.yaml"}, want: `none.yaml: no such file or folder`},
		{name: "no paths", paths: []string{}, want: `no file is named`},
		{name: "a folder without manifests", files: map[string]string{"d/a.txt": ""}, paths: []string{"d"}, want: `d: the folder holds no *.yaml, *.yml or *.json files`},
		{name: "broken JSON", files: map[string]string{"b.json": "{\n\"a\": ]}"}, paths: []string{"b.json"}, want: `b.json:2:6: not valid JSON: invalid character ']' looking for beginning of value`},
		{name: "JSON that ends too early", files: map[string]string{"b.json": "{\n\"a\": 1"}, paths: []string{"b.json"}, want: `b.json:2:7: not valid JSON: it ends too early`},
		{name: "duplicate key in JSON", files: map[string]string{"b.json": "{\"a\": 1,\n\"a\": 2}"}, paths: []string{"b.json"}, want: `b.json:2:1: duplicate key "a", first in line 1`},
		{name: "Calico's unknown field", text: "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {name: x, namespace: 'n'}\nspec: {selectr: all()}\n",
			want: `a.yaml:4:8: NetworkPolicy.projectcalico.org/n/x: spec.selectr: unknown field; did you mean "selector"?`},
		{name: "a test without cases", text: "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: x}\nspec:\n  cases: []\n",
			want: `a.yaml:5:3: PolicyTest/x: spec.cases: is empty`},
		{name: "a test of two lines", text: "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: \"x\\ny\"}\nspec: {cases: [{}]}\n",
			want: `a.yaml:3:12: PolicyTest/x y: metadata.name: must be one line of printable text`},
		{name: "a test's unknown field", text: "apiVersion: tierwall.io/v1alpha1\nkind: PolicyTest\nmetadata: {name: x}\nspec:\n  cases:\n  - name: a\n    to: {pod: a/b, prt: 80}\n",
			want: `a.yaml:7:20: PolicyTest/x: spec.cases[0].to.prt: unknown field; did you mean "port"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"a.yaml": tt.text}
			for name, text := range tt.files {
				files[name] = text
			}
			write(t, files)
			if tt.paths == nil {
				tt.paths = []string{"a.yaml"}
			}
			r, err := Load(tt.paths, Options{})
			if err == nil {
				t.Fatalf("no error; got\n%s", refs(r))
			}
			if err.Error() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", err, tt.want)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%T holds no *Error", err)
			}
		})
	}
}

func TestLoadLimits(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	merges := "a0: &a0 {k0: x}\n"
	for i := 1; i < 40; i++ {
		merges += fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d, *a%d], k%d: 1}\n", i, i, i-1, i-1, i-1, i)
	}
	var steps strings.Builder
	for i := range 1000 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	const tooDeep, tooLarge = "nested deeper than 200 levels", "aliases expand to more than 100000 nodes"
	tests := []struct{ name, file, text, want string }{
		{"open lists", "a.yaml", strings.Repeat("[", 200_000), tooDeep},
		{"open objects", "a.yaml", strings.Repeat("{a: ", 200_000), tooDeep},
		{"lists in one line", "a.yaml", strings.Repeat("- ", 200_000) + "a", tooDeep},
		{"keys in one line", "a.yaml", strings.Repeat("? ", 200_000), tooDeep},
		{"steps", "a.yaml", steps.String(), tooDeep},
		{"JSON", "a.json", strings.Repeat(`{"a":`, 200_000), tooDeep},
		{"JSON lists", "a.json", strings.Repeat(`[`, 200_000), tooDeep},
		{"aliases of aliases", "a.yaml", bomb, tooLarge},
		{"merges of merges", "a.yaml", merges, tooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadBytes(tt.file, []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.200v, want %s", err, tt.want)
			}
		})
	}
	t.Run("long lines of dashes are no depth", func(t *testing.T) {
		text := "# " + strings.Repeat("-", 500) + "\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
		if _, err := LoadBytes("a.yaml", []byte(text)); err != nil {
			t.Error(err)
		}
	})
	t.Run("a large file is refused unread", func(t *testing.T) {
		write(t, map[string]string{"a.yaml": ""})
		if err := os.Truncate("a.yaml", 100<<20); err != nil {
			t.Fatal(err)
		}
		_, err := Load([]string{"a.yaml"}, Options{})
		if err == nil || err.Error() != "a.yaml: 104857600 bytes are more than the limit of 64 MiB" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("endless input is refused", func(t *testing.T) {
		_, err := Load([]string{"-"}, Options{Stdin: endless{}})
		if err == nil || err.Error() != "stdin: more than the limit of 64 MiB" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no standard input", func(t *testing.T) {
		if _, err := Load([]string{"-"}, Options{}); err == nil || err.Error() != "stdin: there is no standard input" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("many errors are counted", func(t *testing.T) {
		_, err := LoadBytes("a.yaml", []byte(strings.Repeat("---\na: 1\n", 70)))
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != maxErrors+1 || lines[maxErrors] != "and 20 more errors" {
			t.Errorf("got %d lines, the last %q", len(lines), lines[len(lines)-1])
		}
	})
	t.Run("a message is one short line", func(t *testing.T) {
		_, err := LoadBytes("a.yaml", []byte(gnp+"metadata: {name: x}\nspec: {order: \""+strings.Repeat("long\\n", 10_000)+"\"}\n"))
		if err == nil || len(err.Error()) > 600 || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %d bytes: %.300v", len(err.Error()), err)
		}
	})
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestLoadWarnings(t *testing.T) {
	write(t, map[string]string{"d/a.yaml": `apiVersion: v1
kind: Pod
metadata: {name: x}
spec:
  brandNew: true
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: 'y'}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: 'y'}
---
replicas: 3
`, "d/chart/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 0.1.0\n"})
	r, err := Load([]string{"d"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range r.Warnings {
		got = append(got, w.String())
	}
	want := []string{
		"d/a.yaml:5:3: Pod/default/x: spec.brandNew: unknown field",
		"d/a.yaml:19:1: not a Kubernetes object: no apiVersion and no kind; skipped",
		"d/chart/Chart.yaml:1:1: not a Kubernetes object: no kind and no metadata; skipped",
		"d/a.yaml:7:1: 2 objects of unknown kind ConfigMap (v1) skipped",
		"d/a.yaml:15:1: 1 object of unknown kind CiliumNetworkPolicy (cilium.io/v2) skipped; tierwall convert translates it",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDecoded(t *testing.T) {
	r, err := LoadBytes("a.yaml", []byte(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, creationTimestamp: 2024-01-02T03:04:05Z}
spec:
  podSelector: {matchLabels: {app: "on"}}
  ingress:
  - ports: [{port: 80}, {port: http, protocol: UDP}, {port: 0x50, endPort: 90}]
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: g}
spec: {order: 1e3, doNotTrack: yes, preDNAT: off, applyOnForward: true}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: exported}
spec: {podSelector: null}
status: {}
`))
	if err != nil {
		t.Fatal(err)
	}
	np := r.Objects[0].Object.(*networkingv1.NetworkPolicy)
	if np.Namespace != "default" || np.Spec.PodSelector.MatchLabels["app"] != "on" || np.CreationTimestamp.Year() != 2024 {
		t.Errorf("got %+v", np)
	}
	if p := np.Spec.Ingress[0].Ports; p[0].Port.IntVal != 80 || p[1].Port.StrVal != "http" || p[2].Port.IntVal != 80 || *p[2].EndPort != 90 {
		t.Errorf("ports: %+v", p)
	}
	if s := r.Objects[1].Object.(*v1alpha1.GlobalNetworkPolicy).Spec; *s.Order != 1000 || !s.DoNotTrack || s.PreDNAT || !s.ApplyOnForward {
		t.Errorf("got %+v", s)
	}
}

func TestLineOf(t *testing.T) {
	r, err := LoadBytes("a.yaml", []byte(`apiVersion: v1
kind: List
items:
- apiVersion: tierwall.io/v1alpha1
  kind: GlobalNetworkPolicy
  metadata:
    name: x
    annotations:
      a.b/c: d
  spec:
    ingress:
    - action: Allow
      source:
        nets:
        - 10.0.0.0/8
        - 11.0.0.0/8
    - action: Deny
`))
	if err != nil {
		t.Fatal(err)
	}
	o := &r.Objects[0]
	for path, want := range map[string]int{
		"":                                4,
		"metadata.name":                   7,
		"metadata.annotations[a.b/c]":     9,
		"metadata.annotations.a.b/c":      9,
		`metadata.annotations["a.b/c"]`:   9,
		"spec":                            10,
		"spec.ingress":                    11,
		"spec.ingress[0]":                 12,
		"spec.ingress[0].source.nets":     14,
		"spec.ingress[0].source.nets[1]":  16,
		"spec.ingress[0].source.nets[9]":  14,
		"spec.ingress[1].action":          17,
		"spec.ingress[1].source.selector": 17,
		"spec.egress[0].action":           10,
		"nonsense[":                       4,
		"spec.ingress[x]":                 11,
		"spec.ingress[0":                  11,
	} {
		if got := o.LineOf(path); got != want {
			t.Errorf("LineOf(%q) = %d, want %d", path, got, want)
		}
	}
}

func TestOverlay(t *testing.T) {
	load := func(text string) *Result {
		r, err := LoadBytes("a.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := load(gnp + "metadata: {name: x}\nspec: {order: 1}\n---\n" + gnp + "metadata: {name: 'y'}\n")
	a.Overlay(load("\n" + gnp + "metadata: {name: x}\nspec: {order: 2}\n---\n" + gnp + "metadata: {name: z}\n"))
	want := "a.yaml:2 GlobalNetworkPolicy/x\na.yaml:6 GlobalNetworkPolicy/y\na.yaml:7 GlobalNetworkPolicy/z"
	if got := refs(a); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	o, _ := a.Lookup(model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "x"})
	if got := *o.Object.(*v1alpha1.GlobalNetworkPolicy).Spec.Order; got != 2 {
		t.Errorf("order %v is not that of the overlay", got)
	}
}

// Files say nothing of the status: an API server keeps what is there.
// TestIdentity: a policy has the identity of its group, kind, namespace, tier and
// name, whatever it is translated to. See also TestTiersDoNotShadow of
// controllers/cluster.
func TestIdentity(t *testing.T) {
	policy := func(group, namespace, tier, name string) string {
		version := "projectcalico.org/v3"
		if group == "tierwall" {
			version = "tierwall.io/v1alpha1"
		}
		return fmt.Sprintf("---\napiVersion: %s\nkind: NetworkPolicy\nmetadata: {namespace: %s, name: %s}\nspec: {tier: %s}\n", version, namespace, name, tier)
	}
	refs := func(r *Result) string {
		var out []string
		for _, o := range r.Objects {
			tier, _ := convert.PolicyTier(o.Object)
			out = append(out, strings.TrimPrefix(o.Ref.String(), "NetworkPolicy.")+" "+tier)
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	theirs := policy("calico", "shop", "security", "p")
	tests := []struct {
		name, files, over string // over is what is laid over files
		want              string
	}{
		{name: "alone", files: theirs, want: "tierwall.io/shop/p security"},
		{name: "beside one of another tier", files: theirs + policy("tierwall", "shop", "default", "p"),
			want: "projectcalico.org/shop/security:p security, tierwall.io/shop/p default"},
		{name: "beside a translated one of another tier", files: theirs + policy("calico", "shop", "default", "p"),
			want: "projectcalico.org/shop/default:p default, projectcalico.org/shop/security:p security"},
		{name: "in another namespace", files: theirs + policy("tierwall", "pay", "default", "p"),
			want: "tierwall.io/pay/p default, tierwall.io/shop/p security"},
		{name: "laid over one of another tier", files: theirs, over: policy("tierwall", "shop", "default", "p"),
			want: "projectcalico.org/shop/security:p security, tierwall.io/shop/p default"},
		{name: "under one of another tier", files: policy("tierwall", "shop", "default", "p"), over: theirs,
			want: "projectcalico.org/shop/security:p security, tierwall.io/shop/p default"},
		{name: "laid over one of its tier", files: theirs, over: policy("tierwall", "shop", "security", "p"), want: "tierwall.io/shop/p security"},
		{name: "translated, laid over one of its tier", files: policy("tierwall", "shop", "security", "p"), over: theirs, want: "tierwall.io/shop/p security"},
		{name: "laid over itself", files: theirs + policy("tierwall", "shop", "default", "p"), over: theirs,
			want: "projectcalico.org/shop/security:p security, tierwall.io/shop/p default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := LoadBytes("a.yaml", []byte(tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if tt.over != "" {
				over, err := LoadBytes("b.yaml", []byte(tt.over))
				if err != nil {
					t.Fatal(err)
				}
				r.Overlay(over)
			}
			if got := refs(r); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for i := range r.Objects {
				if o, ok := r.Lookup(r.Objects[i].Ref); !ok || o != &r.Objects[i] {
					t.Errorf("%s is not found", r.Objects[i].Ref)
				}
			}
		})
	}
	r, err := LoadBytes("a.yaml", []byte(theirs+policy("tierwall", "shop", "security", "p")))
	if err == nil || !strings.Contains(err.Error(), "defined twice") {
		t.Errorf("two of one tier in files: %v, %v", r, err)
	}
}

func TestOverlayKeepsWhatAutoMeans(t *testing.T) {
	const head = "apiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\n"
	load := func(text string) *Result {
		r, err := LoadBytes("a.yaml", []byte(head+text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	live, file := load("status: {guards: Count}"), load("spec: {linkGuard: Enforce}")
	both := &Result{}
	both.Overlay(live)
	both.Overlay(file)
	ix, problems := both.Index()
	if g := ix.Settings().Guards; len(problems) > 0 || g.Source != model.GuardCount || g.Link != model.GuardEnforce {
		t.Errorf("guards %+v, problems %v", g, problems)
	}
	if ix, _ := file.Index(); ix.Settings().Guards.Source != model.GuardEnforce {
		t.Error("the file's own object has changed")
	}
}

func TestLocate(t *testing.T) {
	r, err := LoadBytes("a.yaml", []byte(gnp+"metadata: {name: x}\nspec:\n  ingress:\n  - action: Allow\n    source:\n      nets: [10.0.0.0/33]\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, problems := r.Index()
	located := r.Locate(problems)
	if len(located) != 1 || located[0].Warning || !strings.HasPrefix(located[0].Error.Error(), "a.yaml:8:14: GlobalNetworkPolicy/x: spec.ingress[0].source.nets[0]: ") {
		t.Errorf("got %v", located)
	}
}

func TestSettingsOfBothSystems(t *testing.T) {
	const felix = "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {defaultEndpointToHostAction: Drop}\n---\n"
	r, err := LoadBytes("a.yaml", []byte(felix+"apiVersion: tierwall.io/v1alpha1\nkind: Tierwall\nmetadata: {name: default}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := refs(r); got != "a.yaml:6 Tierwall/default" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(fmt.Sprint(r.Warnings), "a.yaml:1:1: the settings are ignored, because Tierwall/default exists (a.yaml:6)") {
		t.Errorf("warnings: %v", r.Warnings)
	}
	if r, err = LoadBytes("a.yaml", []byte(felix)); err != nil || refs(r) != "a.yaml:1 Tierwall/default" {
		t.Errorf("alone: %v, %v", r, err)
	}
}
