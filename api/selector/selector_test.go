package selector

import "testing"

func TestCanonicalText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "all()"},
		{"!!!has(a)", "!has(a)"},
		{"a=='x'||a=='y'", "a in {'x', 'y'}"},
	} {
		s, err := Parse(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if s.String() != c.want {
			t.Errorf("Parse(%q) = %s, want %s", c.in, s, c.want)
		}
	}
}
