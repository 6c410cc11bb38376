package index

import (
	"cmp"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Part limits how much of the pending work a Flush does. The zero value does
// everything.
type Part struct {
	// Limit is the maximum total size of the policies of the classes of endpoints that
	// get a new effective policy (the sum of model.Policy.Entries for each class).
	// Small ones come first. Zero or less means no limit.
	Limit int
	// Longest makes the class that has waited longest come first, whatever its size.
	Longest bool
	// Ahead makes a class with policies larger than Limit only have its effective
	// policy built: the one that has waited longest, if Longest is set. The Delta lists
	// it as added, and no endpoint has it (Index.Ahead), until a FlushPart has Ready
	// set for it.
	Ahead, Ready bool
	// Whole reports whether all endpoints of a namespace are to be done, whatever their
	// policies' size; nil means none.
	Whole func(namespace string) bool
	// Hold reports whether endpoints of a namespace wait whatever their policies' size;
	// nil means none.
	Hold func(namespace string) bool
}

// FlushPart is like Flush, but may leave its work for endpoints with large policies to
// a later one. At any time, each endpoint has an effective policy that it was to have
// at the end of some earlier Flush, or the new one. A new endpoint whose policies wait
// has none: it is reported with a nil Effective. Sets are always up to date. Host
// endpoints never wait.
func (ix *Index) FlushPart(p Part) *Delta { return ix.flush(&p) }

// Late returns the namespaces of local endpoints that have waited for their effective
// policy since a FlushPart, sorted.
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

// LatePolicies calls f with the policies that local endpoints wait for, possibly more
// than once for the same policy.
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

// namespaces are those of a class's endpoints, with duplicates.
func (c *class) namespaces() (out []string) {
	for _, ls := range c.groups {
		if ls.ns != nil {
			out = append(out, ls.ns.name)
		}
	}
	return out
}

// size is the amount of work to give a class its effective policy.
func (c *class) size() (n int) {
	for _, s := range c.sels {
		for _, rec := range s.policies {
			n += 1 + rec.p.Entries
		}
	}
	return n
}

// LargestIn is the total size of the policies of the local endpoint in a namespace that
// has the largest ones, as of the last Flush (see Part).
func (ix *Index) LargestIn(namespace string) (most int) {
	ns := ix.namespaces[namespace]
	if ns == nil {
		return 0
	}
	for _, ls := range ns.groups {
		if ls.class != nil {
			most = max(most, ls.class.size())
		}
	}
	return most
}

// dueClasses takes from the stale classes those that this Flush gives their effective
// policy, sorted by number. The others have waited since this Flush or an earlier one.
func (ix *Index) dueClasses(p *Part) (due []*class) {
	stale := slices.DeleteFunc(ix.staled, func(c *class) bool {
		if len(c.groups) == 0 {
			c.stale, c.since = false, 0
		}
		return len(c.groups) == 0
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

// chooseAhead selects the class whose effective policy is to be built ahead.
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
	if ix.ahead != nil && ix.ahead.stale && len(ix.ahead.groups) > 0 {
		e = ix.effectiveFor(ix.ahead)
		e.refs++
	} else {
		ix.ahead = nil
	}
	if ix.aheadEff != nil {
		ix.release(ix.aheadEff)
	}
	ix.aheadEff = e
}

// Ahead returns the effective policy that is built ahead, and the endpoints that are to
// have it; nil if there is none.
func (ix *Index) Ahead() (*Effective, []model.Ref) {
	if ix.aheadEff == nil {
		return nil, nil
	}
	var out []model.Ref
	for _, ls := range ix.ahead.groups {
		for _, o := range ls.owners {
			if o.local {
				out = append(out, o.Ref())
			}
		}
	}
	slices.SortFunc(out, model.Ref.Compare)
	return ix.aheadEff.eff, out
}

// holdLate lets an endpoint whose class waits keep the effective policy that was
// reported for it, if any, and reports whether it does.
func (ix *Index) holdLate(r model.Ref, o *Holder, reported *Effective, p *Part) bool {
	if o == nil || !o.local || o.ls.class == nil || o.ls.class.since == 0 && !(p.Hold != nil && o.ls.ns != nil && p.Hold(o.ls.ns.name)) {
		ix.unhold(r)
		if o != nil {
			o.late = nil
		}
		return false
	}
	if h := ix.held[r]; h == nil || h.eff != reported {
		h := noEffective
		if reported != nil {
			h = ix.effectiveRecs[reported]
			h.refs++
		}
		ix.unhold(r)
		ix.held[r] = h
	}
	o.late = ix.held[r]
	return true
}

// noEffective stands for the effective policy of an endpoint that has none.
var noEffective = &effRec{}

func (ix *Index) unhold(r model.Ref) {
	if h := ix.held[r]; h != nil {
		delete(ix.held, r)
		ix.release(h)
	}
}

// release ends a use of an effective policy.
func (ix *Index) release(e *effRec) {
	if e == noEffective {
		return
	}
	if e.refs--; e.refs == 0 {
		ix.idleEffs = append(ix.idleEffs, e)
	}
}

// A policy with its sets is used by its record, while it is the current version, and by
// the effective policies that contain it. Its sets are returned with its last use.

// usePolicy records a use of a policy.
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
