package index

import (
	"cmp"
	"slices"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/policy/model"
)

// policyRec is a policy that exists, whether or not it selects anything local.
type policyRec struct {
	p    *model.Policy
	seq  uint64 // of this version
	sel  *sel
	tier *tierRec
	rank int // place in the evaluation order, as of the last Flush
	// active is the policy with its sets, while it selects a local endpoint; it is of
	// version activeSeq and holds references to sets.
	active    *Policy
	activeSeq uint64
	sets      []*Set
}

// tierRec is a tier that exists, or that policies name.
type tierRec struct {
	tier  *model.Tier
	seq   uint64
	fixed bool // built in
	refs  int  // policies of the tier
}

func compareRecs(a, b *policyRec) int {
	if a.tier != b.tier {
		return model.CompareTiers(a.tier.tier, b.tier.tier)
	}
	return model.ComparePolicies(a.p, b.p)
}

func (ix *Index) upsertTier(t *model.Tier) {
	rec := ix.tiers[t.Name]
	switch {
	case rec == nil:
		rec = &tierRec{}
		ix.tiers[t.Name] = rec
	case rec.fixed:
		return
	case *rec.tier == *t:
		return
	}
	ix.retier(rec, t)
}

func (ix *Index) deleteTier(name string) {
	rec := ix.tiers[name]
	switch {
	case rec == nil || rec.fixed || rec.tier.Missing:
	case rec.refs == 0:
		delete(ix.tiers, name)
	default:
		ix.retier(rec, missingTier(name))
	}
}

func missingTier(name string) *model.Tier {
	return &model.Tier{Name: name, Order: model.NoOrder, DefaultAction: model.Deny, Missing: true}
}

// retier changes a tier. Orders may change with it, so everything is sorted again:
// tiers change a few times a year.
func (ix *Index) retier(rec *tierRec, t *model.Tier) {
	ix.seq++
	rec.tier, rec.seq = t, ix.seq
	if rec.refs > 0 {
		ix.resort = true
		for s := range ix.subjects {
			ix.staleClasses(s)
		}
	}
}

func (ix *Index) joinTier(rec *policyRec) {
	t := ix.tiers[rec.p.Tier]
	if t == nil {
		ix.seq++
		t = &tierRec{tier: missingTier(rec.p.Tier), seq: ix.seq}
		ix.tiers[rec.p.Tier] = t
	}
	t.refs++
	rec.tier = t
}

func (ix *Index) leaveTier(rec *policyRec) {
	if rec.tier.refs--; rec.tier.refs == 0 && rec.tier.tier.Missing {
		delete(ix.tiers, rec.tier.tier.Name)
	}
}

func (ix *Index) upsertPolicy(p *model.Policy) {
	ix.seq++
	rec := ix.policies[p.Ref]
	if rec == nil {
		rec = &policyRec{}
		ix.policies[p.Ref] = rec
	} else {
		if rec.p.Tier == p.Tier && rec.p.Order == p.Order && rec.p.Selector.String() == p.Selector.String() {
			// The common change, of rules only, keeps its position and its role.
			rec.p, rec.seq = p, ix.seq
			ix.queueSel(rec.sel)
			ix.staleClasses(rec.sel)
			return
		}
		ix.removePolicy(rec)
	}
	rec.p, rec.seq = p, ix.seq
	ix.joinTier(rec)
	ix.reorder = append(ix.reorder, rec)
	s := ix.selFor(p.Selector)
	rec.sel = s
	s.policies = append(s.policies, rec)
	ix.subjects[s] = struct{}{}
	if len(s.policies) == 1 {
		ix.gainRole(s)
		for _, ls := range s.groups {
			if ls.local > 0 {
				ix.dirtyClass(ls)
			}
		}
	} else {
		ix.staleClasses(s)
	}
	ix.queueSel(s)
}

func (ix *Index) deletePolicy(r model.Ref) {
	if rec := ix.policies[r]; rec != nil {
		delete(ix.policies, r)
		ix.removePolicy(rec)
	}
}

// removePolicy removes a policy from its selector, its tier and the order.
func (ix *Index) removePolicy(rec *policyRec) {
	if !ix.resort {
		if i, ok := slices.BinarySearchFunc(ix.order, rec, compareRecs); ok && ix.order[i] == rec {
			ix.order = slices.Delete(ix.order, i, i+1)
			ix.rankFrom = min(ix.rankFrom, i)
		} else if i := slices.Index(ix.reorder, rec); i >= 0 {
			ix.reorder = slices.Delete(ix.reorder, i, i+1)
		}
	}
	ix.deactivate(rec)
	ix.leaveTier(rec)
	s := rec.sel
	i := slices.Index(s.policies, rec)
	s.policies[i] = s.policies[len(s.policies)-1]
	s.policies[len(s.policies)-1] = nil
	s.policies = s.policies[:len(s.policies)-1]
	if len(s.policies) > 0 {
		ix.staleClasses(s)
		return
	}
	delete(ix.subjects, s)
	for _, ls := range s.groups {
		if ls.local > 0 {
			ix.dirtyClass(ls)
		}
	}
	// The role ends only with the sets, when nothing refers to the old version any
	// more.
	ix.idle = append(ix.idle, s)
}

