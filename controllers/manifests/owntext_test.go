package manifests

import (
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"

	"go.yaml.in/yaml/v3"
)

// TestOwnText: what needs no translation is handed on as it is written.
func TestOwnText(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod # why\nmetadata:\n  name: a\n"
	const list = "apiVersion: v1\nkind: List\nitems:\n"
	item := func(text string) string {
		return "- " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
	}
	other := strings.ReplaceAll(pod, "name: a", "name: b")
	for _, tt := range []struct {
		name, input string
		want        []string
	}{
		{"a document", pod, []string{pod}},
		{"comments around", "# first\n" + pod + "# last\n", []string{"# first\n" + pod + "# last\n"}},
		{"no newline at the end", strings.TrimSuffix(pod, "\n"), []string{pod}},
		{"several", "---\n" + pod + "---\n# of b\n" + other + "...\n", []string{pod, "# of b\n" + other}},
		{"helm", "---\n# Source: chart/a.yaml\n" + pod + "---\n# Source: chart/empty.yaml\n---\n# Source: chart/b.yaml\n" + other,
			[]string{"# Source: chart/a.yaml\n" + pod, "# Source: chart/b.yaml\n" + other}},
		{"a comment on the marker", "--- # x\n" + pod, []string{"# x\n" + pod}},
		{"CRLF", strings.ReplaceAll(pod, "\n", "\r\n"), []string{strings.ReplaceAll(pod, "\n", "\r\n")}},
		{"in flow style", "{apiVersion: v1, kind: Pod, metadata: {name: a}} # x\n", []string{"{apiVersion: v1, kind: Pod, metadata: {name: a}} # x\n"}},
		{"aliases of its own", "apiVersion: v1\nkind: Pod\nmetadata: {name: &n a, labels: {app: *n}}\n", []string{"apiVersion: v1\nkind: Pod\nmetadata: {name: &n a, labels: {app: *n}}\n"}},
		{"a List", list + item(pod) + item(other), []string{pod, other}},
		{"a List whose keys go on", list + item(pod) + item(other) + "metadata: {}\n", []string{pod, other}},
		{"a List of a list", list + item(list+item(pod)) + item(other), []string{pod, other}},
		{"an indented list", list + "  " + strings.ReplaceAll(item(pod)+strings.TrimSuffix(item(other), "\n"), "\n", "\n  ") + "\n", []string{pod, other}},
		{"a list without a List", item(pod) + item(other), []string{pod, other}},
		{"comments in a List", list + "# of a\n" + item(pod) + "  # still of a\n\n# of b\n" + item(other) + "# of the List\nmetadata: {}\n",
			[]string{"# of a\n" + pod + "# still of a\n\n", "# of b\n" + other}},
		{"a comment further left", list + "- apiVersion: v1\n# x\n  kind: Pod\n  metadata: {name: a}\n", []string{"apiVersion: v1\n# x\nkind: Pod\nmetadata: {name: a}\n"}},
		{"a text of several lines", list + item("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    x: |\n      # no comment\n\n       y\n") + item(other),
			[]string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    x: |\n      # no comment\n\n       y\n", other}},
		{"a quoted text of several lines", list + "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n    annotations:\n      x: \"1\n\n  2\"\n",
			[]string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    x: \"1\n\n2\"\n"}},
		{"a quoted text that goes on further left", list + "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n    annotations:\n      x: \"1\n\n 2\"\n",
			[]string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    x: |-\n      1\n      2\n"}},
		{"a dash alone", list + "-\n  apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n", []string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n"}},
		{"items in flow style", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: a}}]}\n", []string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n"}},
		{"aliases between items", list + "- apiVersion: v1\n  kind: Pod\n  metadata: &m {name: a, namespace: x}\n- apiVersion: v1\n  kind: Service\n  metadata: *m\n",
			[]string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: x\n", "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  namespace: x\n"}},
		{"items without a kind", "apiVersion: v1\nkind: PodList\nitems:\n- metadata:\n    name: a\n", []string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n"}},
		{"JSON", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"labels\": {\"x\": \"1\", \"y\": \"yes\"}}, \"spec\": {\"containers\": [{\"name\": \"c\", \"args\": [\"-x\", \"a: b\"], \"ports\": [{\"containerPort\": 80}]}], \"nodeSelector\": {}}}",
			[]string{"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    x: \"1\"\n    \"y\": \"yes\"\nspec:\n  containers:\n  - name: c\n    args:\n    - \"-x\"\n    - \"a: b\"\n    ports:\n    - containerPort: 80\n  nodeSelector: {}\n"}},
		{"a name that an API server makes up", "apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n", []string{"apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n"}},
		{"two of them in JSON", "[{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"generateName\": \"a-\"}}, {\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"generateName\": \"a-\"}}]",
			[]string{"apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n", "apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ReadManifests([]string{"-"}, Options{Stdin: strings.NewReader(tt.input)})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, item := range m.Items {
				got = append(got, item.Text)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestOwnTextOfManifests: all manifests of the repository, as documents and as items of a
// List, say the same when they are handed on.
func TestOwnTextOfManifests(t *testing.T) {
	n := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isManifest(path) {
			return err
		}
		file, problem := readFile(found{path: path, named: true}, Options{})
		if problem != nil {
			return nil
		}
		list := "apiVersion: v1\nkind: List\nitems:\n"
		var want []string
		var errs errorList
		parse(file, &errs, func(chunk) bool { return false }, func(d *document) {
			alone, err := ReadManifests([]string{"-"}, Options{Stdin: strings.NewReader(toYAML(d.root))})
			if err != nil || len(alone.Items) != 1 || alone.Items[0].Text == "" {
				return
			}
			text := alone.Items[0].Text
			if own, ok := d.ownText(d.root, 0); ok {
				text = own
			}
			var fields any
			asJSON(t, text, &fields)
			b, _ := json.Marshal(fields)
			want = append(want, string(b))
			list += "# above\n- " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
		})
		if len(want) == 0 {
			return nil
		}
		m, err := ReadManifests([]string{"-"}, Options{Stdin: strings.NewReader(list)})
		if err != nil {
			return nil // a duplicate object
		}
		for i := range m.Items {
			fields, err := m.Items[i].Fields()
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := json.Marshal(fields); string(b) != want[i] {
				t.Errorf("%s: got\n%s\nwant\n%s", path, b, want[i])
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 500 {
		t.Errorf("%d objects: are they still found?", n)
	}
}

// asJSON reads YAML as kubectl does.
func asJSON(t *testing.T, text string, into any) {
	t.Helper()
	if err := sigsyaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// TestToYAMLSaysTheSame: to kubectl, which reads YAML 1.1, and to this package.
func TestToYAMLSaysTheSame(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		saysTheSame(t, randomTree(r, 4))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzToYAML(f *testing.F) {
	for _, s := range awkward {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(map[string]any{"k": s, "list": []any{s}, "o": map[string]any{s: s}})
		if err != nil {
			return
		}
		n, err := newJSONReader(text).document()
		if err != nil {
			return
		}
		saysTheSame(t, n)
	})
}

func saysTheSame(t *testing.T, n *yaml.Node) {
	t.Helper()
	b, err := toJSON(n)
	if err != nil {
		return
	}
	var want, kubectl any
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	text := toYAML(n)
	asJSON(t, text, &kubectl)
	if !reflect.DeepEqual(kubectl, want) {
		t.Errorf("kubectl reads %#v\nwant %#v\n%s", kubectl, want, text)
	}
	var errs errorList
	d := parseYAML("x", chunk{text: []byte(text)}, &errs)
	if d == nil && text == "null\n" {
		return // an empty document
	}
	if d == nil {
		t.Fatalf("%v in\n%s", errs.join(), text)
	}
	if again, err := toJSON(d.root); err != nil || string(again) != string(b) {
		t.Errorf("reads %s, %v\nwant  %s\n%s", again, err, b, text)
	}
}

// awkward are texts that look like something else.
var awkward = []string{
	"", "a", "yes", "No", "on", "y", "~", "null", "true", "1", "1.0", "1e3", "0x1F", "0o7", "0777", "1_000", "1:30", "2020-01-01", ".5", "-1", "+1", ".inf", ".nan",
	"10.0.0.1", "10.0.0.0/8", "fd00::1", "a:b", "a: b", "a #b", "#a", "- a", "-a", "?", "[a", "{a", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", "'a", "\"a", "a\nb", "a\nb\n", "a\n\nb\n\n",
	" a\nb", "a\n b\n", "\ta", "a\tb\nc", "a\r\nb", "a ", "é", "\u2028", "\u0085", "\ufeff", "\x7f", "😀", "a\n---\nb", "<<", "=", "a\n# b\n", "7d4b9c", "5e10", "12e03", "all()", "app == 'web'", "a\\b",
	// Keys around the length at which YAML wants a mark before them.
	strings.Repeat("k", maxImplicitKey), strings.Repeat("k", maxImplicitKey+1), strings.Repeat("\ufffd", 400), strings.Repeat("\ufffd\n", 700), strings.Repeat("k: ", 2000),
}

func randomTree(r *rand.Rand, depth int) *yaml.Node {
	scalar := func() *yaml.Node {
		switch r.IntN(6) {
		case 0:
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: []string{"0", "80", "-1", "1000000"}[r.IntN(4)]}
		case 1:
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: []string{"true", "false"}[r.IntN(2)]}
		case 2:
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: awkward[r.IntN(len(awkward))]}
	}
	if depth == 0 || r.IntN(4) == 0 {
		return scalar()
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if r.IntN(2) == 0 {
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	}
	for i := range r.IntN(4) {
		if n.Kind == yaml.MappingNode {
			key := awkward[r.IntN(len(awkward))] + string(rune('a'+i))
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: key})
		}
		n.Content = append(n.Content, randomTree(r, depth-1))
	}
	return n
}
