package index

import (
	"github.com/tierwall/tierwall/api/selector"
)

// sel is a distinct selector, by canonical form. It has up to two roles: as a subject
// it determines which local endpoints policies apply to, as a peer it makes up sets. A
// label group is matched by a selector only while a role needs it.
type sel struct {
	id    uint64
	s     *selector.Selector
	canon string
	// constraints are s.Constraints(), which both filing and the search for candidates
	// use.
	constraints []selector.Constraint
	filed       []place // where the selector is filed

	policies []*policyRec // subject role, unordered
	// peer role: at most one set of addresses, and sets of named ports.
	addrs *Set
	ports map[string]*Set
	// named is addrs with what DNS answers have brought for the names of network sets
	// that the selector matches; domains counts those that have any.
	named   *Set
	domains int

	groups  []*labelGroup // label groups that it matches
	local   int           // those of them with local endpoints
	classes []*class      // that the selector is part of; class.places are the places
	queued  bool          // its policies' activation has to be looked at
}

func (s *sel) peer() bool    { return s.addrs != nil || s.named != nil || len(s.ports) > 0 }
func (s *sel) subject() bool { return len(s.policies) > 0 }

// wants reports whether the selector has to be evaluated for a label group. Ghosts are
// neither subjects nor peers of any, and denied pods are no subjects.
func (s *sel) wants(ls *labelGroup) bool {
	if ls.kind == ownerGhost {
		return false
	}
	return s.peer() || s.subject() && ls.local > 0 && ls.kind != ownerDeniedPod
}

// selFor returns the selector with that canonical form, and creates it if needed.
func (ix *Index) selFor(s *selector.Selector) *sel {
	canon := s.String()
	if got := ix.sels[canon]; got != nil {
		return got
	}
	ix.selSeq++
	n := &sel{id: ix.selSeq, s: s, canon: canon, constraints: s.Constraints()}
	ix.sels[canon] = n
	ix.file(n)
	return n
}

// dropSelIfIdle drops a selector without a role.
func (ix *Index) dropSelIfIdle(s *sel) {
	if s.subject() || s.peer() || ix.sels[s.canon] != s {
		return
	}
	for len(s.groups) > 0 {
		ls := s.groups[len(s.groups)-1]
		ix.unmatch(ls, ls.indexOf(s))
	}
	ix.unfile(s)
	delete(ix.sels, s.canon)
}

func (ls *labelGroup) indexOf(s *sel) int {
	for i := range ls.matched {
		if ls.matched[i].sel == s {
			return i
		}
	}
	return -1
}

func (ls *labelGroup) matches(s *sel) bool { return ls.indexOf(s) >= 0 }

// rematch updates the matches of one label group.
func (ix *Index) rematch(ls *labelGroup) {
	seen := ix.seenSels
	ix.view.ls = ls
	consider := func(m buckets, b bucket) {
		for _, s := range m[b] {
			if _, ok := seen[s]; ok {
				continue
			}
			if s.wants(ls) && s.s.Evaluate(&ix.view) {
				seen[s] = struct{}{}
			}
		}
	}
	consider(ix.buckets, bucket{by: byNothing})
	if ls.ns != nil {
		consider(ls.ns.buckets, bucket{by: byNothing})
	}
	byPairs := func(pairs []pairID) {
		for _, p := range pairs {
			info := &ix.sym.pairs[p]
			if info.sels > 0 {
				b := bucket{byPair, uint32(p)}
				consider(ix.buckets, b)
				if ls.ns != nil {
					consider(ls.ns.buckets, b)
				}
			}
			if ix.sym.keys[info.key].sels > 0 {
				b := bucket{byKey, uint32(info.key)}
				consider(ix.buckets, b)
				if ls.ns != nil {
					consider(ls.ns.buckets, b)
				}
			}
		}
	}
	byPairs(ls.pairs)
	if ls.ns != nil {
		byPairs(ls.ns.pairs)
	}
	if ls.sa != nil {
		byPairs(ls.sa.pairs)
	}
	for i := len(ls.matched) - 1; i >= 0; i-- {
		if _, ok := seen[ls.matched[i].sel]; ok {
			delete(seen, ls.matched[i].sel)
		} else {
			ix.unmatch(ls, i)
		}
	}
	for s := range seen {
		ix.match(ls, s)
	}
	clear(seen)
}

// match records that a selector matches a label group.
func (ix *Index) match(ls *labelGroup, s *sel) {
	ls.matched = append(ls.matched, match{s, int32(len(s.groups))})
	s.groups = append(s.groups, ls)
	ix.countDomains(s, int(ls.domains))
	if ls.local > 0 {
		ix.addLocal(s, 1)
		if s.subject() {
			ix.dirtyClass(ls)
		}
	}
	if s.peer() {
		for _, o := range ls.owners {
			ix.contribute(s, o, 1)
		}
	}
}

// unmatch removes the i-th match of a label group.
func (ix *Index) unmatch(ls *labelGroup, i int) {
	m := ls.matched[i]
	s := m.sel
	ix.countDomains(s, -int(ls.domains))
	if s.peer() {
		for _, o := range ls.owners {
			ix.contribute(s, o, -1)
		}
	}
	if ls.local > 0 {
		ix.addLocal(s, -1)
		if s.subject() {
			ix.dirtyClass(ls)
		}
	}
	last := len(s.groups) - 1
	moved := s.groups[last]
	s.groups[last] = nil
	s.groups = s.groups[:last]
	if moved != ls {
		s.groups[m.pos] = moved
		moved.matched[moved.indexOf(s)].pos = m.pos
	}
	last = len(ls.matched) - 1
	ls.matched[i] = ls.matched[last]
	ls.matched[last] = match{}
	ls.matched = ls.matched[:last]
}

func (ix *Index) addLocal(s *sel, n int) {
	before := s.local
	s.local += n
	if (before == 0) != (s.local == 0) && s.subject() {
		ix.queueSel(s)
	}
}

// gainRole matches a selector against every label group that its new role needs.
func (ix *Index) gainRole(s *sel) {
	ix.stamp++
	stamp := ix.stamp
	for _, ls := range s.groups {
		ls.stamp = stamp
	}
	ix.candidates(s, func(ls *labelGroup) {
		if ls.stamp == stamp {
			return
		}
		ls.stamp = stamp
		if !s.wants(ls) {
			return
		}
		ix.view.ls = ls
		if s.s.Evaluate(&ix.view) {
			ix.match(ls, s)
		}
	})
}

// loseRole drops the matches that a selector no longer needs, and the selector itself
// if it needs none.
func (ix *Index) loseRole(s *sel) {
	if !s.peer() {
		for i := len(s.groups) - 1; i >= 0; i-- {
			if ls := s.groups[i]; !s.wants(ls) {
				ix.unmatch(ls, ls.indexOf(s))
			}
		}
	}
	ix.dropSelIfIdle(s)
}
