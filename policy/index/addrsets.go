package index

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Set is a set of addresses and blocks (SetAddrs), or of addresses with protocol and
// port (SetAddrPorts). It exists while a policy that selects a local endpoint refers to
// it.
//
// Members are not stored: they follow from what matches the selector. Between two
// Flushes, the Set only keeps, for each affected member, by how much the number of its
// contributors has changed.
type Set struct {
	ix   *Index
	id   string
	kind SetKind
	text string

	sel  *sel   // of a set by selector
	port string // of a set of named ports
	svc  *service
	// domains are those of a set by names, sorted; named says that a set by selector
	// holds what answers have brought for the names of network sets too.
	domains []*domain
	named   bool

	refs      int
	announced bool // a Delta has reported of it
	dirty     bool // in ix.dirtySets
	pending   map[Member]int
	before    []Member // of a set by service: members as last reported
}

// ID is short, stable across processes, and derived from the definition of the set
// (selector, service, port name), not from its members.
func (s *Set) ID() string { return s.id }

// String is the definition in human-readable form: a selector in canonical form, the
// port NAME of a selector, or a service.
func (s *Set) String() string { return s.text }

// Selector returns the selector that defines the set, and the name of the port
// for a set of named ports. The selector is nil for the sets of services and of names.
func (s *Set) Selector() (sel *selector.Selector, port string) {
	if s.sel == nil {
		return nil, ""
	}
	return s.sel.s, s.port
}

// ByName reports whether members of the set are what DNS answers have brought.
func (s *Set) ByName() bool { return s.named || s.domains != nil }

// Patterns returns the names that bring members of the set, sorted; nil if none do.
func (s *Set) Patterns() []names.Pattern {
	if s.named {
		return s.sel.patterns()
	}
	return patternsOf(s.domains)
}

// Kind of the members.
func (s *Set) Kind() SetKind { return s.kind }

func newSet(ix *Index, kind SetKind, text string) *Set {
	sum := sha256.Sum256([]byte(text))
	id := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:10]))
	return &Set{ix: ix, id: id, kind: kind, text: text}
}

// Compare orders members by address, length, protocol and port.
func (m Member) Compare(o Member) int {
	return cmp.Or(m.Prefix.Compare(o.Prefix), cmp.Compare(m.Protocol, o.Protocol), cmp.Compare(m.Port, o.Port))
}

// addrSet returns the set of the addresses that a selector matches and takes a
// reference to it.
func (ix *Index) addrSet(s *sel) *Set {
	if s.addrs == nil {
		was := s.peer()
		s.addrs = newSet(ix, SetAddrs, s.canon)
		s.addrs.sel = s
		ix.dirtySet(s.addrs)
		if !was {
			ix.gainRole(s)
		}
	}
	s.addrs.refs++
	return s.addrs
}

// portSet returns the set of the ports with a name of endpoints that a selector
// matches, and takes a reference to it.
func (ix *Index) portSet(s *sel, name string) *Set {
	set := s.ports[name]
	if set == nil {
		was := s.peer()
		set = newSet(ix, SetAddrPorts, "port "+name+" of "+s.canon)
		set.sel, set.port = s, name
		if s.ports == nil {
			s.ports = map[string]*Set{}
		}
		s.ports[name] = set
		ix.dirtySet(set)
		if !was {
			ix.gainRole(s)
		}
	}
	set.refs++
	return set
}

// releaseSets returns references. Sets without any are dropped, and reported as gone.
func (ix *Index) releaseSets(sets []*Set) {
	for _, s := range sets {
		if s.refs--; s.refs > 0 {
			continue
		}
		if s.announced {
			ix.goneSets = append(ix.goneSets, s)
		}
		s.announced = false
		switch {
		case s.svc != nil:
			ix.releaseService(s)
		case s.domains != nil:
			ix.releaseDomains(s)
		case s.named:
			s.sel.named = nil
			ix.domains.dirty = true
			ix.loseRole(s.sel)
		case s.port != "":
			delete(s.sel.ports, s.port)
			ix.loseRole(s.sel)
		default:
			s.sel.addrs = nil
			ix.loseRole(s.sel)
		}
	}
}

func (ix *Index) dirtySet(s *Set) {
	if !s.dirty {
		s.dirty = true
		ix.dirtySets = append(ix.dirtySets, s)
	}
}

func (ix *Index) pend(s *Set, m Member, n int) {
	if s.pending == nil {
		s.pending = map[Member]int{}
	}
	if d := s.pending[m] + n; d == 0 {
		delete(s.pending, m)
	} else {
		s.pending[m] = d
	}
	ix.dirtySet(s)
}

