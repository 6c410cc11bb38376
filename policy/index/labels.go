package index

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// setID numbers the live label sets, from 0; numbers are used again.
type setID uint32

// ownerKind is the kind of an owner of addresses. It is part of a label set's
// identity, and for host endpoints so is the default action: endpoints of one
// label set then always have one effective policy.
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

// scope is a namespace or a service account: labels that many owners share.
type scope struct {
	id        uint32
	namespace string // of a service account
	name      string
	pairs     []pairID    // labels, keys prefixed with ns: or sa:
	sets      []*labelSet // label sets in the scope
	known     bool        // an object of that name exists
	// buckets file the selectors that need this namespace; sels counts them.
	buckets buckets
	sels    int
}

// labelSet is a distinct combination of everything that selectors can see of an
// owner: kind, own labels, namespace, service account. Matching is done once a
// label set, however many owners have it.
type labelSet struct {
	id       setID
	nsPos    int32  // in ns.sets
	classPos int32  // in class.sets
	stamp    uint32 // last scan that saw it
	local    int32  // local endpoints among the owners
	kind     ownerKind
	dirty    bool   // its class has to be looked up again
	ns, sa   *scope // nil for none
	pairs    []pairID
	owners   []*Holder
	matched  []match
	class    *class    // of local endpoints
	next     *labelSet // same hash
}

// match is one selector that matches a label set, and the set's place in the
// selector's list.
type match struct {
	sel *sel
	pos int32
}

func hashSet(kind ownerKind, ns, sa *scope, pairs []pairID) uint64 {
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

// setFor returns the label set of these labels, and whether it is new: then the
// caller has yet to match it. It takes over the references that the caller
// holds to the pairs, and copies the slice.
func (ix *Index) setFor(kind ownerKind, ns, sa *scope, pairs []pairID) (ls *labelSet, isNew bool) {
	h := hashSet(kind, ns, sa, pairs)
	for ls = ix.setByHash[h]; ls != nil; ls = ls.next {
		if ls.kind == kind && ls.ns == ns && ls.sa == sa && slices.Equal(ls.pairs, pairs) {
			for _, p := range pairs {
				ix.sym.releasePair(p)
			}
			return ls, false
		}
	}
	ls = &labelSet{kind: kind, ns: ns, sa: sa, pairs: slices.Clone(pairs), next: ix.setByHash[h]}
	ix.setByHash[h] = ls
	if n := len(ix.freeSets); n > 0 {
		ls.id, ix.freeSets = ix.freeSets[n-1], ix.freeSets[:n-1]
		ix.setByID[ls.id] = ls
	} else {
		ls.id = setID(len(ix.setByID))
		ix.setByID = append(ix.setByID, ls)
	}
	for _, p := range ls.pairs {
		info := &ix.sym.pairs[p]
		info.sets = append(info.sets, ls.id)
	}
	if ns != nil {
		ls.nsPos = int32(len(ns.sets))
		ns.sets = append(ns.sets, ls)
	}
	if sa != nil {
		sa.sets = append(sa.sets, ls)
	}
	return ls, true
}

// dropSet forgets a label set that no owner has any more.
func (ix *Index) dropSet(ls *labelSet) {
	for len(ls.matched) > 0 {
		ix.unmatch(ls, len(ls.matched)-1)
	}
	ix.leaveClass(ls)
	h := hashSet(ls.kind, ls.ns, ls.sa, ls.pairs)
	if head := ix.setByHash[h]; head == ls && ls.next == nil {
		delete(ix.setByHash, h)
	} else if head == ls {
		ix.setByHash[h] = ls.next
	} else {
		for p := head; p != nil; p = p.next {
			if p.next == ls {
				p.next = ls.next
				break
			}
		}
	}
	ix.setByID[ls.id] = nil
	ix.freeSets = append(ix.freeSets, ls.id)
	for _, p := range ls.pairs {
		info := &ix.sym.pairs[p]
		if info.dead++; info.dead > 32 && info.dead > len(info.sets)/2 {
			ix.cleanPostings(p)
		}
		ix.sym.releasePair(p)
	}
	if ns := ls.ns; ns != nil {
		moved := ns.sets[len(ns.sets)-1]
		ns.sets[ls.nsPos], moved.nsPos = moved, ls.nsPos
		ns.sets[len(ns.sets)-1] = nil
		ns.sets = ns.sets[:len(ns.sets)-1]
		ix.releaseNamespace(ns)
	}
	if sa := ls.sa; sa != nil {
		sa.sets[slices.Index(sa.sets, ls)] = sa.sets[len(sa.sets)-1]
		sa.sets[len(sa.sets)-1] = nil
		sa.sets = sa.sets[:len(sa.sets)-1]
		ix.releaseAccount(sa)
	}
	ls.local = 0 // so that a Flush which still has it in a list leaves it alone
}

// cleanPostings drops the stale entries of a pair's list.
func (ix *Index) cleanPostings(p pairID) {
	info := &ix.sym.pairs[p]
	ix.stamp++
	kept := info.sets[:0]
	for _, id := range info.sets {
		if ls := ix.setByID[id]; ls != nil && ls.stamp != ix.stamp && slices.Contains(ls.pairs, p) {
			ls.stamp = ix.stamp
			kept = append(kept, id)
		}
	}
	info.sets, info.dead = kept, 0
}

// view lets selectors look at a label set. One per Index, so that evaluation
// allocates nothing.
type view struct {
	sym *symbols
	ls  *labelSet
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
