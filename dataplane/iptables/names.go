package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// What all names of ours begin with. The kernel takes 28 bytes of a chain's name
// and 31 of a set's.
const (
	chainPrefix = "TW-"
	setPrefix   = "tw-"
)

// What the kernel takes of a comment and of a log prefix, in bytes.
const (
	maxComment = 255
	maxPrefix  = 63
)

// tagLen is the length of the tag that ends a rule's comment and tells one
// rule's text from another's.
const tagLen = 6

var base32lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// hash is a short name for a content: 80 bits in 16 letters.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base32lower.EncodeToString(sum[:10])
}

// clean makes any text one that iptables-restore takes between quotes, of at most n bytes.
func clean(s string, n int) string {
	b := make([]byte, 0, min(len(s), n))
	for i := 0; i < len(s) && len(b) < n; i++ {
		switch c := s[i]; {
		case c == '"':
			b = append(b, '\'')
		case c == '\\':
			b = append(b, '/')
		case c < ' ' || c > '~':
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// versionName is the kernel's name for a version of a set, from 0.
func versionName(key string, version int) string {
	return fmt.Sprintf("%s%s-%d", setPrefix, key, version)
}

// keyOf is the key of a set by its name. Names that are not of our making have none.
func keyOf(name string) (string, bool) {
	i := strings.LastIndexByte(name, '-')
	if !strings.HasPrefix(name, setPrefix) || i < len(setPrefix) {
		return "", false
	}
	return name[len(setPrefix):i], true
}