// contributors counts the holders that make m a member.
func (s *Set) contributors(m Member) (n int) {
	if s.domains != nil {
		return s.bringing(s.ix.domainsWith(m.Prefix.Addr()))
	}
	s.ix.addrs.holders(m.Prefix, func(o *Holder) bool {
		if o.ls.matches(s.sel) && (s.kind == SetAddrs || o.hasPort(s.port, m.Protocol, m.Port)) {
			n++
		}
		return true
	})
	if s.named && m.Prefix.IsSingleIP() {
		n += s.sel.bringing(s.ix.domainsWith(m.Prefix.Addr()))
	}
	return n
}

func (o *Holder) hasPort(name string, p model.Protocol, port uint16) bool {
	return slices.Contains(o.ports(), model.NamedPort{Name: name, Protocol: p, Port: port})
}

// Contains reports whether an address (for SetAddrPorts: with that protocol and
// port) is in the set.
func (s *Set) Contains(a netip.Addr, p model.Protocol, port uint16) bool {
	a = a.Unmap()
	if s.svc != nil {
		return s.svc.contains(s.kind, a, p, port)
	}
	if s.domains != nil {
		return s.bringing(s.ix.domainsWith(a)) > 0
	}
	if s.kind == SetAddrPorts {
		return s.contributors(Member{single(a), p, port}) > 0
	}
	found := false
	s.ix.addrs.covering(a, func(o *Holder) bool {
		found = o.ls.matches(s.sel)
		return !found
	})
	return found || s.named && s.sel.bringing(s.ix.domainsWith(a)) > 0
}

// NetworkSetsOf returns the network sets by which the set has an address, sorted: those
// that its selector matches, and of them those with a block that contains it.
func (s *Set) NetworkSetsOf(a netip.Addr) []model.Ref {
	if s.sel == nil {
		return nil
	}
	var out []model.Ref
	s.ix.addrs.covering(a.Unmap(), func(o *Holder) bool {
		if (o.ls.kind == ownerNetworkSet || o.ls.kind == ownerNamespacedSet) && o.ls.matches(s.sel) {
			out = append(out, o.Ref())
		}
		return true
	})
	slices.SortFunc(out, model.Ref.Compare)
	return slices.Compact(out)
}

// Members returns the members, sorted. Its cost in time and memory is proportional to
// their number.
func (s *Set) Members() []Member {
	if s.svc != nil {
		return s.svc.members(s.kind)
	}
	if s.domains != nil {
		return membersOf(s.domains)
	}
	var out []Member
	if s.kind == SetAddrs {
		n := 0
		for _, ls := range s.sel.groups {
			for _, o := range ls.owners {
				n += len(o.addrs) + len(o.nets())
			}
		}
		out = make([]Member, 0, n)
	}
	for _, ls := range s.sel.groups {
		for _, o := range ls.owners {
			if s.kind == SetAddrs {
				each := o.eachPrefix
				if s.named {
					each = o.eachNamed
				}
				each(func(p netip.Prefix) { out = append(out, Member{Prefix: p}) })
				continue
			}
			for _, np := range o.ports() {
				if np.Name == s.port {
					for _, a := range o.addrs {
						out = append(out, Member{single(a), np.Protocol, np.Port})
					}
				}
			}
		}
	}
	return sortMembers(out)
}

func sortMembers(ms []Member) []Member {
	slices.SortFunc(ms, Member.Compare)
	return slices.Compact(ms)
}

// Len is the number of members; it costs as much as Members.
func (s *Set) Len() int { return len(s.Members()) }

// delta takes the pending changes and sums them up.
func (s *Set) delta() (d SetDelta, changed bool) {
	d.Set = s
	s.dirty = false
	if !s.announced {
		s.announced, s.pending = true, nil
		d.New, d.Added = true, s.Members()
		if s.svc != nil {
			s.before = d.Added
		}
		return d, true
	}
	if s.svc != nil {
		now := s.Members()
		d.Added, d.Removed = compareMembers(s.before, now)
		s.before = now
		return d, len(d.Added)+len(d.Removed) > 0
	}
	for m, n := range s.pending {
		now := s.contributors(m)
		switch before := now - n; {
		case before == 0 && now > 0:
			d.Added = append(d.Added, m)
		case before > 0 && now == 0:
			d.Removed = append(d.Removed, m)
		}
	}
	s.pending = nil
	sortMembers(d.Added)
	sortMembers(d.Removed)
	return d, len(d.Added)+len(d.Removed) > 0
}

// compareMembers compares two sorted lists.
func compareMembers(before, now []Member) (added, removed []Member) {
	for len(before) > 0 || len(now) > 0 {
		var c int
		switch {
		case len(before) == 0:
			c = 1
		case len(now) == 0:
			c = -1
		default:
			c = before[0].Compare(now[0])
		}
		switch {
		case c < 0:
			removed, before = append(removed, before[0]), before[1:]
		case c > 0:
			added, now = append(added, now[0]), now[1:]
		default:
			before, now = before[1:], now[1:]
		}
	}
	return added, removed
}
