package index

import (
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// metadataName is a label of every namespace that an API server has stored.
const metadataName = "kubernetes.io/metadata.name"

type accountKey struct{ namespace, name string }

// namespace returns a namespace's scope, and creates it if needed: pods may arrive
// before their namespace.
func (ix *Index) namespace(name string) *scope {
	ns := ix.namespaces[name]
	if ns == nil {
		ix.scopeSeq++
		ns = &scope{id: ix.scopeSeq, name: name}
		ix.namespaces[name] = ns
		ix.setScope(ns, model.PrefixNamespace, nil)
	}
	return ns
}

func (ix *Index) account(namespace, name string) *scope {
	k := accountKey{namespace, name}
	sa := ix.accounts[k]
	if sa == nil {
		ix.scopeSeq++
		sa = &scope{id: ix.scopeSeq, namespace: namespace, name: name}
		ix.accounts[k] = sa
		ix.setScope(sa, model.PrefixServiceAccount, nil)
	}
	return sa
}

// setScope gives a scope its labels and matches the label groups in it again.
func (ix *Index) setScope(s *scope, prefix string, labels map[string]string) {
	pairs := make([]pairID, 0, len(labels)+2)
	for k, v := range labels {
		if k != model.LabelName {
			pairs = append(pairs, ix.sym.pair(prefix+k, v))
		}
	}
	pairs = append(pairs, ix.sym.pair(prefix+model.LabelName, s.name))
	if _, ok := labels[metadataName]; !ok && prefix == model.PrefixNamespace {
		pairs = append(pairs, ix.sym.pair(prefix+metadataName, s.name))
	}
	slices.Sort(pairs)
	if slices.Equal(pairs, s.pairs) {
		ix.releasePairs(pairs)
		return
	}
	old := s.pairs
	for _, p := range old {
		delete(ix.sym.pairs[p].scopes, s)
	}
	s.pairs = pairs
	for _, p := range pairs {
		info := &ix.sym.pairs[p]
		if info.scopes == nil {
			info.scopes = map[*scope]struct{}{}
		}
		info.scopes[s] = struct{}{}
	}
	ix.releasePairs(old)
	for _, ls := range s.groups {
		ix.rematch(ls)
	}
}

func (ix *Index) releasePairs(pairs []pairID) {
	for _, p := range pairs {
		ix.sym.releasePair(p)
	}
}

func (ix *Index) freeScope(s *scope) {
	for _, p := range s.pairs {
		delete(ix.sym.pairs[p].scopes, s)
	}
	ix.releasePairs(s.pairs)
	s.pairs = nil
}

// releaseNamespace drops a namespace without an object, holders and selectors.
func (ix *Index) releaseNamespace(ns *scope) {
	if !ns.known && len(ns.groups) == 0 && ns.sels == 0 {
		ix.freeScope(ns)
		delete(ix.namespaces, ns.name)
	}
}

func (ix *Index) releaseAccount(sa *scope) {
	if !sa.known && len(sa.groups) == 0 {
		ix.freeScope(sa)
		delete(ix.accounts, accountKey{sa.namespace, sa.name})
	}
}

func (ix *Index) upsertNamespace(n *model.Namespace) {
	ns := ix.namespace(n.Name)
	ns.known = true
	ix.setScope(ns, model.PrefixNamespace, n.Labels)
}

func (ix *Index) deleteNamespace(name string) {
	if ns := ix.namespaces[name]; ns != nil {
		ns.known = false
		ix.setScope(ns, model.PrefixNamespace, nil)
		ix.releaseNamespace(ns)
	}
}

func (ix *Index) upsertAccount(a *model.ServiceAccount) {
	sa := ix.account(a.Namespace, a.Name)
	sa.known = true
	ix.setScope(sa, model.PrefixServiceAccount, a.Labels)
}

func (ix *Index) deleteAccount(namespace, name string) {
	if sa := ix.accounts[accountKey{namespace, name}]; sa != nil {
		sa.known = false
		ix.setScope(sa, model.PrefixServiceAccount, nil)
		ix.releaseAccount(sa)
	}
}

// ownPairs interns a holder's own labels. Labels that the core sets itself are not
// taken from the object.
func (ix *Index) ownPairs(buf []pairID, labels map[string]string) []pairID {
	for k, v := range labels {
		switch k {
		case model.LabelNamespace, model.LabelOrchestrator, model.LabelServiceAccount:
		default:
			buf = append(buf, ix.sym.pair(k, v))
		}
	}
	return buf
}

// labelsOf reconstructs a holder's own labels.
func (ix *Index) labelsOf(ls *labelGroup) map[string]string {
	m := make(map[string]string, len(ls.pairs))
	for _, p := range ls.pairs {
		info := &ix.sym.pairs[p]
		m[ix.sym.keys[info.key].name] = info.value
	}
	delete(m, model.LabelServiceAccount)
	return m
}
