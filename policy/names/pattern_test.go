package names

import (
	"strings"
	"testing"
)

func TestParsePattern(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ in, want string }{
		{"api.example.com", "api.example.com"},
		{"API.Example.COM.", "api.example.com"},
		{"*.example.com", "*.example.com"},
		{"api.*.example.com", "api.*.example.com"},
		{"*.*.example.com", "*.*.example.com"},
		{"localhost", "localhost"},
		{"_sip.example.com", "_sip.example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"*.例え.jp", "*.xn--r8jz45g.jp"},
		{long + "." + long + "." + long + "." + long[:61], long + "." + long + "." + long + "." + long[:61]},
		{"r3---sn-a.example.com", "r3---sn-a.example.com"},
	} {
		p, err := ParsePattern(c.in)
		if err != nil || p.String() != c.want || !p.isValid() {
			t.Errorf("%q: %q, %v", c.in, p, err)
		}
		if again, err := ParsePattern(p.String()); err != nil || again != p {
			t.Errorf("%q again: %q, %v", p, again, err)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"", `domain "": a name is needed`},
		{".", "a name is needed"},
		{"*", "the last label cannot be *"},
		{"example.*", "the last label cannot be *"},
		{"*.", "the last label cannot be *"},
		{"api*.example.com", "* stands for whole labels only"},
		{"**.example.com", "* stands for whole labels only"},
		{"a..b", "a label is empty"},
		{".a", "a label is empty"},
		{"a.b..", "a label is empty"},
		{"-a.b", "begins or ends with -"},
		{"a-.b", "begins or ends with -"},
		{"a b.c", "no letter, digit, - or _"},
		{"a/b.c", "no letter, digit, - or _"},
		{"192.0.2.1", "it is an address: use nets"},
		{"2001:db8::1", "no letter, digit"},
		{"*.1", "it is an address"},
		{"a.b.5", "it is an address"},
		{long + "a.example", "more than 63 characters"},
		{long + "." + long + "." + long + "." + long[:62], "more than 253 characters"},
		{strings.Repeat("ü", 5000), "more than 253 characters"},
		{"xn--a.example", "label"}, // no valid A-label
		{"\xb3.example", "label"},  // no UTF-8
		{"a\u3002b", "no letter"},  // a full stop of another script inside of a label
	} {
		p, err := ParsePattern(c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || p.isValid() {
			t.Errorf("%q: %q, %v; want %q", c.in, p, err, c.want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct{ pattern, yes, no string }{
		{"example.com", "example.com", "www.example.com com xexample.com example.co"},
		{"*.example.com", "a.example.com b.a.example.com", "example.com aexample.com a.example.com.org"},
		{"a.*.com", "a.b.com a.b.c.com", "a.com b.c.com x.a.b.com"},
		{"*.a.*.com", "x.a.y.com x.x.a.y.com x.a.y.z.com a.a.a.com", "a.y.com x.a.com x.b.y.com"},
		{"*.*.com", "a.b.com a.b.c.com", "a.com com"},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for name := range strings.FieldsSeq(c.yes) {
			if !p.Matches(name) {
				t.Errorf("%s does not match %s", p, name)
			}
		}
		for name := range strings.FieldsSeq(c.no) {
			if p.Matches(name) {
				t.Errorf("%s matches %s", p, name)
			}
		}
	}
	if (Pattern{}).Matches("") || (Pattern{}).Matches("a") || (Pattern{}).Wildcard() {
		t.Error("the zero Pattern matches")
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"A.Example.COM.": "a.example.com", "a": "a", "_x.y": "_x.y", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"": "", ".": "", "a..b": "", "a b": "", "a\x00.b": "", "*.b": "", "\u212a.example": "", // the Kelvin sign is no k
		strings.Repeat("a", 64): "", strings.Repeat("a.", 127) + "a": "",
	} {
		if got, ok := Canonical(in); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}

// FuzzPattern: what is read has one form, and matches by the trie as by the definition.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"api.example.com", "*.example.com", "a.*.b.*.c", "BÜCHER.example.", "*.*.x"} {
		f.Add(s, "a.b.example.com")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		if again, err := ParsePattern(p.String()); err != nil || again != p {
			t.Errorf("%q → %q → %q, %v", s, p, again, err)
		}
		if !p.Wildcard() {
			if c, ok := Canonical(p.String()); !ok || c != p.String() {
				t.Errorf("%q is no canonical name", p)
			}
		}
		if c, ok := Canonical(name); ok && strings.Count(p.String(), star) < 5 { // the definition takes long
			if got, want := p.Matches(c), slowMatch(strings.Split(p.String(), "."), strings.Split(c, ".")); got != want {
				t.Errorf("%s matches %s: %v, want %v", p, c, got, want)
			}
		}
	})
}

// slowMatch is the definition.
func slowMatch(pattern, name []string) bool {
	switch {
	case len(pattern) == 0 || len(name) == 0:
		return len(pattern) == len(name)
	case pattern[0] == star:
		return slowMatch(pattern[1:], name[1:]) || slowMatch(pattern, name[1:])
	}
	return pattern[0] == name[0] && slowMatch(pattern[1:], name[1:])
}
