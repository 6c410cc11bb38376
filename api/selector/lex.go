package selector

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd   tokenKind = iota
	tokenError           // lexer.err is set
	tokenWord            // a label key or a word of the language: which, the place decides
	tokenValue           // a quoted string; text is what is between the quotes
	tokenEqual
	tokenNotEqual
	tokenNot
	tokenAnd
	tokenOr
	tokenOpen
	tokenClose
	tokenOpenSet
	tokenCloseSet
	tokenComma
)

// token is a piece of the text.
type token struct {
	kind     tokenKind
	from, to int    // bytes of the input, quotes included
	text     string // of words and values
}

// keyByte has the bytes of which keys and words are made.
var keyByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "._-/" {
		t[c] = true
	}
	return t
}()

// lexer cuts a text into tokens, one at a time.
type lexer struct {
	input string
	pos   int
	err   *Error
}

func (x *lexer) next() token {
	in := x.input
	i := x.pos
	for i < len(in) && (in[i] == ' ' || in[i] >= '\t' && in[i] <= '\r') {
		i++
	}
	if i == len(in) {
		x.pos = i
		return token{kind: tokenEnd, from: i, to: i}
	}
	from := i
	one := func(kind tokenKind, length int) token {
		x.pos = from + length
		return token{kind: kind, from: from, to: x.pos}
	}
	follows := func(c byte) bool { return from+1 < len(in) && in[from+1] == c }
	switch c := in[i]; {
	case keyByte[c]:
		for i++; i < len(in) && keyByte[in[i]]; i++ {
		}
		x.pos = i
		return token{kind: tokenWord, from: from, to: i, text: in[from:i]}
	case c == '\'' || c == '"':
		return x.value(from)
	case c == '=' && follows('='):
		return one(tokenEqual, 2)
	case c == '!' && follows('='):
		return one(tokenNotEqual, 2)
	case c == '!':
		return one(tokenNot, 1)
	case c == '&' && follows('&'):
		return one(tokenAnd, 2)
	case c == '|' && follows('|'):
		return one(tokenOr, 2)
	case c == '(':
		return one(tokenOpen, 1)
	case c == ')':
		return one(tokenClose, 1)
	case c == '{':
		return one(tokenOpenSet, 1)
	case c == '}':
		return one(tokenCloseSet, 1)
	case c == ',':
		return one(tokenComma, 1)
	}
	return x.reject(from, unexpected(in[from:]))
}

// value reads the quoted string that starts at from.
func (x *lexer) value(from int) token {
	length := strings.IndexByte(x.input[from+1:], x.input[from])
	if length < 0 {
		return x.reject(from, "no closing "+x.input[from:from+1]+" for the value that starts here")
	}
	text := x.input[from+1 : from+1+length]
	if bad := badValueByte(text); bad >= 0 {
		return x.reject(from+1+bad, "a value cannot contain "+describe(text[bad:]))
	}
	x.pos = from + length + 2
	return token{kind: tokenValue, from: from, to: x.pos, text: text}
}

func (x *lexer) reject(at int, msg string) token {
	x.err = &Error{Pos: at + 1, Msg: msg}
	return token{kind: tokenError, from: at, to: at}
}

// unexpected describes the error of a character that starts no token.
func unexpected(rest string) string {
	switch c := rest[0]; c {
	case '=':
		return "expected '==', found a single '='"
	case '&':
		return "expected '&&', found a single '&'"
	case '|':
		return "expected '||', found a single '|'"
	case ':':
		return "unexpected ':'; a label key has letters, digits, '.', '_', '-' and '/' only"
	}
	for _, quote := range []string{"‘", "’", "“", "”", "`"} {
		if strings.HasPrefix(rest, quote) {
			return "unexpected " + describe(rest) + "; a value is written between ' or \""
		}
	}
	return "unexpected " + describe(rest)
}

// describe names the character that s starts with.
func describe(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size == 1 {
		return fmt.Sprintf("byte %#x, which is not UTF-8", s[0])
	}
	return "character " + strconv.QuoteRuneToASCII(r)
}
