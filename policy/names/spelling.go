package names

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// Bounds of a name in its textual form, which has no trailing dot.
const (
	MaxNameLength  = 253
	maxLabelLength = 63
)

// toASCII maps what people write to what is asked for: case, width and composition of
// characters, and other scripts to A-labels. What remains is checked by checkLabel:
// names with _ and with several - in a row are asked for, whatever the standard says.
var toASCII = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false), idna.CheckHyphens(false))

// Canonical returns the form of a name by which answers are compared: lower case, no
// trailing dot. It reports false for what is no name of a host: labels that are empty,
// too long, or hold anything but letters, digits, - and _.
func Canonical(name string) (string, bool) {
	name = lower(strings.TrimSuffix(name, "."))
	if name == "" || len(name) > MaxNameLength {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if checkLabel(label) != nil {
			return "", false
		}
	}
	return name, true
}

// lower is strings.ToLower for ASCII alone: other letters must not become ASCII ones.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

var errEmptyLabel = errors.New("a label is empty")

func checkLabel(label string) error {
	switch {
	case label == "":
		return errEmptyLabel
	case len(label) > maxLabelLength:
		return fmt.Errorf("label %q has more than %d characters", label, maxLabelLength)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("label %q begins or ends with -", label)
	}
	for i := range len(label) {
		if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("label %q holds a character that is no letter, digit, - or _", label)
		}
	}
	return nil
}

// isAddress reports whether a name is one that resolvers take for an address.
func isAddress(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(last, "0123456789") == ""
}
