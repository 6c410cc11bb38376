// Package naming makes names and comments that every kernel and every tool for
// its tables takes: nftables, iptables and ipset have limits of their own for
// both.
package naming

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Hash is a short name for a content: 80 bits of its SHA-256 in 16 lower-case
// letters and digits.
func Hash(parts ...string) string { return Digest(sha256.Sum256([]byte(strings.Join(parts, "\x00")))) }

// Digest is the name that Hash gives to the content of a SHA-256 digest.
func Digest(sum [sha256.Size]byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]))
}

// Plain makes any text one of at most n bytes that stands between double quotes
// in what nft and iptables-restore read: printable ASCII, without quotes and
// backslashes.
func Plain(s string, n int) string {
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
