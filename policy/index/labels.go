package index

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// groupID numbers the label groups that exist, from 0; numbers are reused.
type groupID uint32

// ownerKind is the kind of a holder. It is part of a label group's identity, and for
// host endpoints so is the default action: the endpoints of one label group then always
// have the same effective policy.
type ownerKind uint8

const (
	ownerPod ownerKind = iota
	ownerHostDeny
	ownerHostAllow
	ownerNetworkSet
	ownerNamespacedSet
	ownerNode
	ownerGhost
	ownerDeniedPod // model.Endpoint.Denied
)

func (k ownerKind) host() bool { return k == ownerHostDeny || k == ownerHostAllow }

func (k ownerKind) pod() bool { return k == ownerPod || k == ownerDeniedPod }

func (k ownerKind) label() string {
	switch k {
	case ownerPod, ownerDeniedPod:
		return model.OwnerPod
	case ownerHostDeny, ownerHostAllow:
		return model.OwnerHostEndpoint
	case ownerNetworkSet:
		return model.OwnerNetworkSet
	case ownerNamespacedSet:
		return model.OwnerNamespacedSet
	case ownerGhost:
		return model.OwnerGhost
	}
	return model.OwnerNode
}

// scope is a namespace or a service account: labels that many holders share.
type scope struct {
	id        uint32
	namespace string // of a service account
	name      string
	pairs     []pairID      // labels, keys prefixed with ns: or sa:
	groups    []*labelGroup // label groups in the scope
	known     bool          // an object of that name exists
	// buckets file the selectors that require this namespace; sels counts them.
	buckets buckets
	sels    int
}

// labelGroup is a distinct combination of everything that selectors can see of a
// holder: kind, own labels, namespace, service account. Matching is done once for each
// label group, however many holders it has.
type labelGroup struct {
	id       groupID
	nsPos    int32  // in ns.groups
	classPos int32  // in class.groups
	stamp    uint32 // last scan that saw it
	local    int32  // local endpoints among the owners
	domains  int32  // network sets with names among them
	kind     ownerKind
	dirty    bool   // its class has to be looked up again
	ns, sa   *scope // nil for none
	pairs    []pairID
	owners   []*Holder
	matched  []match
	class    *class      // of local endpoints
	next     *labelGroup // same hash
}

// match is one selector that matches a label group, and the group's position in the
// selector's list.
type match struct {
	sel *sel
	pos int32
}

func hashGroup(kind ownerKind, ns, sa *scope, pairs []pairID) uint64 {
	const prime = 0x9E3779B97F4A7C15
	h := uint64(kind) + 1
	mix := func(v uint64) {
		h = (h ^ v) * prime
		h ^= h >> 29
	}
	if ns != nil {
		mix(uint64(ns.id) + 1)
	}
	if sa != nil {
		mix(uint64(sa.id)<<32 + 1)
	}
	for _, p := range pairs {
		mix(uint64(p) + 3)
	}
	return h
}

// groupFor returns the label group with these labels, and whether it is new: then the
// caller still has to match it. It takes over the references that the caller holds to
// the pairs, and copies the slice.
func (ix *Index) groupFor(kind ownerKind, ns, sa *scope, pairs []pairID) (ls *labelGroup, isNew bool) {
	h := hashGroup(kind, ns, sa, pairs)
	for ls = ix.groupByHash[h]; ls != nil; ls = ls.next {
		if ls.kind == kind && ls.ns == ns && ls.sa == sa && slices.Equal(ls.pairs, pairs) {
			for _, p := range pairs {
				ix.sym.releasePair(p)
			}
			return ls, false
		}
	}
	ls = &labelGroup{kind: kind, ns: ns, sa: sa, pairs: slices.Clone(pairs), next: ix.groupByHash[h]}
	ix.groupByHash[h] = ls
	if n := len(ix.freeGroups); n > 0 {
		ls.id, ix.freeGroups = ix.freeGroups[n-1], ix.freeGroups[:n-1]
		ix.groupByID[ls.id] = ls
	} else {
		ls.id = groupID(len(ix.groupByID))
		ix.groupByID = append(ix.groupByID, ls)
	}
	for _, p := range ls.pairs {
		info := &ix.sym.pairs[p]
		info.groups = append(info.groups, ls.id)
	}
	if ns != nil {
		ls.nsPos = int32(len(ns.groups))
		ns.groups = append(ns.groups, ls)
	}
	if sa != nil {
		sa.groups = append(sa.groups, ls)
	}
	return ls, true
}

