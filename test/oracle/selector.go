package oracle

import (
	"fmt"
	"strings"
)

// labels is what a selector is evaluated against. Global says whether the owner
// of the labels is outside every namespace.
type labels struct {
	values map[string]string
	global bool
}

// get looks a key up; the old spellings of the implicit labels mean the new ones.
func (l labels) get(key string) (string, bool) {
	switch key {
	case "projectcalico.org/namespace", "projectcalico.org/name",
		"projectcalico.org/orchestrator", "projectcalico.org/serviceaccount":
		key = "tierwall.io/" + strings.TrimPrefix(key, "projectcalico.org/")
	}
	v, ok := l.values[key]
	return v, ok
}

// expr is a selector that has been understood.
type expr struct {
	match func(labels) bool
	// global is true if global() occurs anywhere in it.
	global bool
	// namespaces is true if the label of namespaces occurs anywhere in it.
	namespaces bool
}

// parseSelector understands the grammar of DESIGN 4 by recursive descent. The
// empty selector matches all.
func parseSelector(text string) (expr, error) {
	p := &parser{rest: text}
	p.space()
	if p.rest == "" {
		return expr{match: func(labels) bool { return true }}, nil
	}
	m, err := p.or()
	if err != nil {
		return expr{}, err
	}
	if p.rest != "" {
		return expr{}, fmt.Errorf("%q is left over", p.rest)
	}
	return expr{match: m, global: p.global, namespaces: p.namespaces}, nil
}

type parser struct {
	rest               string
	global, namespaces bool
}

type matcher = func(labels) bool

func (p *parser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take eats a piece of punctuation and the space after it.
func (p *parser) take(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
		p.space()
	}
	return ok
}

func (p *parser) or() (matcher, error) {
	left, err := p.and()
	for err == nil && p.take("||") {
		a := left
		var b matcher
		b, err = p.and()
		left = func(l labels) bool { return a(l) || b(l) }
	}
	return left, err
}

func (p *parser) and() (matcher, error) {
	left, err := p.not()
	for err == nil && p.take("&&") {
		a := left
		var b matcher
		b, err = p.not()
		left = func(l labels) bool { return a(l) && b(l) }
	}
	return left, err
}

func (p *parser) not() (matcher, error) {
	if p.take("!") {
		m, err := p.not()
		return func(l labels) bool { return !m(l) }, err
	}
	if p.take("(") {
		m, err := p.or()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("no ) before %q", p.rest)
		}
		return m, err
	}
	return p.term()
}

// word eats a label key or a keyword.
func (p *parser) word() string {
	n := 0
	for n < len(p.rest) && (p.rest[n] >= 'a' && p.rest[n] <= 'z' || p.rest[n] >= 'A' && p.rest[n] <= 'Z' ||
		p.rest[n] >= '0' && p.rest[n] <= '9' || strings.IndexByte("-_./", p.rest[n]) >= 0) {
		n++
	}
	w := p.rest[:n]
	p.rest = p.rest[n:]
	p.space()
	return w
}

// name notes a label that the selector names.
func (p *parser) name(key string) {
	p.namespaces = p.namespaces || key == "tierwall.io/namespace" || key == "projectcalico.org/namespace"
}

func (p *parser) term() (matcher, error) {
	key := p.word()
	if key == "" {
		return nil, fmt.Errorf("no term at %q", p.rest)
	}
	if p.take("(") {
		return p.call(key)
	}
	p.name(key)
	if p.take("==") {
		v, err := p.text()
		return func(l labels) bool { got, ok := l.get(key); return ok && got == v }, err
	}
	if p.take("!=") {
		v, err := p.text()
		return func(l labels) bool { got, ok := l.get(key); return !ok || got != v }, err
	}
	switch op := p.word(); op {
	case "in":
		set, err := p.set()
		return func(l labels) bool { got, ok := l.get(key); return ok && set[got] }, err
	case "not":
		if p.word() != "in" {
			return nil, fmt.Errorf("no in after not")
		}
		set, err := p.set()
		return func(l labels) bool { got, ok := l.get(key); return !ok || !set[got] }, err
	case "contains":
		v, err := p.text()
		return func(l labels) bool { got, ok := l.get(key); return ok && strings.Contains(got, v) }, err
	case "starts", "ends":
		if p.word() != "with" {
			return nil, fmt.Errorf("no with after %s", op)
		}
		v, err := p.text()
		if op == "starts" {
			return func(l labels) bool { got, ok := l.get(key); return ok && strings.HasPrefix(got, v) }, err
		}
		return func(l labels) bool { got, ok := l.get(key); return ok && strings.HasSuffix(got, v) }, err
	}
	return nil, fmt.Errorf("no operator after %s", key)
}

func (p *parser) call(name string) (matcher, error) {
	arg := p.word()
	if !p.take(")") {
		return nil, fmt.Errorf("no ) before %q", p.rest)
	}
	switch {
	case name == "has" && arg != "":
		p.name(arg)
		return func(l labels) bool { _, ok := l.get(arg); return ok }, nil
	case name == "all" && arg == "":
		return func(labels) bool { return true }, nil
	case name == "global" && arg == "":
		p.global, p.namespaces = true, true
		return func(l labels) bool { return l.global }, nil
	}
	return nil, fmt.Errorf("no function %s(%s)", name, arg)
}

// text eats a string in single or double quotes.
func (p *parser) text() (string, error) {
	for _, quote := range []string{"'", `"`} {
		if rest, ok := strings.CutPrefix(p.rest, quote); ok {
			v, rest, ok := strings.Cut(rest, quote)
			if !ok {
				return "", fmt.Errorf("string without end")
			}
			p.rest = rest
			p.space()
			return v, nil
		}
	}
	return "", fmt.Errorf("no string at %q", p.rest)
}

func (p *parser) set() (map[string]bool, error) {
	if !p.take("{") {
		return nil, fmt.Errorf("no { at %q", p.rest)
	}
	set := map[string]bool{}
	for {
		v, err := p.text()
		if err != nil {
			return nil, err
		}
		set[v] = true
		if p.take("}") {
			return set, nil
		}
		if !p.take(",") {
			return nil, fmt.Errorf("no , or } at %q", p.rest)
		}
	}
}
