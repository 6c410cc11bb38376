package names

import (
	"net/netip"
	"time"
)

// Known is an address of a name.
type Known struct {
	Name string
	Addr netip.Addr
	// Since is when an answer brought it first. Until is when it expires or, if it has
	// and a connection uses it, when that is asked again.
	Since, Until time.Time
}

// Names returns all that is known, sorted by name and address.
func (t *Table) Names() []Known {
	var out []Known
	for _, e := range t.known() {
		for _, r := range e.records {
			out = append(out, e.known(r))
		}
	}
	return out
}

func (e *entry) known(r record) Known {
	return Known{Name: e.name, Addr: r.key.addr(), Since: r.since.time(), Until: r.until.time()}
}

// Sources returns the names that bring an address, sorted: those of a pattern, or all
// of them for the zero Pattern.
func (t *Table) Sources(p Pattern, a netip.Addr) []Known {
	if !a.IsValid() {
		return nil
	}
	u := t.patterns[p]
	k := keyOf(a.Unmap())
	var out []Known
	for _, e := range t.known() {
		if p.isValid() && (u == nil || !e.of(u)) {
			continue
		}
		if i, ok := e.find(k); ok {
			out = append(out, e.known(e.records[i]))
		}
	}
	return out
}

// PatternsOf returns the patterns that a name is counted for, sorted.
func (t *Table) PatternsOf(name string) []Pattern {
	e := t.names[name]
	if e == nil {
		return nil
	}
	var out []Pattern
	for _, p := range t.trie.match(name) {
		if e.of(p) {
			out = append(out, p.Pattern)
		}
	}
	return out
}

// Size is how much is known.
type Size struct {
	Patterns, Names int
	// Addresses are those of all names; one of two names counts twice.
	Addresses int
}

// Size returns how much is known.
func (t *Table) Size() Size {
	s := Size{Patterns: len(t.patterns), Names: len(t.names)}
	for _, e := range t.names {
		s.Addresses += len(e.records)
	}
	return s
}
