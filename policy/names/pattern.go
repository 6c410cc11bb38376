package names

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// star is the label that stands for one or more.
const star = "*"

// Pattern is a name or, with * for one or more whole labels, many names. Its zero
// value matches nothing. Patterns are comparable: equal ones match the same names.
type Pattern struct{ text string }

// ParsePattern reads a pattern as people write it. Upper case, other scripts and a
// trailing dot are taken, and are no part of what it returns. It refuses addresses, *
// as a part of a label, and * as the last label, which would match all names of a kind.
func ParsePattern(s string) (Pattern, error) {
	text, err := canonicalPattern(s)
	if err != nil {
		return Pattern{}, fmt.Errorf("domain %q: %w", s, err)
	}
	return Pattern{text}, nil
}

var (
	errNoName   = errors.New("a name is needed")
	errAddress  = errors.New("it is an address: use nets")
	errStarLast = errors.New("the last label cannot be *")
	errStarPart = errors.New("* stands for whole labels only")
	errTooLong  = fmt.Errorf("it has more than %d characters", MaxNameLength)
)

func canonicalPattern(s string) (string, error) {
	if len(s) > 4*MaxNameLength { // no form of it could be short enough
		return "", errTooLong
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return "", errNoName
	}
	labels := strings.Split(s, ".")
	for i, label := range labels {
		switch {
		case label == star && i == len(labels)-1:
			return "", errStarLast
		case label == star:
			continue
		case strings.Contains(label, star):
			return "", errStarPart
		}
		ascii, err := toASCII.ToASCII(label)
		if err == nil { // what is no UTF-8 is mapped to something that is refused
			_, err = toASCII.ToASCII(ascii)
		}
		if err != nil {
			return "", fmt.Errorf("label %q: %w", label, err)
		}
		if err := checkLabel(ascii); err != nil {
			return "", err
		}
		labels[i] = ascii
	}
	text := strings.Join(labels, ".")
	switch {
	case len(text) > MaxNameLength:
		return "", errTooLong
	case isAddress(text):
		return "", errAddress
	}
	return text, nil
}

// String returns the pattern in its one form: lower case, A-labels, no trailing dot.
func (p Pattern) String() string { return p.text }

// MarshalText makes patterns strings in JSON and YAML.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText reads what MarshalText writes, and what ParsePattern takes.
func (p *Pattern) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*p = Pattern{}
		return nil
	}
	got, err := ParsePattern(string(b))
	if err == nil {
		*p = got
	}
	return err
}

// Compare orders patterns by their text.
func (p Pattern) Compare(o Pattern) int { return cmp.Compare(p.text, o.text) }

// isValid reports whether the pattern is one that ParsePattern has returned.
func (p Pattern) isValid() bool { return p.text != "" }

// Wildcard reports whether the pattern can match more than one name.
func (p Pattern) Wildcard() bool {
	return strings.HasPrefix(p.text, "*.") || strings.Contains(p.text, ".*.")
}

// InnerWildcard reports whether the pattern has a * that is not its first label.
func (p Pattern) InnerWildcard() bool { return strings.Contains(p.text, ".*.") }

// Matches reports whether the pattern matches a name in the form of Canonical.
func (p Pattern) Matches(name string) bool {
	if p.text == "" || name == "" {
		return false
	}
	if !p.Wildcard() {
		return p.text == name
	}
	t := newTrie()
	t.add(&pattern{Pattern: p})
	return len(t.match(name)) > 0
}
