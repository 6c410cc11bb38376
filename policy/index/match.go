package index

import (
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

// sel is a distinct selector, by canonical form. It has up to two roles: as a
// subject it says which local endpoints policies apply to, as a peer it makes
// up sets. A label set is matched by a selector only while a role needs it.
type sel struct {
	id    uint64
	s     *selector.Selector
	canon string
	// constraints are s.Constraints(), which filing and looking for candidates both ask for.
	constraints []selector.Constraint
	filed       []place // where the selector is filed

	policies []*policyRec // subject role, unordered
	// peer role: at most one set of addresses, and sets of named ports.
	addrs *Set
	ports map[string]*Set

	sets    []*labelSet // label sets that it matches
	local   int         // those of them with local endpoints
	classes []*class    // that the selector is part of; class.places are the places
	queued  bool        // its policies' activation has to be looked at
}

func (s *sel) peer() bool    { return s.addrs != nil || len(s.ports) > 0 }
func (s *sel) subject() bool { return len(s.policies) > 0 }

// wants reports whether the selector has to be evaluated for a label set. Ghosts are
// neither subjects nor peers of any, and denied pods no subjects.
func (s *sel) wants(ls *labelSet) bool {
	if ls.kind == ownerGhost {
		return false
	}
	return s.peer() || s.subject() && ls.local > 0 && ls.kind != ownerDeniedPod
}

// A bucket files selectors under one condition that a label set must meet to
// be matched by them: a pair of it, the presence of a key, or none.
type bucket struct {
	by bucketKind
	id uint32
}

type bucketKind uint8

const (
	byNothing bucketKind = iota
	byPair
	byKey
)

type buckets map[bucket][]*sel

// place is a bucket of a namespace, or of the index if ns is nil.
type place struct {
	ns *scope
	b  bucket
}

// maxPlaces bounds the number of buckets that one selector is filed in.
const maxPlaces = 64

// selFor returns the selector of that canonical form, new if need be.
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

// dropSelIfIdle forgets a selector without a role.
func (ix *Index) dropSelIfIdle(s *sel) {
	if s.subject() || s.peer() || ix.sels[s.canon] != s {
		return
	}
	for len(s.sets) > 0 {
		ls := s.sets[len(s.sets)-1]
		ix.unmatch(ls, ls.indexOf(s))
	}
	ix.unfile(s)
	delete(ix.sels, s.canon)
}

func (ls *labelSet) indexOf(s *sel) int {
	for i := range ls.matched {
		if ls.matched[i].sel == s {
			return i
		}
	}
	return -1
}

func (ls *labelSet) matches(s *sel) bool { return ls.indexOf(s) >= 0 }

// indexable reports whether label sets can be looked up by a key: the labels that
// the view makes up cannot.
func indexable(key string) bool {
	return key != model.LabelKind && key != model.LabelOrchestrator && key != model.LabelNamespace
}

// file puts a selector into the buckets where label sets that it can match
// look: those of the namespaces that it needs, if it needs any, and in them by
// the narrowest of its other constraints.
func (ix *Index) file(s *sel) {
	var namespaces []string // nil: any
	var best *selector.Constraint
	better := func(a, b *selector.Constraint) bool { // a than b
		if (a.Values != nil) != (b.Values != nil) {
			return a.Values != nil
		}
		return len(a.Values) < len(b.Values)
	}
	for i := range s.constraints {
		c := &s.constraints[i]
		switch {
		case c.Key == model.LabelNamespace:
			namespaces = c.Values
		case !indexable(c.Key) || len(c.Values) > maxPlaces:
		case best == nil || better(c, best):
			best = c
		}
	}
	under := []bucket{{by: byNothing}}
	switch {
	case best == nil:
	case best.Values == nil:
		under[0] = bucket{byKey, uint32(ix.sym.key(best.Key))}
		ix.sym.keys[under[0].id].sels++
	default:
		under = under[:0]
		for _, v := range best.Values {
			p := ix.sym.pair(best.Key, v)
			ix.sym.pairs[p].sels++
			under = append(under, bucket{byPair, uint32(p)})
		}
	}
	if len(namespaces)*len(under) > maxPlaces {
		namespaces = nil
	}
	if namespaces == nil {
		if ix.buckets == nil {
			ix.buckets = buckets{}
		}
		for _, b := range under {
			ix.buckets[b] = append(ix.buckets[b], s)
			s.filed = append(s.filed, place{nil, b})
		}
		return
	}
	for _, name := range namespaces {
		ns := ix.namespace(name)
		ns.sels++
		if ns.buckets == nil {
			ns.buckets = buckets{}
		}
		for _, b := range under {
			ns.buckets[b] = append(ns.buckets[b], s)
			s.filed = append(s.filed, place{ns, b})
		}
	}
}

func (ix *Index) unfile(s *sel) {
	released := map[bucket]bool{}
	left := map[*scope]bool{}
	for _, p := range s.filed {
		m := ix.buckets
		if p.ns != nil {
			m = p.ns.buckets
			left[p.ns] = true
		}
		list := m[p.b]
		i := slices.Index(list, s)
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		if list = list[:len(list)-1]; len(list) == 0 {
			delete(m, p.b)
		} else {
			m[p.b] = list
		}
		if released[p.b] {
			continue
		}
		released[p.b] = true
		switch p.b.by {
		case byPair:
			ix.sym.pairs[p.b.id].sels--
			ix.sym.releasePair(pairID(p.b.id))
		case byKey:
			ix.sym.keys[p.b.id].sels--
			ix.sym.releaseKey(keyID(p.b.id))
		}
	}
	for ns := range left {
		ns.sels--
		ix.releaseNamespace(ns)
	}
	s.filed = nil
}

// rematch brings the matches of one label set up to date.
func (ix *Index) rematch(ls *labelSet) {
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

// match records that a selector matches a label set.
func (ix *Index) match(ls *labelSet, s *sel) {
	ls.matched = append(ls.matched, match{s, int32(len(s.sets))})
	s.sets = append(s.sets, ls)
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

// unmatch takes back the i-th match of a label set.
func (ix *Index) unmatch(ls *labelSet, i int) {
	m := ls.matched[i]
	s := m.sel
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
	last := len(s.sets) - 1
	moved := s.sets[last]
	s.sets[last] = nil
	s.sets = s.sets[:last]
	if moved != ls {
		s.sets[m.pos] = moved
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

// gainRole matches a selector against every label set that its new role needs.
func (ix *Index) gainRole(s *sel) {
	ix.stamp++
	stamp := ix.stamp
	for _, ls := range s.sets {
		ls.stamp = stamp
	}
	ix.candidates(s, func(ls *labelSet) {
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

// loseRole drops the matches that a selector no longer needs, and the selector
// itself if it needs none.
func (ix *Index) loseRole(s *sel) {
	if !s.peer() {
		for i := len(s.sets) - 1; i >= 0; i-- {
			if ls := s.sets[i]; !s.wants(ls) {
				ix.unmatch(ls, ls.indexOf(s))
			}
		}
	}
	ix.dropSelIfIdle(s)
}

// candidates visits label sets, among them all that a selector can match, by
// the shortest list that its constraints offer. It may visit one twice.
func (ix *Index) candidates(s *sel, visit func(*labelSet)) {
	bestCost := len(ix.setByID)
	walk := func() {
		for _, ls := range ix.setByID {
			if ls != nil {
				visit(ls)
			}
		}
	}
	offer := func(cost int, w func()) {
		if cost < bestCost {
			bestCost, walk = cost, w
		}
	}
	for _, c := range s.constraints {
		if c.Key == model.LabelNamespace {
			if c.Values == nil {
				continue
			}
			var scopes []*scope
			for _, v := range c.Values {
				if ns := ix.namespaces[v]; ns != nil {
					scopes = append(scopes, ns)
				}
			}
			cost, w := ix.walkScopes(scopes, visit)
			offer(cost, w)
			continue
		}
		if !indexable(c.Key) {
			continue
		}
		key, ok := ix.sym.find(c.Key)
		if !ok {
			return // no label set has the key
		}
		var pairs []pairID
		if c.Values == nil {
			pairs = ix.sym.keys[key].pairs
		}
		for _, v := range c.Values {
			if p, ok := ix.sym.pairByKey[pairKey{key, v}]; ok {
				pairs = append(pairs, p)
			}
		}
		cost, w := ix.walkPairs(pairs, visit)
		offer(cost, w)
	}
	walk()
}

func (ix *Index) walkScopes(scopes []*scope, visit func(*labelSet)) (int, func()) {
	cost := 0
	for _, s := range scopes {
		cost += len(s.sets)
	}
	return cost, func() {
		for _, s := range scopes {
			for _, ls := range s.sets {
				visit(ls)
			}
		}
	}
}

func (ix *Index) walkPairs(pairs []pairID, visit func(*labelSet)) (int, func()) {
	cost := 0
	for _, p := range pairs {
		info := &ix.sym.pairs[p]
		cost += len(info.sets)
		for s := range info.scopes {
			cost += len(s.sets)
		}
	}
	return cost, func() {
		for _, p := range pairs {
			info := &ix.sym.pairs[p]
			for _, id := range info.sets {
				if ls := ix.setByID[id]; ls != nil {
					visit(ls)
				}
			}
			for s := range info.scopes {
				for _, ls := range s.sets {
					visit(ls)
				}
			}
		}
	}
}
