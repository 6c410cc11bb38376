package selector

import (
	"strconv"
	"strings"
)

// Parse parses a selector. The empty text, or one of white space only, is
// all(). The error is always an *Error.
//
// The grammar, with '!' binding tightest and '||' loosest:
//
//	or    = and  { "||" and }
//	and   = unary { "&&" unary }
//	unary = { "!" } ( "(" or ")" | term )
//	term  = "all" "(" ")" | "global" "(" ")" | "has" "(" key ")"
//	      | key ( "==" | "!=" | "contains" | "starts" "with" | "ends" "with" ) value
//	      | key [ "not" ] "in" "{" [ value { "," value } [ "," ] ] "}"
//	key   = 1 or more of A–Z a–z 0–9 . _ - /
//	value = "'" text without "'" "'" | '"' text without '"' '"'
//
// White space may stand between any two of these and may be left out where
// the words stay apart; "not in", "starts with" and "ends with" may also be
// written as one word. The words are no reserved keys: `in == 'x'` is about a
// label named in. A value cannot contain control characters.
func Parse(s string) (*Selector, error) {
	if len(s) > MaxLength {
		return nil, &Error{MaxLength + 1, "the selector is " + strconv.Itoa(len(s)) + " bytes long; the limit is " + strconv.Itoa(MaxLength)}
	}
	p := parser{lexer: lexer{input: s}, builder: newBuilder()}
	defer p.release()
	p.advance()
	if p.token.kind == tokenEnd {
		return all, nil
	}
	if quotes := strings.Count(s, "'") + strings.Count(s, `"`); quotes > 1 {
		p.values = make([]string, 0, quotes/2)
	}
	if !p.or(false, 0) {
		return nil, p.err
	}
	if p.token.kind != tokenEnd {
		p.afterTerm()
		return nil, p.err
	}
	return p.build(s), nil
}

// parser is a recursive descent whose methods append canonical trees to the
// builder. They return false once err is set. The parameter negated is
// whether an odd number of '!' stands before what is parsed, so that the tree
// is built with its negations on the leaves. Depth is how many parentheses
// and '!' enclose it.
type parser struct {
	lexer
	*builder
	token token // the next one, not yet consumed
	last  token // the one before
	// values is where the values of leaves are taken from; its capacity
	// suffices for the whole text.
	values []string
}

func (p *parser) advance() {
	p.last = p.token
	p.token = p.next()
}

func (p *parser) or(negated bool, depth int) bool {
	base := len(p.nodes)
	if !p.and(negated, depth) {
		return false
	}
	if p.token.kind != tokenOr {
		return true
	}
	for p.token.kind == tokenOr {
		p.advance()
		if !p.and(negated, depth) {
			return false
		}
	}
	if negated {
		p.group(opAnd, base)
	} else {
		p.group(opOr, base)
	}
	return true
}

func (p *parser) and(negated bool, depth int) bool {
	base := len(p.nodes)
	if !p.unary(negated, depth) {
		return false
	}
	if p.token.kind != tokenAnd {
		return true
	}
	for p.token.kind == tokenAnd {
		p.advance()
		if !p.unary(negated, depth) {
			return false
		}
	}
	if negated {
		p.group(opOr, base)
	} else {
		p.group(opAnd, base)
	}
	return true
}

func (p *parser) unary(negated bool, depth int) bool {
	for p.token.kind == tokenNot {
		if !p.deeper(&depth) {
			return false
		}
		negated = !negated
		p.advance()
	}
	switch p.token.kind {
	case tokenWord:
		return p.term(negated)
	case tokenOpen:
		if !p.deeper(&depth) {
			return false
		}
		open := p.token
		p.advance()
		if !p.or(negated, depth) {
			return false
		}
		if p.token.kind == tokenEnd {
			return p.fail(p.token, "no ')' for the '(' at "+strconv.Itoa(open.from+1))
		}
		if p.token.kind != tokenClose {
			return p.afterTerm()
		}
		p.advance()
		return true
	case tokenValue:
		return p.expected("a label key", "; keys are written without quotes")
	}
	return p.expected("a label key, 'has(', 'all()', 'global()', '!' or '('", "")
}

// deeper counts one more enclosing parenthesis or '!'.
func (p *parser) deeper(depth *int) bool {
	if *depth++; *depth > MaxDepth {
		return p.fail(p.token, "parentheses and '!' nest more than "+strconv.Itoa(MaxDepth)+" deep")
	}
	return true
}

