package index

import (
	"cmp"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Part is how much of what waits a Flush does. The zero value does all.
type Part struct {
	// Limit is how large the policies may be, together, of the classes of endpoints that
	// get a new effective policy (model.Policy.Entries, of each class). Small ones come
	// first. Zero or less: no limit.
	Limit int
	// Longest has the class that has waited longest come first, whatever its size.
	Longest bool
	// Ahead has a class with policies of more than Limit have its effective policy built
	// only: the one that has waited longest, if Longest asks for it. It is among what the
	// Delta adds, and of no endpoint (Index.Ahead), until a FlushPart is Ready for it.
	Ahead, Ready bool
	// Whole reports whether all endpoints of a namespace are to be done, whatever their
	// policies' size; nil: of none.
	Whole func(namespace string) bool
	// Hold reports whether endpoints of a namespace wait whatever there is for them; nil:
	// none do.
	Hold func(namespace string) bool
}

// FlushPart is Flush, but what it would do for endpoints with large policies may be left
// for a later one. Each endpoint has at any time an effective policy that it was to have
// at the end of some earlier Flush, or the new one. One that is new, and whose
// policies wait, has none: it is told with a nil Effective. Sets are always up to date.
// Host endpoints never wait.
func (ix *Index) FlushPart(p Part) *Delta { return ix.flush(&p) }

// Late returns the namespaces of local endpoints that wait for their effective policy
// since a FlushPart, sorted.
func (ix *Index) Late() []string {
	var out []string
	for _, c := range ix.staled {
		if c.since > 0 {
			out = append(out, c.namespaces()...)
		}
	}
	for r := range ix.held {
		out = append(out, r.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// LatePolicies calls f with the policies for which local endpoints wait, some more
// than once.
func (ix *Index) LatePolicies(f func(model.Ref)) {
	for _, c := range ix.staled {
		if c.since == 0 {
			continue
		}
		for _, s := range c.sels {
			for _, rec := range s.policies {
				f(rec.p.Ref)
			}
		}
	}
}

// namespaces are those of a class's endpoints; some come more than once.
func (c *class) namespaces() (out []string) {
	for _, ls := range c.sets {
		if ls.ns != nil {
			out = append(out, ls.ns.name)
		}
	}
	return out
}

// size is how much work it is to give a class its effective policy.
func (c *class) size() (n int) {
	for _, s := range c.sels {
		for _, rec := range s.policies {
			n += 1 + rec.p.Entries
		}
	}
	return n
}

// LargestIn is how large the policies are, together, of that local endpoint of a
// namespace that has the largest ones, as of the last Flush (see Part).
func (ix *Index) LargestIn(namespace string) (most int) {
	ns := ix.namespaces[namespace]
	if ns == nil {
		return 0
	}
	for _, ls := range ns.sets {
		if ls.class != nil {
			most = max(most, ls.class.size())
		}
	}
	return most
}

// dueClasses takes from the stale classes those that a Flush gives their effective
// policy, sorted by number. What is left has waited since this Flush or an earlier one.
func (ix *Index) dueClasses(p *Part) (due []*class) {
	stale := slices.DeleteFunc(ix.staled, func(c *class) bool {
		if len(c.sets) == 0 {
			c.stale, c.since = false, 0
		}
		return len(c.sets) == 0
	})
	ix.staled = nil
	if p.Hold != nil {
		var held []*class
		for _, c := range stale {
			if names := c.namespaces(); !c.kind.host() && len(names) > 0 && !slices.ContainsFunc(names, func(ns string) bool { return !p.Hold(ns) }) {
				held = append(held, c)
			}
		}
		stale = slices.DeleteFunc(stale, func(c *class) bool { return slices.Contains(held, c) })
		defer func() { ix.staled = append(ix.staled, held...) }()
	}
	byID := func(a, b *class) int { return cmp.Compare(a.id, b.id) }
	if p.Limit <= 0 {
		slices.SortFunc(stale, byID)
		return stale
	}
	ix.flushes++
	for _, c := range stale {
		if c.since == 0 {
			c.since = ix.flushes
		}
	}
	sizes := make(map[*class]int, len(stale))
	for _, c := range stale {
		sizes[c] = c.size()
	}
	now := func(c *class) bool {
		return c.kind.host() || p.Whole != nil && slices.ContainsFunc(c.namespaces(), p.Whole)
	}
	rank := func(c *class) int {
		if now(c) {
			return 0
		}
		return 1
	}
	slices.SortFunc(stale, func(a, b *class) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(sizes[a], sizes[b]), byID(a, b))
	})
	ix.chooseAhead(p, stale, sizes, now)
	if at := slices.Index(stale, ix.ahead); at >= 0 {
		stale = slices.Delete(stale, at, at+1)
		if p.Ready || now(ix.ahead) {
			defer func() { due = append(due, ix.ahead) }()
		} else {
			defer func() { ix.staled = append(ix.staled, ix.ahead) }()
		}
	}
	if p.Longest && !p.Ahead && len(stale) > 0 {
		first := slices.MinFunc(stale, func(a, b *class) int {
			return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(sizes[a], sizes[b]), byID(a, b))
		})
		at := slices.Index(stale, first)
		stale = slices.Insert(slices.Delete(stale, at, at+1), 0, first)
	}
	n, sum := 0, 0
	for ; n < len(stale); n++ {
		c := stale[n]
		if sum += sizes[c]; (n > 0 || p.Ahead) && sum > p.Limit && !now(c) {
			break
		}
	}
	due = slices.Clone(stale[:n])
	ix.staled = stale[n:]
	slices.SortFunc(due, byID)
	return due
}

// chooseAhead notes for which class an effective policy is to be built ahead.
func (ix *Index) chooseAhead(p *Part, stale []*class, sizes map[*class]int, now func(*class) bool) {
	if !p.Ahead && !p.Ready {
		ix.ahead = nil // its turn comes as that of others
	}
	if ix.ahead != nil || !p.Longest || !p.Ahead {
		return
	}
	for _, c := range stale {
		if sizes[c] > p.Limit && !now(c) && (ix.ahead == nil || c.since < ix.ahead.since) {
			ix.ahead = c
		}
	}
}

// buildAhead brings what is built ahead up to date, or ends it.
func (ix *Index) buildAhead() {
	var e *effRec
	if ix.ahead != nil && ix.ahead.stale && len(ix.ahead.sets) > 0 {
		e = ix.effectiveFor(ix.ahead)
		e.refs++
	} else {
		ix.ahead = nil
	}
	if ix.aheadEff != nil {
		ix.letGo(ix.aheadEff)
	}
	ix.aheadEff = e
}

// Ahead returns the effective policy that is built ahead, and the endpoints that are to
// have it; nil if none is.
func (ix *Index) Ahead() (*Effective, []model.Ref) {
	if ix.aheadEff == nil {
		return nil, nil
	}
	var out []model.Ref
	for _, ls := range ix.ahead.sets {
		for _, o := range ls.owners {
			if o.local {
				out = append(out, o.Ref())
			}
		}
	}
	slices.SortFunc(out, model.Ref.Compare)
	return ix.aheadEff.eff, out
}

// holdLate has an endpoint whose class waits keep the effective policy that was told of
// it, if any was, and reports whether it does.
func (ix *Index) holdLate(r model.Ref, o *Holder, told *Effective, p *Part) bool {
	if o == nil || !o.local || o.ls.class == nil || o.ls.class.since == 0 && !(p.Hold != nil && o.ls.ns != nil && p.Hold(o.ls.ns.name)) {
		ix.unhold(r)
		if o != nil {
			o.late = nil
		}
		return false
	}
	if h := ix.held[r]; h == nil || h.eff != told {
		h := noEffective
		if told != nil {
			h = ix.effectiveRecs[told]
			h.refs++
		}
		ix.unhold(r)
		ix.held[r] = h
	}
	o.late = ix.held[r]
	return true
}

// noEffective stands for what an endpoint has that has none.
var noEffective = &effRec{}

func (ix *Index) unhold(r model.Ref) {
	if h := ix.held[r]; h != nil {
		delete(ix.held, r)
		ix.letGo(h)
	}
}

// letGo ends a use of an effective policy.
func (ix *Index) letGo(e *effRec) {
	if e == noEffective {
		return
	}
	if e.refs--; e.refs == 0 {
		ix.idleEffs = append(ix.idleEffs, e)
	}
}

// A policy with its sets is used by its record, while it is the one that holds, and by
// the effective policies that it is part of. Its sets are given back with the last.

// usePolicy notes a use of a policy.
func (ix *Index) usePolicy(p *Policy, sets []*Set) {
	u := ix.usedPolicies[p]
	if u == nil {
		u = &policyUse{sets: sets}
		ix.usedPolicies[p] = u
	}
	u.uses++
}

// endUse ends one.
func (ix *Index) endUse(p *Policy) {
	u := ix.usedPolicies[p]
	if u.uses--; u.uses == 0 {
		ix.released = append(ix.released, u.sets...)
		delete(ix.usedPolicies, p)
	}
}

// policyUse counts the uses of a policy.
type policyUse struct {
	uses int
	sets []*Set
}
