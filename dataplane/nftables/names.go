package nftables

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// TableName is the name of the table, of family inet.
const TableName = "tierwall"

const tableComment = "Tierwall network policy; kept by the Tierwall agent"

// maxComment is what nft takes as a comment, in bytes, less the tag of rules.
const maxComment = 127 - len(" #") - tagLen

// tagLen is the length of the tag that ends a rule's comment and tells one
// rule's text from another's.
const tagLen = 6

var base32lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// hash is a short name for a content, 80 bits.
func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base32lower.EncodeToString(sum[:10])
}

// clean makes any text one that nft takes between quotes, of at most n bytes.
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

// tagged is the comment that a rule bears in the kernel: what it is for people,
// and a tag by which a changed rule is known without reading it.
func (r rule) tagged() string {
	tag := "#" + hash(r.text)[:tagLen]
	if r.comment == "" {
		return tag
	}
	return clean(r.comment, maxComment) + " " + tag
}
