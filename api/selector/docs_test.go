package selector

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The page about the language shows what the package does.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/selectors.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, m := range regexp.MustCompile("(?s)<!-- (\\w+) -->\n```\n(.*?)\n```").FindAllStringSubmatch(string(page), -1) {
		kind, lines := m[1], strings.Split(m[2], "\n")
		switch kind {
		case "selectors":
			for _, text := range lines {
				mustParse(t, text)
				seen[kind]++
			}
		case "errors":
			for i := 0; i+1 < len(lines); i += 2 {
				if _, err := Parse(lines[i]); err == nil || err.Error() != strings.TrimSpace(lines[i+1]) {
					t.Errorf("%s: %v, the page says %s", lines[i], err, lines[i+1])
				}
				seen[kind]++
			}
		case "canonical":
			for _, line := range lines {
				in, out, _ := strings.Cut(line, "   ")
				if s := mustParse(t, in); s.String() != strings.TrimSpace(out) {
					t.Errorf("%s is %s, the page says %s", in, s, strings.TrimSpace(out))
				}
				seen[kind]++
			}
		default:
			t.Errorf("unknown kind of block: %s", kind)
		}
	}
	if seen["selectors"] < 5 || seen["errors"] < 5 || seen["canonical"] < 5 {
		t.Errorf("blocks of the page: %v", seen)
	}
}
