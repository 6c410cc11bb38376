package manifests

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
)

// byteOrderMark is the mark in UTF-8.
var byteOrderMark = []byte("\ufeff")

// dropByteOrderMarks takes the marks off the beginnings of lines: each document of a
// stream may have one, as joined files do.
func dropByteOrderMarks(data []byte) []byte {
	data = bytes.TrimPrefix(data, byteOrderMark)
	inLine := append([]byte("\n"), byteOrderMark...)
	if !bytes.Contains(data, inLine) {
		return data
	}
	return bytes.ReplaceAll(data, inLine, []byte("\n"))
}

// decodeUTF16 turns UTF-16 text, which PowerShell writes, into UTF-8, and leaves other
// data as it is. UTF-16 has a byte order mark, or a first letter with a zero byte. It
// returns false for UTF-16 that is not valid or holds a NUL.
func decodeUTF16(data []byte) ([]byte, bool) {
	if len(data) < 2 {
		return data, true
	}
	order := unicode.LittleEndian
	switch {
	case data[0] == 0xff && data[1] == 0xfe, data[0] != 0 && data[1] == 0:
	case data[0] == 0xfe && data[1] == 0xff, data[0] == 0 && data[1] != 0:
		order = unicode.BigEndian
	default:
		return data, true
	}
	out, err := unicode.UTF16(order, unicode.UseBOM).NewDecoder().Bytes(data)
	if err != nil || bytes.ContainsAny(out, "\x00\uFFFD") { // the latter stands for half a letter
		return nil, false
	}
	return out, true
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or of the
// first NUL, or -1.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		if b[i] < utf8.RuneSelf {
			if b[i] == 0 {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}
