package iptables

import "testing"

// FuzzParseSet holds the reader of sets to never failing but by an error.
func FuzzParseSet(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 5, 0, 2, 0, 'x', 0, 0, 0})
	f.Add([]byte{0, 0})
	f.Add([]byte("0000\x05\x00000")) // a length that is not aligned
	f.Add([]byte{0, 0, 0, 0, 12, 0, 8, 0x80, 8, 0, 7, 0x80, 4, 0, 3, 0})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseSet(b) })
}
