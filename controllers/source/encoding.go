package source

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
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
// data as it is. It is told by its byte order mark, or by a first letter with a
// zero byte. It returns false for UTF-16 that is not valid or holds a NUL.
func decodeUTF16(data []byte) ([]byte, bool) {
	if len(data) < 2 {
		return data, true
	}
	var order binary.ByteOrder
	switch {
	case data[0] == 0xff && data[1] == 0xfe, data[0] != 0 && data[1] == 0:
		order = binary.LittleEndian
	case data[0] == 0xfe && data[1] == 0xff, data[0] == 0 && data[1] != 0:
		order = binary.BigEndian
	default:
		return data, true
	}
	if len(data)%2 != 0 {
		return nil, false
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i += 2 {
		r := rune(order.Uint16(data[i:]))
		if utf16.IsSurrogate(r) {
			if i += 2; i >= len(data) {
				return nil, false
			}
			if r = utf16.DecodeRune(r, rune(order.Uint16(data[i:]))); r == utf8.RuneError {
				return nil, false
			}
		}
		if r == 0 {
			return nil, false
		}
		out = utf8.AppendRune(out, r)
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
