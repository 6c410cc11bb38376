package index

import (
	"cmp"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// class is the label groups with local endpoints that the same subjects match. Label
// groups that differ only in labels that no policy uses are in the same class.
type class struct {
	id   uint64
	hash uint64
	kind ownerKind
	sels []*sel // sorted by id
	// places are the positions of the class in sel.classes, parallel to sels.
	places []int32
	groups []*labelGroup
	next   *class // same hash

	stale bool // a policy of it changed
	// since is the FlushPart since which it has waited for its effective policy; 0 if
	// it does not wait.
	since uint64
	eff   *effRec
}

// effRec counts the classes that share one effective policy: classes share it if they
// differ only in policies that have no effect on such endpoints. An endpoint that waits
// for its class also counts (late.go).
type effRec struct {
	eff      *Effective
	hash     uint64
	key      []uint64 // versions of the policies and of their tiers, in order
	refs     int
	reported bool
	// policies are those in eff.
	policies []*Policy
	next     *effRec
}

func (ix *Index) dirtyClass(ls *labelGroup) {
	if !ls.dirty {
		ls.dirty = true
		ix.dirtyLabelGroups = append(ix.dirtyLabelGroups, ls)
	}
}

func (ix *Index) staleClasses(s *sel) {
	for _, c := range s.classes {
		ix.staleClass(c)
	}
}

func (ix *Index) staleClass(c *class) {
	if !c.stale {
		c.stale = true
		ix.staled = append(ix.staled, c)
	}
}

func (ix *Index) queueSel(s *sel) {
	if !s.queued {
		s.queued = true
		ix.queuedSels = append(ix.queuedSels, s)
	}
}

// reclass finds the class of a label group with local endpoints.
func (ix *Index) reclass(ls *labelGroup) {
	ls.dirty = false
	if ls.local == 0 {
		return // it has left its class already
	}
	sels := ix.selBuf[:0]
	for _, m := range ls.matched {
		if m.sel.subject() && ls.kind != ownerDeniedPod {
			sels = append(sels, m.sel)
		}
	}
	slices.SortFunc(sels, compareClassSels)
	ix.selBuf = sels
	if ls.class != nil {
		if slices.Equal(ls.class.sels, sels) {
			return
		}
		ix.leaveClass(ls)
	}
	h := uint64(ls.kind) + 1
	for _, s := range sels {
		h = (h ^ s.id) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	c := ix.classes[h]
	for c != nil && !(c.kind == ls.kind && slices.Equal(c.sels, sels)) {
		c = c.next
	}
	if c == nil {
		ix.classSeq++
		c = &class{id: ix.classSeq, hash: h, kind: ls.kind, sels: slices.Clone(sels), next: ix.classes[h]}
		ix.classes[h] = c
		c.places = make([]int32, len(c.sels))
		for i, s := range c.sels {
			c.places[i] = int32(len(s.classes))
			s.classes = append(s.classes, c)
		}
		ix.staleClass(c)
	}
	ls.class, ls.classPos = c, int32(len(c.groups))
	c.groups = append(c.groups, ls)
	ix.dirtyOwners(ls)
}

func (ix *Index) dirtyOwners(ls *labelGroup) {
	for _, o := range ls.owners {
		if o.local {
			ix.dirtyEndpoint(o)
		}
	}
}

func (ix *Index) leaveClass(ls *labelGroup) {
	c := ls.class
	if c == nil {
		return
	}
	ls.class = nil
	last := len(c.groups) - 1
	moved := c.groups[last]
	c.groups[ls.classPos], moved.classPos = moved, ls.classPos
	c.groups[last] = nil
	c.groups = c.groups[:last]
	if last == 0 {
		ix.emptied = append(ix.emptied, c)
	}
}

// dropClass drops a class if no label group has joined (or rejoined) it.
func (ix *Index) dropClass(c *class) {
	if len(c.groups) > 0 {
		return
	}
	unlinkClass(ix.classes, c)
	for i, s := range c.sels {
		last := len(s.classes) - 1
		moved, at := s.classes[last], c.places[i]
		s.classes[at] = moved
		j, _ := slices.BinarySearchFunc(moved.sels, s, compareClassSels)
		moved.places[j] = at
		s.classes[last] = nil
		s.classes = s.classes[:last]
	}
	c.sels, c.places = nil, nil
	ix.releaseEffective(c)
}

func unlinkClass(m map[uint64]*class, c *class) {
	if m[c.hash] == c {
		if c.next == nil {
			delete(m, c.hash)
		} else {
			m[c.hash] = c.next
		}
		return
	}
	for p := m[c.hash]; p != nil; p = p.next {
		if p.next == c {
			p.next = c.next
			return
		}
	}
}

// rebuild gives a class its effective policy.
func (ix *Index) rebuild(c *class) {
	c.stale, c.since = false, 0
	if len(c.groups) == 0 {
		return
	}
	e := ix.effectiveFor(c)
	if e == c.eff {
		return
	}
	e.refs++
	ix.releaseEffective(c)
	c.eff = e
	for _, ls := range c.groups {
		ix.dirtyOwners(ls)
	}
}

// effectiveFor returns the effective policy that a class is to have; it creates one if
// there is none like it.
func (ix *Index) effectiveFor(c *class) *effRec {
	recs := ix.recBuf[:0]
	for _, s := range c.sels {
		for _, rec := range s.policies {
			if rec.active != nil && (c.kind.host() || !rec.p.DoNotTrack && !rec.p.PreDNAT) && (rec.p.Ingress || rec.p.Egress) {
				recs = append(recs, rec)
			}
		}
	}
	slices.SortFunc(recs, func(a, b *policyRec) int { return cmp.Compare(a.rank, b.rank) })
	ix.recBuf = recs
	key := ix.keyBuf[:0]
	key = append(key, uint64(c.kind))
	for _, rec := range recs {
		key = append(key, rec.seq, rec.tier.seq)
	}
	ix.keyBuf = key
	h := uint64(1)
	for _, v := range key {
		h = (h ^ v) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	e := ix.effectives[h]
	for e != nil && !slices.Equal(e.key, key) {
		e = e.next
	}
	if e == nil {
		ix.effSeq++
		e = &effRec{eff: buildEffective(ix.effSeq, c.kind, recs), hash: h, key: slices.Clone(key), next: ix.effectives[h]}
		for _, rec := range recs {
			e.policies = append(e.policies, rec.active)
			ix.usePolicy(rec.active, nil)
		}
		ix.effectives[h] = e
		ix.effectiveRecs[e.eff] = e
		ix.newEffs = append(ix.newEffs, e)
	}
	return e
}

func (ix *Index) releaseEffective(c *class) {
	e := c.eff
	if e == nil {
		return
	}
	c.eff = nil
	ix.release(e)
}

// dropEffective drops an effective policy that no class uses (any more).
func (ix *Index) dropEffective(e *effRec) bool {
	if e.refs > 0 || ix.effectiveRecs[e.eff] == nil {
		return false
	}
	delete(ix.effectiveRecs, e.eff)
	for _, p := range e.policies {
		ix.endUse(p)
	}
	if ix.effectives[e.hash] == e {
		if e.next == nil {
			delete(ix.effectives, e.hash)
		} else {
			ix.effectives[e.hash] = e.next
		}
		return true
	}
	for p := ix.effectives[e.hash]; p != nil; p = p.next {
		if p.next == e {
			p.next = e.next
			return true
		}
	}
	return false
}

// buildEffective merges policies, which are in order, into chains.
func buildEffective(id uint64, kind ownerKind, recs []*policyRec) *Effective {
	e := &Effective{ID: id, Host: kind.host(), DefaultAction: model.Allow}
	if kind == ownerHostDeny || kind == ownerGhost || kind == ownerDeniedPod {
		e.DefaultAction = model.Deny
	}
	add := func(c *Chain, rec *policyRec) {
		if n := len(*c); n == 0 || (*c)[n-1].Tier != rec.tier.tier {
			*c = append(*c, TierChain{Tier: rec.tier.tier})
		}
		t := &(*c)[len(*c)-1]
		t.Policies = append(t.Policies, rec.active)
		t.Enforced = t.Enforced || !rec.p.Audit
		e.ByName = e.ByName || rec.active.ByName && rec.p.Egress
	}
	for _, rec := range recs {
		p := rec.p
		switch {
		case p.DoNotTrack:
			if p.Ingress {
				add(&e.UntrackedIngress, rec)
			}
			if p.Egress {
				add(&e.UntrackedEgress, rec)
			}
		case p.PreDNAT:
			if p.Ingress {
				add(&e.PreDNAT, rec)
			}
		default:
			if p.Ingress {
				add(&e.Ingress, rec)
			}
			if p.Egress {
				add(&e.Egress, rec)
			}
			if e.Host && p.ApplyOnForward {
				if p.Ingress {
					add(&e.ForwardIngress, rec)
				}
				if p.Egress {
					add(&e.ForwardEgress, rec)
				}
			}
		}
	}
	if !e.Host {
		e.SelfIngress, e.SelfEgress = e.Ingress.toItself(), e.Egress.toItself()
	}
	return e
}

// toItself is the part of a pod's chain that governs what it sends to itself: the
// ClusterNetworkPolicies. After tier kube-admin, an enforced policy of another kind
// ends it: such a policy would decide there, and lets a pod reach itself.
func (c Chain) toItself() Chain {
	isCluster := func(p *Policy) bool { return p.Ref.Kind == model.KindClusterNetworkPolicy }
	if !slices.ContainsFunc(c, func(t TierChain) bool { return slices.ContainsFunc(t.Policies, isCluster) }) {
		return nil
	}
	var out Chain
	admin := adminTier()
	for i := range c {
		behind := model.CompareTiers(c[i].Tier, admin) > 0
		t := TierChain{Tier: c[i].Tier}
		ended := false
		for _, p := range c[i].Policies {
			if ended = behind && !isCluster(p) && !p.Audit; ended {
				break
			}
			if isCluster(p) {
				t.Policies = append(t.Policies, p)
				t.Enforced = t.Enforced || !p.Audit
			}
		}
		if len(t.Policies) > 0 {
			out = append(out, t)
		}
		if ended {
			break
		}
	}
	return out
}

// adminTier is the built-in tier of ClusterNetworkPolicies that come first.
func adminTier() *model.Tier {
	for _, t := range model.BuiltinTiers() {
		if t.Name == model.TierKubeAdmin {
			return t
		}
	}
	return nil
}
