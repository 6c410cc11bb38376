package index

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// domains are the names that rules and network sets speak of, and what DNS answers
// have brought for them.
type domains struct {
	byPattern map[names.Pattern]*domain
	seq       uint64
	// byAddr is which of them have an address; more are those beside the first.
	byAddr map[[16]byte]*domain
	more   map[[16]byte][]*domain
	// lists are the sets of rules, by their names.
	lists map[string]*Set
	// turned are selectors that network sets with names have come to, or gone from.
	turned map[*sel]struct{}
	// dirty: which names local endpoints' rules speak of has to be gathered anew.
	dirty    bool
	reported []names.Pattern
	// endpoints are the local ones that have rules by name, as reported.
	endpoints map[model.Ref]struct{}
}

// domain is a name, or a pattern of names.
type domain struct {
	pattern names.Pattern
	id      uint64
	addrs   map[[16]byte]struct{}
	lists   []*Set    // sets of rules that have it
	holders []*Holder // network sets that have it
}

func newDomains() domains {
	return domains{
		byPattern: map[names.Pattern]*domain{}, byAddr: map[[16]byte]*domain{}, more: map[[16]byte][]*domain{},
		lists: map[string]*Set{}, turned: map[*sel]struct{}{}, endpoints: map[model.Ref]struct{}{},
	}
}

// domainsOf returns the domains of patterns, which are sorted and unique.
func (ix *Index) domainsOf(patterns []names.Pattern) []*domain {
	var out []*domain
	for _, p := range patterns {
		out = append(out, ix.domain(p))
	}
	return out
}

func (ix *Index) domain(p names.Pattern) *domain {
	d := ix.domains.byPattern[p]
	if d == nil {
		ix.domains.seq++
		d = &domain{pattern: p, id: ix.domains.seq, addrs: map[[16]byte]struct{}{}}
		ix.domains.byPattern[p] = d
	}
	return d
}

// forgetDomain forgets a domain that nothing has any more. What was learnt for it goes
// when ApplyNames says so.
func (ix *Index) forgetDomain(d *domain) {
	if len(d.lists)+len(d.holders)+len(d.addrs) == 0 && ix.domains.byPattern[d.pattern] == d {
		delete(ix.domains.byPattern, d.pattern)
	}
}

func patternsOf(list []*domain) []names.Pattern {
	var out []names.Pattern
	for _, d := range list {
		out = append(out, d.pattern)
	}
	return out
}

// ApplyNames takes in by what the addresses of names have changed, as names.Table.Deltas
// returns it. It has to be given each delta once, those of patterns that are no longer
// in use among them.
func (ix *Index) ApplyNames(deltas []names.Delta) {
	for i := range deltas {
		d := ix.domain(deltas[i].Pattern)
		for _, a := range deltas[i].Added {
			ix.changeName(d, a.Unmap(), 1)
		}
		for _, a := range deltas[i].Removed {
			ix.changeName(d, a.Unmap(), -1)
		}
		ix.forgetDomain(d)
	}
}

// changeName adds an address to a domain (n is 1) or takes it out (-1).
func (ix *Index) changeName(d *domain, a netip.Addr, n int) {
	k := a.As16()
	if _, there := d.addrs[k]; there == (n > 0) {
		return
	}
	if n > 0 {
		d.addrs[k] = struct{}{}
		ix.domains.add(k, d)
	} else {
		delete(d.addrs, k)
		ix.domains.remove(k, d)
	}
	m := Member{Prefix: single(a)}
	for _, s := range d.lists {
		if s.announced {
			ix.pend(s, m, n)
		}
	}
	for _, o := range d.holders {
		for _, x := range o.ls.matched {
			if s := x.sel.named; s != nil && s.announced {
				ix.pend(s, m, n)
			}
		}
	}
}

func (t *domains) add(k [16]byte, d *domain) {
	if t.byAddr[k] != nil {
		t.more[k] = append(t.more[k], d)
		return
	}
	t.byAddr[k] = d
}

func (t *domains) remove(k [16]byte, d *domain) {
	rest := t.more[k]
	switch {
	case t.byAddr[k] != d:
		rest = slices.DeleteFunc(rest, func(o *domain) bool { return o == d })
	case len(rest) == 0:
		delete(t.byAddr, k)
		return
	default:
		t.byAddr[k] = rest[len(rest)-1]
		rest = rest[:len(rest)-1]
	}
	if len(rest) == 0 {
		delete(t.more, k)
	} else {
		t.more[k] = rest
	}
}

// domainsWith returns the domains that have an address, sorted by number.
func (ix *Index) domainsWith(a netip.Addr) []*domain {
	k := a.As16()
	first := ix.domains.byAddr[k]
	if first == nil {
		return nil
	}
	out := append([]*domain{first}, ix.domains.more[k]...)
	slices.SortFunc(out, func(a, b *domain) int { return cmp.Compare(a.id, b.id) })
	return out
}

// NamesOf returns the patterns that rules or network sets have and that DNS answers have
// brought an address for, sorted.
func (ix *Index) NamesOf(a netip.Addr) []names.Pattern {
	if !a.IsValid() {
		return nil
	}
	out := patternsOf(ix.domainsWith(a.Unmap()))
	slices.SortFunc(out, names.Pattern.Compare)
	return out
}

