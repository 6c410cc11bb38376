package manifests

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// byParser reads a document with the parser alone.
func byParser(c chunk) *yaml.Node {
	var doc yaml.Node
	if yaml.Unmarshal(c.text, &doc) != nil || doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil
	}
	n, problem := resolve(doc.Content[0], c.line)
	if problem != nil {
		return nil
	}
	return n
}

// agree fails if plainYAML takes a document and reads something else than the parser.
func agree(t *testing.T, c chunk) (taken bool) {
	t.Helper()
	got, ok := plainYAML(c)
	if !ok {
		return false
	}
	want := byParser(c)
	if want == nil {
		t.Fatalf("the parser refuses\n%s", c.text)
	}
	same(t, c, got, want)
	return true
}

func same(t *testing.T, c chunk, got, want *yaml.Node) {
	t.Helper()
	g, w := *got, *want
	g.Content, w.Content = nil, nil
	if !reflect.DeepEqual(g, w) || len(got.Content) != len(want.Content) {
		t.Fatalf("got  %+v with %d parts\nwant %+v with %d in\n%s", g, len(got.Content), w, len(want.Content), c.text)
	}
	for i := range got.Content {
		same(t, c, got.Content[i], want.Content[i])
	}
}

// All manifests of the repository are read as the parser reads them, most of those without
// flow style, anchors, escapes and texts of many lines plainly.
func TestPlainYAMLReadsWhatTheParserReads(t *testing.T) {
	taken, simple, all := 0, 0, 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, c := range splitYAML(data) {
			if emptyYAML(c.text) {
				continue
			}
			all++
			if !strings.ContainsAny(string(c.text), "{[&*|>\\") {
				simple++
			}
			if agree(t, c) {
				taken++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all < 500 || taken < simple*9/10 {
		t.Errorf("of %d documents, of which %d are simple, %d are read plainly", all, simple, taken)
	}
}

var plainDocuments = []struct {
	text string
	want bool
}{
	{"a: b\n", true},
	{"---\na: b", true},
	{"--- \n# comment\n\na:\n  b: c # comment\n  d: 'e'\n\n  f: \"g\"   # h\n", true},
	{"a:\n- b\n- c: d\n  e: f\n-\n  g: h\n- - i\n  - j\nk: {}\nl: []\n", true},
	{"a:\n  - b\n  - c\n", true},
	{"- a\n- b: c\n", true},
	{"a:\nb:\n  c:\n  d: e\n", true},
	{"a: 1\nb: 1.5\nc: 1.2.3.4\nd: 0x10\ne: true\nf: null\ng: ~\nh: 2026-01-01\ni: 010\nj: 1e3\nk: +1\nl: -1\nm: .5\nn: yes\no: 12345678901234567890\n", true},
	{"true: a\n1: b\nnull: c\ny: d\n", true},
	{"a: b#c\nd: e: f\n", false},
	{"a: b#c\nd: http://e:80/\n", true},
	{"a: -b\nc: --d\n", true},
	{"a: it's\nb: x\"y\nc: [x\n", false},
	{"a: b\n  c\n", true},
	{"a: b  \n   c # d\ne: f\n", true},
	{"a: b\n  c\n  d\n", true},
	{"a: b # c\n  d\n", false},
	{"a: b\n\n  c\n", false},
	{"a: 2001-12-14\n  21:59:43\n", true},
	{"a: 'b\n  c'\nd: \"e\n  f  \n  g\" # h\ni: j\n", true},
	{"a: 'b\n\n  c'\n", false},
	{"a: 'b\nc'\n", false},
	{"a: \"b\n  c\\n\"\n", false},
	{"- 'a\n  b'\n- c\n", true},
	{"a: b\n # d\n  c\n", false},
	{"- a\n  b\n", true},
	{"a: 'b''c'\n", false},
	{"a: \"b\\n\"\n", false},
	{"a: 'b' c\n", false},
	{"a: |\n  b\n", true},
	{"a: |\n  b\n    c # d\n\n\n  e: f\n\n\ng: h\n", true},
	{"a: |-\n   b\n\n", true},
	{"a:\n  b: |\n    c\n# d\n  e: f\n", true},
	{"a:\n- |\n  b\n- c: |-\n    d\n  e: |\n   f\n", true},
	{"a: |\n\n  b\n", true},
	{"a: |\n  b", false},
	{"a: |\n  b\n   \n", false},
	{"a: |\n  b\n c\n", false},
	{"a: |\nb: c\n", false},
	{"a: |+\n  b\n\n", false},
	{"a: |2\n   b\n", false},
	{"a: | # b\n  c\n", false},
	{"a: >\n  b\n", false},
	{"a: &b c\nd: *b\n", false},
	{"a: !!str 1\n", false},
	{"? a\n: b\n", false},
	{"a: b\na: c\n", false},
	{"a: {b: c}\n", false},
	{"\"a\": b\n", false},
	{"a:b\n", false},
	{"a\n", false},
	{"a: b\n  c: d\n", false},
	{"a: b\n  c:\n", false},
	{"a: b\n  - c\n", true},
	{"  a: b\n c: d\n", false},
	{"a:\n  - b\n c: d\n", false},
	{"- a\nb: c\n", false},
	{"-\n- a\n", false},
	{"a:\tb\n", false},
	{"a: é\n", false},
	{"a: b\r\n", false},
	{"%YAML 1.2\n---\na: b\n", false},
	{"--- a: b\n", false},
	{"<<: a\n", false},
	{"", false},
	{"# nothing\n", false},
}

func TestPlainYAML(t *testing.T) {
	for _, tt := range plainDocuments {
		if got := agree(t, chunk{line: 7, text: []byte(tt.text)}); got != tt.want {
			t.Errorf("%q: taken %t, want %t", tt.text, got, tt.want)
		}
	}
}

// Lines of all kinds below each other, mostly nonsense: what is taken is read as the
// parser reads it.
func TestPlainYAMLOnRandomLines(t *testing.T) {
	pieces := []string{
		"a:", "b:", "c: d", "a: b", "e: 1", "-", "- a", "- b: c", "- - a", "- - b: c", "-  d: e", "- a:", "#", " # x", "", "f: 'g'", "h: \"i\" # j", "k: {}", "- []",
		"l: m # n", "a: b#c", "o: p: q", "- {}", "'r'", "s", "t: -u", "- -v", "w: ~", "null:", "x: |", "1.2.3.4: y", "z: 0x1", "a:  b ", "- c:  # d", "a: ''", "- \"\"", "a: @b", "a: %b", "a: ,b", "a: ?b", "a: :b", "a: (b) [c]", "a: b: ", "a : b",
		"---", "...", "a: 1_0", "a: 2026-01-01", "a: 1:2", "a: +.inf", "a: 0o7", "a: 1e3", "a: =", "a: <<", "- ?", "- !x", "a: b 'c' \"d\"", "a: b'", "a: 'b", "c'", "c' # d", "d: \"e", "f\"", "g h", "- 'i", "x: |-", "- |", "a/b.c_d: e",
	}
	taken := 0
	for seed := range uint64(60_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var text strings.Builder
		indent := 0
		for range 1 + r.IntN(7) {
			switch r.IntN(6) {
			case 0:
				indent = r.IntN(6)
			case 1:
				indent += 2
			case 2:
				indent = max(indent-2, 0)
			}
			fmt.Fprintf(&text, "%*s%s\n", indent, "", pieces[r.IntN(len(pieces))])
		}
		for _, c := range splitYAML([]byte(text.String())) {
			if agree(t, c) {
				taken++
			}
		}
	}
	if taken < 5000 {
		t.Errorf("only %d documents were taken", taken)
	}
}

func FuzzPlainYAML(f *testing.F) {
	for _, tt := range plainDocuments {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range splitYAML(data) {
			if len(c.text) < 1<<12 && invalidUTF8(c.text) < 0 {
				agree(t, c)
			}
		}
	})
}
