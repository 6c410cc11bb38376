package dataplane

import "strings"

// Hash is a short name for a content, for backends: 80 bits in 16 letters and
// digits that every kernel takes.
func Hash(parts ...string) string { return hashID(strings.Join(parts, "\x00")) }

// Plain makes any text one of at most n bytes that stands between double quotes
// in what nft and iptables-restore read.
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