// term parses a function call or a condition on a label.
func (p *parser) term(negated bool) bool {
	word := p.token
	p.advance()
	o := opIn
	switch p.token.kind {
	case tokenOpen:
		return p.call(word.text, negated)
	case tokenEqual:
	case tokenNotEqual:
		negated = !negated
	case tokenWord:
		switch p.token.text {
		case "in":
			return p.set(word.text, negated)
		case "notin":
			return p.set(word.text, !negated)
		case "not":
			p.advance()
			if p.token.kind != tokenWord || p.token.text != "in" {
				return p.expected("'in'", "")
			}
			return p.set(word.text, !negated)
		case "contains":
			o = opContains
		case "startswith":
			o = opStarts
		case "endswith":
			o = opEnds
		case "starts", "ends":
			if o = opStarts; p.token.text == "ends" {
				o = opEnds
			}
			p.advance()
			if p.token.kind != tokenWord || p.token.text != "with" {
				return p.expected("'with'", "")
			}
		default:
			return p.expectedOperator(word.text)
		}
	default:
		return p.expectedOperator(word.text)
	}
	p.advance()
	if p.token.kind != tokenValue {
		return p.expectedValue()
	}
	p.values = append(p.values, p.token.text)
	p.advance()
	at := len(p.values) - 1
	p.leaf(o, negated, word.text, p.values[at:at+1:at+1])
	return true
}

// call parses a function call from its '(' on.
func (p *parser) call(name string, negated bool) bool {
	word := p.last
	p.advance()
	switch name {
	case "all", "global":
		if p.token.kind != tokenClose {
			return p.expected("')'", "; "+name+"() takes no argument")
		}
		if name == "all" {
			p.leaf(opAll, negated, "", nil)
		} else {
			p.leaf(opGlobal, negated, GlobalKey, nil)
		}
	case "has":
		if p.token.kind != tokenWord {
			hint := ""
			if p.token.kind == tokenValue {
				hint = "; keys are written without quotes"
			}
			return p.expected("a label key", hint)
		}
		key := p.token.text
		p.advance()
		if p.token.kind != tokenClose {
			return p.expected("')'", "")
		}
		p.leaf(opHas, negated, key, nil)
	default:
		return p.fail(word, "unknown function "+excerpt(name)+"; there are has(key), all() and global()")
	}
	p.advance()
	return true
}

// set parses what follows `key in`, its 'in' being the next token.
func (p *parser) set(key string, negated bool) bool {
	p.advance()
	if p.token.kind != tokenOpenSet {
		return p.expected("'{'", "")
	}
	p.advance()
	at := len(p.values)
	for p.token.kind == tokenValue {
		p.values = append(p.values, p.token.text)
		p.advance()
		if p.token.kind != tokenComma {
			break
		}
		p.advance()
	}
	if p.token.kind != tokenCloseSet {
		if p.last.kind == tokenValue {
			return p.expected("',' or '}'", "")
		}
		if p.last.kind == tokenOpenSet && p.token.kind != tokenWord {
			return p.expected("a value in quotes or '}'", "")
		}
		return p.expectedValue()
	}
	p.advance()
	values := sortedSet(p.values[at:])
	p.values = p.values[:at+len(values)]
	p.leaf(opIn, negated, key, values[:len(values):len(values)])
	return true
}

func (p *parser) fail(at token, msg string) bool {
	if p.err == nil {
		p.err = &Error{at.from + 1, msg}
	}
	return false
}

// expected reports that the next token is not what must stand here.
func (p *parser) expected(what, hint string) bool {
	msg := "expected " + what
	if p.last.to > 0 {
		msg += " after " + p.quoted(p.last)
	}
	if p.token.kind != tokenEnd {
		msg += ", found " + p.quoted(p.token)
	}
	return p.fail(p.token, msg+hint)
}

func (p *parser) expectedOperator(key string) bool {
	hint := ""
	switch {
	case key == "not" || key == "NOT":
		hint = "; negation is written '!'"
	case p.token.kind == tokenEnd || p.token.kind == tokenAnd || p.token.kind == tokenOr || p.token.kind == tokenClose:
		hint = "; write has(KEY) to ask whether a label is there"
	}
	return p.expected("'==', '!=', 'in', 'not in', 'contains', 'starts with' or 'ends with'", hint)
}

func (p *parser) expectedValue() bool {
	hint := ""
	if p.token.kind == tokenWord && len(p.token.text) <= excerptLength {
		hint = "; write '" + p.token.text + "'"
	}
	return p.expected("a value in quotes", hint)
}

// afterTerm reports that something other than an operator or the end follows a term.
func (p *parser) afterTerm() bool {
	hint := ""
	if p.token.kind == tokenWord {
		switch strings.ToLower(p.token.text) {
		case "and":
			hint = "; write '&&'"
		case "or":
			hint = "; write '||'"
		}
	}
	return p.expected("'&&', '||' or the end", hint)
}

// quoted is a token as errors name it.
func (p *parser) quoted(t token) string {
	text := p.input[t.from:t.to]
	switch {
	case t.kind == tokenWord || len(text) > excerptLength:
		return excerpt(text)
	case t.kind == tokenValue:
		return text
	}
	return "'" + text + "'"
}
