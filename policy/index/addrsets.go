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
)

// Set is a set of addresses and blocks (SetAddrs) or of address, protocol and
// port (SetAddrPorts). It exists while a policy refers to it that selects a
// local endpoint.
//
// Members are not stored: they follow from who matches the selector. What is
// kept between two Flushes is, for each member that something happened to, by
// how much the number of those that contribute it has changed.
type Set struct {
	ix   *Index
	id   string
	kind SetKind
	text string

	sel  *sel   // of a set by selector
	port string // of a set of named ports
	svc  *service

	refs      int
	announced bool // a Delta has told of it
	dirty     bool // in ix.dirtySets
	pending   map[Member]int
	before    []Member // of a set by service: members as last told
}

// ID is short, stable across processes, and follows from what the set is
// defined by (selector, service, port name), not from its members.
func (s *Set) ID() string { return s.id }

// String is the definition for people: a selector in canonical form, the port
// NAME of a selector, or a service.
func (s *Set) String() string { return s.text }

// Selector returns the selector that defines the set, and the name of the port
// for a set of named ports. The selector is nil for a service's set.
func (s *Set) Selector() (sel *selector.Selector, port string) {
	if s.sel == nil {
		return nil, ""
	}
	return s.sel.s, s.port
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

// portSet returns the set of the ports of a name that endpoints matched by a
// selector have, and takes a reference to it.
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

// releaseSets gives references back. Sets without any are forgotten, and told as gone.
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

// contributors counts the owners that make m a member.
func (s *Set) contributors(m Member) (n int) {
	s.ix.addrs.holders(m.Prefix, func(o *Holder) bool {
		if o.ls.matches(s.sel) && (s.kind == SetAddrs || o.hasPort(s.port, m.Protocol, m.Port)) {
			n++
		}
		return true
	})
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
	if s.kind == SetAddrPorts {
		return s.contributors(Member{single(a), p, port}) > 0
	}
	found := false
	s.ix.addrs.covering(a, func(o *Holder) bool {
		found = o.ls.matches(s.sel)
		return !found
	})
	return found
}

// Members returns the members, sorted. It takes time and memory in proportion to their number.
func (s *Set) Members() []Member {
	if s.svc != nil {
		return s.svc.members(s.kind)
	}
	var out []Member
	if s.kind == SetAddrs {
		n := 0
		for _, ls := range s.sel.sets {
			for _, o := range ls.owners {
				n += len(o.addrs) + len(o.nets())
			}
		}
		out = make([]Member, 0, n)
	}
	for _, ls := range s.sel.sets {
		for _, o := range ls.owners {
			if s.kind == SetAddrs {
				o.eachPrefix(func(p netip.Prefix) { out = append(out, Member{Prefix: p}) })
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

// delta takes what is pending and says what it amounts to.
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
