package names

import (
	"cmp"
	"container/heap"
	"container/list"
	"net/netip"
	"slices"
	"time"
)

// Options of a Table. A field that is 0 has the default that its comment names; a
// negative duration is none.
type Options struct {
	// MaxNames that are known at a time; 10,000.
	MaxNames int
	// MaxAddressesPerName; 1,000.
	MaxAddressesPerName int
	// MaxNamesPerWildcard is how many names a pattern with * has at a time; 1,024.
	MaxNamesPerWildcard int
	// MinTTL and MaxTTL bound the time to live that an answer says; 10 s and 1 h.
	MinTTL, MaxTTL time.Duration
	// ExtraTTL is added to it, for clients that keep answers longer; 120 s.
	ExtraTTL time.Duration
	// Refuse reports whether no answer may bring an address, as one that is internal.
	// nil: none.
	Refuse func(netip.Addr) bool
	// InUse reports whether a connection to an address goes on. Such an address does
	// not expire and makes no room for others. nil: none.
	InUse func(netip.Addr) bool
}

// Defaults of Options.
const (
	DefaultMaxNames            = 10_000
	DefaultMaxAddressesPerName = 1_000
	DefaultMaxNamesPerWildcard = 1_024
	DefaultMinTTL              = 10 * time.Second
	DefaultMaxTTL              = time.Hour
	DefaultExtraTTL            = 120 * time.Second
)

func (o Options) withDefaults() Options {
	o.MaxNames = cmp.Or(o.MaxNames, DefaultMaxNames)
	o.MaxAddressesPerName = cmp.Or(o.MaxAddressesPerName, DefaultMaxAddressesPerName)
	o.MaxNamesPerWildcard = cmp.Or(o.MaxNamesPerWildcard, DefaultMaxNamesPerWildcard)
	o.MinTTL = max(0, cmp.Or(o.MinTTL, DefaultMinTTL))
	o.MaxTTL = max(o.MinTTL, cmp.Or(o.MaxTTL, DefaultMaxTTL))
	o.ExtraTTL = max(0, cmp.Or(o.ExtraTTL, DefaultExtraTTL))
	none := func(netip.Addr) bool { return false }
	if o.Refuse == nil {
		o.Refuse = none
	}
	if o.InUse == nil {
		o.InUse = none
	}
	return o
}

// Table is what is known of the names that patterns in use match. It is not safe for
// concurrent use. Make it with New.
type Table struct {
	opts     Options
	patterns map[Pattern]*pattern
	wild     []*pattern // those of patterns with *, sorted
	trie     *trie
	names    map[string]*entry
	agenda   agenda
	// changed are patterns with a delta that was not taken, those no longer in use among them.
	changed map[*pattern]struct{}
	// gone is how many addresses in deltas that were not taken have gone.
	gone int
}

// pattern is one that is in use.
type pattern struct {
	Pattern
	wild bool // Wildcard()
	refs int
	// order has the names of a wildcard, the one that was answered longest ago first.
	order list.List
	// counts is by how many names of a wildcard an address is brought.
	counts map[key]uint16
	// pending is what has become of addresses since Deltas: true if they have come.
	pending map[netip.Addr]bool
}

// New returns an empty Table.
func New(o Options) *Table {
	o = o.withDefaults()
	o.MaxNamesPerWildcard = min(o.MaxNamesPerWildcard, 1<<16-1) // counts are that large
	return &Table{opts: o, patterns: map[Pattern]*pattern{}, trie: newTrie(), names: map[string]*entry{}, changed: map[*pattern]struct{}{}}
}

// Use takes a reference to a pattern. From the first one on, answers for names that it
// matches are learnt; names that are known already for other patterns are its own at once.
func (t *Table) Use(p Pattern) {
	if !p.isValid() {
		return
	}
	if known := t.patterns[p]; known != nil {
		known.refs++
		return
	}
	u := &pattern{Pattern: p, wild: p.Wildcard(), refs: 1, counts: map[key]uint16{}}
	for old := range t.changed { // at most one: it has been released and not been told of
		if old.Pattern == p {
			u.pending = old.pending
			delete(t.changed, old)
			t.changed[u] = struct{}{}
		}
	}
	t.patterns[p] = u
	t.trie.add(u)
	if !u.wild {
		if e := t.names[p.text]; e != nil {
			t.join(e, u)
		}
		return
	}
	t.wild = append(t.wild, u)
	slices.SortFunc(t.wild, func(a, b *pattern) int { return comparePatterns(a.Pattern, b.Pattern) })
	for _, e := range t.known() {
		if slices.Contains(t.trie.match(e.name), u) {
			t.join(e, u)
		}
	}
}

// Release gives a reference back. With the last one the pattern's addresses go, and
// names that no other pattern matches are forgotten.
func (t *Table) Release(p Pattern) {
	u := t.patterns[p]
	if u == nil {
		return
	}
	if u.refs--; u.refs > 0 {
		return
	}
	delete(t.patterns, p)
	t.trie.remove(p)
	if !u.wild {
		if e := t.names[p.text]; e != nil {
			t.leave(e, u)
		}
		return
	}
	t.wild = slices.DeleteFunc(t.wild, func(w *pattern) bool { return w == u })
	for at := u.order.Front(); at != nil; at = u.order.Front() {
		e, _ := at.Value.(*entry)
		t.leave(e, u)
	}
}

// Patterns returns the patterns in use, sorted.
func (t *Table) Patterns() []Pattern {
	out := make([]Pattern, 0, len(t.patterns))
	for p := range t.patterns {
		out = append(out, p)
	}
	slices.SortFunc(out, comparePatterns)
	return out
}

func comparePatterns(a, b Pattern) int { return a.Compare(b) }

// known returns all names, sorted.
func (t *Table) known() []*entry {
	out := make([]*entry, 0, len(t.names))
	for _, e := range t.names {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *entry) int { return cmp.Compare(a.name, b.name) })
	return out
}

// join makes a name one of a pattern, if there is room.
func (t *Table) join(e *entry, p *pattern) bool {
	if !p.wild {
		e.exact = p
	} else {
		if p.order.Len() >= t.opts.MaxNamesPerWildcard && !t.makeRoomIn(p) {
			return false
		}
		e.wild = append(e.wild, place{p, p.order.PushBack(e)})
		slices.SortFunc(e.wild, func(a, b place) int { return comparePatterns(a.pattern.Pattern, b.pattern.Pattern) })
	}
	for _, r := range e.records {
		t.gain(p, r.key)
	}
	return true
}

// leave takes a name from a pattern. One that is of no pattern then is forgotten.
func (t *Table) leave(e *entry, p *pattern) {
	if e.exact == p {
		e.exact = nil
	} else {
		i := slices.IndexFunc(e.wild, func(w place) bool { return w.pattern == p })
		p.order.Remove(e.wild[i].at)
		e.wild = slices.Delete(e.wild, i, i+1)
	}
	for _, r := range e.records {
		t.lose(p, r.key)
	}
	if e.exact == nil && len(e.wild) == 0 {
		t.remove(e)
	}
}

// forget takes a name from all its patterns.
func (t *Table) forget(e *entry) {
	for len(e.wild) > 0 {
		t.leave(e, e.wild[len(e.wild)-1].pattern)
	}
	if e.exact != nil {
		t.leave(e, e.exact)
	}
}

func (t *Table) remove(e *entry) {
	delete(t.names, e.name)
	heap.Remove(&t.agenda, e.index)
}