// dropGroup drops a label group that no holder has any more.
func (ix *Index) dropGroup(ls *labelGroup) {
	for len(ls.matched) > 0 {
		ix.unmatch(ls, len(ls.matched)-1)
	}
	ix.leaveClass(ls)
	h := hashGroup(ls.kind, ls.ns, ls.sa, ls.pairs)
	if head := ix.groupByHash[h]; head == ls && ls.next == nil {
		delete(ix.groupByHash, h)
	} else if head == ls {
		ix.groupByHash[h] = ls.next
	} else {
		for p := head; p != nil; p = p.next {
			if p.next == ls {
				p.next = ls.next
				break
			}
		}
	}
	ix.groupByID[ls.id] = nil
	ix.freeGroups = append(ix.freeGroups, ls.id)
	for _, p := range ls.pairs {
		info := &ix.sym.pairs[p]
		if info.dead++; info.dead > 32 && info.dead > len(info.groups)/2 {
			ix.cleanPostings(p)
		}
		ix.sym.releasePair(p)
	}
	if ns := ls.ns; ns != nil {
		moved := ns.groups[len(ns.groups)-1]
		ns.groups[ls.nsPos], moved.nsPos = moved, ls.nsPos
		ns.groups[len(ns.groups)-1] = nil
		ns.groups = ns.groups[:len(ns.groups)-1]
		ix.releaseNamespace(ns)
	}
	if sa := ls.sa; sa != nil {
		sa.groups[slices.Index(sa.groups, ls)] = sa.groups[len(sa.groups)-1]
		sa.groups[len(sa.groups)-1] = nil
		sa.groups = sa.groups[:len(sa.groups)-1]
		ix.releaseAccount(sa)
	}
	ls.local = 0 // so that a Flush which still has it in a list leaves it alone
}

// cleanPostings drops the stale entries of a pair's list.
func (ix *Index) cleanPostings(p pairID) {
	info := &ix.sym.pairs[p]
	ix.stamp++
	kept := info.groups[:0]
	for _, id := range info.groups {
		if ls := ix.groupByID[id]; ls != nil && ls.stamp != ix.stamp && slices.Contains(ls.pairs, p) {
			ls.stamp = ix.stamp
			kept = append(kept, id)
		}
	}
	info.groups, info.dead = kept, 0
}

// view lets selectors look at a label group. There is one per Index, so that evaluation
// allocates nothing.
type view struct {
	sym *symbols
	ls  *labelGroup
}

// Get implements selector.Labels.
func (v *view) Get(key string) (string, bool) {
	ls := v.ls
	switch key {
	case model.LabelNamespace:
		if ls.ns == nil {
			return "", false
		}
		return ls.ns.name, true
	case model.LabelOrchestrator:
		if !ls.kind.pod() {
			return "", false
		}
		return model.OrchestratorKubernetes, true
	case model.LabelKind:
		return ls.kind.label(), true
	}
	id, ok := v.sym.find(key)
	if !ok {
		return "", false
	}
	pairs := ls.pairs
	if len(key) > 3 && key[2] == ':' {
		switch key[:3] {
		case model.PrefixNamespace:
			if ls.ns == nil {
				return "", false
			}
			pairs = ls.ns.pairs
		case model.PrefixServiceAccount:
			if ls.sa == nil {
				return "", false
			}
			pairs = ls.sa.pairs
		}
	}
	for _, p := range pairs {
		if info := &v.sym.pairs[p]; info.key == id {
			return info.value, true
		}
	}
	return "", false
}