// The sets of rules' lists of names.

// domainSet returns the set of what answers have brought for a list of names, and takes
// a reference to it.
func (ix *Index) domainSet(patterns []names.Pattern) *Set {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.String()
	}
	text := "domains " + strings.Join(texts, ", ")
	set := ix.domains.lists[text]
	if set == nil {
		set = newSet(ix, SetAddrs, text)
		set.domains = ix.domainsOf(patterns)
		for _, d := range set.domains {
			d.lists = append(d.lists, set)
		}
		ix.domains.lists[text] = set
		ix.domains.dirty = true
		ix.dirtySet(set)
	}
	set.refs++
	return set
}

func (ix *Index) releaseDomains(s *Set) {
	delete(ix.domains.lists, s.text)
	for _, d := range s.domains {
		d.lists = slices.DeleteFunc(d.lists, func(o *Set) bool { return o == s })
		ix.forgetDomain(d)
	}
	ix.domains.dirty = true
}

// bringing counts those of some domains that the set has.
func (s *Set) bringing(some []*domain) (n int) {
	for _, d := range some {
		if slices.Contains(s.domains, d) {
			n++
		}
	}
	return n
}

// LeftOut returns the names of the network sets that the set's selector matches where
// they do not count, sorted.
func (s *Set) LeftOut() []names.Pattern {
	if s.sel == nil || s.named {
		return nil
	}
	return s.sel.patterns()
}

// Bringing returns those of the set's names that DNS answers have brought an address for,
// sorted.
func (s *Set) Bringing(a netip.Addr) []names.Pattern {
	own := s.Patterns()
	return slices.DeleteFunc(s.ix.NamesOf(a), func(p names.Pattern) bool {
		_, found := slices.BinarySearchFunc(own, p, names.Pattern.Compare)
		return !found
	})
}

func membersOf(list []*domain) []Member {
	var out []Member
	for _, d := range list {
		d.each(func(p netip.Prefix) { out = append(out, Member{Prefix: p}) })
	}
	return sortMembers(out)
}

func (d *domain) each(visit func(netip.Prefix)) {
	for k := range d.addrs {
		visit(single(netip.AddrFrom16(k).Unmap()))
	}
}

// Names of network sets. Rules that allow, and those that log, have two sets for a
// selector that matches some: what others match by it has no names.

// Known reports whether DNS answers have brought any address for a name.
func (ix *Index) Known(p names.Pattern) bool {
	d := ix.domains.byPattern[p]
	return d != nil && len(d.addrs) > 0
}

// AddrsOf returns what DNS answers have brought for a name, sorted.
func (ix *Index) AddrsOf(p names.Pattern) []netip.Addr {
	d := ix.domains.byPattern[p]
	if d == nil {
		return nil
	}
	out := make([]netip.Addr, 0, len(d.addrs))
	for k := range d.addrs {
		out = append(out, netip.AddrFrom16(k).Unmap())
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// Patterns returns the names that rules of local endpoints speak of, as of the last
// Flush, sorted.
func (ix *Index) Patterns() []names.Pattern { return slices.Clone(ix.domains.reported) }

// ByName returns the local endpoints that have rules by name, as of the last Flush, sorted.
func (ix *Index) ByName() []model.Ref {
	return slices.SortedFunc(maps.Keys(ix.domains.endpoints), model.Ref.Compare)
}

// noteByName keeps the list of ByName up to date with an endpoint's effective policy, nil
// for an endpoint that is gone, and reports whether it is another list.
func (ix *Index) noteByName(r model.Ref, e *Effective) (changed bool) {
	_, was := ix.domains.endpoints[r]
	switch is := e.byName(); {
	case is == was:
		return false
	case is:
		ix.domains.endpoints[r] = struct{}{}
	default:
		delete(ix.domains.endpoints, r)
	}
	return true
}

// flushPatterns says which names have come into use, and which have gone out of it.
func (ix *Index) flushPatterns(d *Delta) {
	if !ix.domains.dirty {
		return
	}
	ix.domains.dirty = false
	var now []names.Pattern
	for p, x := range ix.domains.byPattern {
		if x.inUse() {
			now = append(now, p)
		}
	}
	slices.SortFunc(now, names.Pattern.Compare)
	before := ix.domains.reported
	without := func(list, of []names.Pattern) []names.Pattern {
		return slices.DeleteFunc(slices.Clone(list), func(p names.Pattern) bool {
			_, found := slices.BinarySearchFunc(of, p, names.Pattern.Compare)
			return found
		})
	}
	d.PatternsAdded, d.PatternsRemoved = without(now, before), without(before, now)
	ix.domains.reported = now
}

// inUse reports whether a rule of a local endpoint speaks of a domain.
func (d *domain) inUse() bool {
	return len(d.lists) > 0 || slices.ContainsFunc(d.holders, func(o *Holder) bool {
		return slices.ContainsFunc(o.ls.matched, func(m match) bool { return m.sel.named != nil })
	})
}