// sortPolicies updates order and ranks.
func (ix *Index) sortPolicies() {
	switch {
	case ix.resort || len(ix.reorder) > 64:
		ix.order = ix.order[:0]
		for _, rec := range ix.policies {
			ix.order = append(ix.order, rec)
		}
		slices.SortFunc(ix.order, compareRecs)
		ix.rankFrom = 0
	default:
		for _, rec := range ix.reorder {
			i, _ := slices.BinarySearchFunc(ix.order, rec, compareRecs)
			ix.order = slices.Insert(ix.order, i, rec)
			ix.rankFrom = min(ix.rankFrom, i)
		}
	}
	for i := ix.rankFrom; i < len(ix.order); i++ {
		ix.order[i].rank = i
	}
	ix.resort, ix.reorder, ix.rankFrom = false, ix.reorder[:0], len(ix.order)
}

// activate resolves a policy's peers to sets.
func (ix *Index) activate(rec *policyRec) {
	old := rec.active
	rec.sets = nil
	rec.active = &Policy{
		Policy:          rec.p,
		ResolvedIngress: ix.resolve(rec, model.Ingress, rec.p.IngressRules),
		ResolvedEgress:  ix.resolve(rec, model.Egress, rec.p.EgressRules),
	}
	rec.active.ByName = byName(rec.active)
	rec.activeSeq = rec.seq
	ix.usePolicy(rec.active, rec.sets)
	if old != nil {
		ix.endUse(old)
	}
}

func (ix *Index) deactivate(rec *policyRec) {
	if rec.active != nil {
		ix.endUse(rec.active)
	}
	rec.active, rec.sets = nil, nil
}

func (ix *Index) resolve(rec *policyRec, dir model.Direction, rules []model.Rule) []Rule {
	if len(rules) == 0 {
		return nil
	}
	out := make([]Rule, len(rules))
	for i := range rules {
		r := &rules[i]
		out[i] = Rule{Rule: r}
		if r.Match.Never {
			continue
		}
		// The endpoint's own side is one that the policy selects, unless the policy
		// also governs traffic through a host.
		own := !rec.p.DoNotTrack && !rec.p.PreDNAT && !rec.p.ApplyOnForward
		out[i].Source = ix.resolvePeer(rec, &r.Match.Source, own && dir == model.Egress)
		out[i].Destination = ix.resolvePeer(rec, &r.Match.Destination, own && dir == model.Ingress)
		if takesNames(rec.p, r, dir) {
			ix.takeNames(rec, &r.Match.Destination, &out[i].Destination)
		}
	}
	return out
}

// withPorts selects the kinds that can have named ports.
var withPorts = selector.In(model.LabelKind, model.OwnerPod, model.OwnerHostEndpoint)

func (ix *Index) resolvePeer(rec *policyRec, p *model.Peer, own bool) (out PeerSets) {
	keep := func(s *Set) *Set {
		rec.sets = append(rec.sets, s)
		return s
	}
	if p.Selector != nil {
		out.Selector = keep(ix.addrSet(ix.selFor(p.Selector)))
	}
	if p.NotSelector != nil {
		out.NotSelector = keep(ix.addrSet(ix.selFor(p.NotSelector)))
	}
	if p.Service != (model.ServiceRef{}) {
		out.Service = keep(ix.serviceSet(p.Service, p.ServicePorts))
	}
	// The smaller the scope of a named port, the fewer pods affect the set. (This is
	// visible only if two pods have the same address: then the ports of those count
	// that the policy selects.)
	portScope := func() *sel {
		switch {
		case p.Selector != nil:
			return ix.selFor(p.Selector)
		case own:
			return rec.sel
		}
		return ix.selFor(withPorts)
	}
	for i := range p.Ports {
		if name := p.Ports[i].Name; name != "" {
			out.NamedPorts = append(out.NamedPorts, keep(ix.portSet(portScope(), name)))
		}
	}
	for i := range p.NotPorts {
		if name := p.NotPorts[i].Name; name != "" {
			out.NotNamedPorts = append(out.NotNamedPorts, keep(ix.portSet(portScope(), name)))
		}
	}
	return out
}

// compareClassSels orders the selectors of a class.
func compareClassSels(a, b *sel) int { return cmp.Compare(a.id, b.id) }
