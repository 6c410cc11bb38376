package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// takesNames reports whether a rule's destination may be given by names.
func takesNames(p *model.Policy, r *model.Rule, dir model.Direction) bool {
	return dir == model.Egress && !p.DoNotTrack && !p.PreDNAT && (r.Action == model.Allow || r.Action == model.Log)
}

// takeNames resolves the names of a rule's destination, and those of the network sets
// that its selector matches.
func (ix *Index) takeNames(rec *policyRec, p *model.Peer, sets *PeerSets) {
	if p.Domains != nil {
		sets.Domains = ix.domainSet(p.Domains)
		rec.sets = append(rec.sets, sets.Domains)
	}
	if plain := sets.Selector; plain != nil && plain.sel.domains > 0 {
		sets.Selector = ix.namedSet(plain.sel)
		rec.sets[slices.Index(rec.sets, plain)] = sets.Selector
		ix.releaseSets([]*Set{plain})
	}
}

// namedSet returns the set of what a selector matches, names of network sets included,
// and takes a reference to it.
func (ix *Index) namedSet(s *sel) *Set {
	if s.named == nil {
		s.named = newSet(ix, SetAddrs, s.canon+" and its allowedEgressDomains")
		s.named.sel, s.named.named = s, true
		ix.domains.dirty = true
		ix.dirtySet(s.named)
	}
	s.named.refs++
	return s.named
}

// eachNamed visits the addresses and blocks of a holder, then what answers have brought
// for its names, some of which may come more than once.
func (o *Holder) eachNamed(visit func(netip.Prefix)) {
	o.eachPrefix(visit)
	for _, d := range o.domains() {
		d.each(visit)
	}
}

// bringing counts by how many names of network sets that a selector matches some
// domains are: each of a set counts for itself.
func (s *sel) bringing(some []*domain) (n int) {
	for _, d := range some {
		for _, o := range d.holders {
			if o.ls.matches(s) {
				n++
			}
		}
	}
	return n
}

// patterns are the names of the network sets that a selector matches.
func (s *sel) patterns() []names.Pattern {
	var out []names.Pattern
	for _, ls := range s.groups {
		if ls.domains == 0 {
			continue
		}
		for _, o := range ls.owners {
			out = append(out, patternsOf(o.domains())...)
		}
	}
	slices.SortFunc(out, names.Pattern.Compare)
	return slices.Compact(out)
}

// joinDomains makes a network set's names count: among its label group's, its selectors'
// and the domains'.
func (ix *Index) joinDomains(o *Holder) {
	if len(o.domains()) == 0 {
		return
	}
	for _, d := range o.domains() {
		d.holders = append(d.holders, o)
	}
	o.ls.domains++
	for _, m := range o.ls.matched {
		ix.countDomains(m.sel, 1)
	}
}

func (ix *Index) leaveDomains(o *Holder) {
	if len(o.domains()) == 0 {
		return
	}
	for _, d := range o.domains() {
		d.holders = slices.DeleteFunc(d.holders, func(h *Holder) bool { return h == o })
		ix.forgetDomain(d)
	}
	o.ls.domains--
	for _, m := range o.ls.matched {
		ix.countDomains(m.sel, -1)
	}
}

// countDomains counts network sets with names that a selector matches.
func (ix *Index) countDomains(s *sel, n int) {
	if n == 0 {
		return
	}
	before := s.domains
	s.domains += n
	if (before == 0) != (s.domains == 0) {
		ix.domains.turned[s] = struct{}{}
	}
	if s.named != nil {
		ix.domains.dirty = true
	}
}

// turnPolicies has policies resolved anew of which a rule's selector matches network sets
// with names now, or no longer.
func (ix *Index) turnPolicies() {
	if len(ix.domains.turned) == 0 {
		return
	}
	for _, rec := range ix.order {
		if rec.active != nil && rec.activeSeq == rec.seq && slices.ContainsFunc(rec.active.ResolvedEgress, func(r Rule) bool { return ix.hasTurned(rec.p, &r) }) {
			ix.seq++
			rec.seq = ix.seq
			ix.queueSel(rec.sel)
			ix.staleClasses(rec.sel)
		}
	}
	clear(ix.domains.turned)
}

func (ix *Index) hasTurned(p *model.Policy, r *Rule) bool {
	set := r.Destination.Selector
	if set == nil || !takesNames(p, r.Rule, model.Egress) {
		return false
	}
	_, turned := ix.domains.turned[set.sel]
	return turned && set.named != (set.sel.domains > 0)
}

// byName reports whether a policy has rules by name.
func byName(p *Policy) bool {
	return slices.ContainsFunc(p.ResolvedEgress, func(r Rule) bool {
		return r.Destination.Domains != nil || r.Destination.Selector != nil && r.Destination.Selector.named
	})
}
