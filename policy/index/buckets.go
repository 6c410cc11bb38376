package index

import (
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

// A bucket files selectors under one condition that a label group must meet to be
// matched by them: a pair, the presence of a key, or none.
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

// indexable reports whether label groups can be looked up by a key: not by labels that
// the view makes up.
func indexable(key string) bool {
	return key != model.LabelKind && key != model.LabelOrchestrator && key != model.LabelNamespace
}

// file puts a selector into the buckets where label groups that it can match look:
// those of the namespaces that it requires, if any, and within them by the narrowest of
// its other constraints.
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

// candidates visits label groups, including all that a selector can match, by the
// shortest list that its constraints offer. It may visit one twice.
func (ix *Index) candidates(s *sel, visit func(*labelGroup)) {
	bestCost := len(ix.groupByID)
	walk := func() {
		for _, ls := range ix.groupByID {
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
			return // no label group has the key
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

func (ix *Index) walkScopes(scopes []*scope, visit func(*labelGroup)) (int, func()) {
	cost := 0
	for _, s := range scopes {
		cost += len(s.groups)
	}
	return cost, func() {
		for _, s := range scopes {
			for _, ls := range s.groups {
				visit(ls)
			}
		}
	}
}

func (ix *Index) walkPairs(pairs []pairID, visit func(*labelGroup)) (int, func()) {
	cost := 0
	for _, p := range pairs {
		info := &ix.sym.pairs[p]
		cost += len(info.groups)
		for s := range info.scopes {
			cost += len(s.groups)
		}
	}
	return cost, func() {
		for _, p := range pairs {
			info := &ix.sym.pairs[p]
			for _, id := range info.groups {
				if ls := ix.groupByID[id]; ls != nil {
					visit(ls)
				}
			}
			for s := range info.scopes {
				for _, ls := range s.groups {
					visit(ls)
				}
			}
		}
	}
}
