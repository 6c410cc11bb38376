package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// Find returns the holder that is an endpoint, or nil.
func (ix *Index) Find(r model.Ref) *Holder {
	switch r.Kind {
	case model.KindPod:
		if ns := ix.namespaces[r.Namespace]; ns != nil {
			return ix.pods[podKey{ns, r.Name}]
		}
	case model.KindHostEndpoint:
		return ix.hosts[r.Name]
	case model.KindPodGhost:
		return ix.ghosts[r]
	}
	return nil
}

// Effective returns a local endpoint's effective policy as of the last Flush,
// or nil for anything else.
func (ix *Index) Effective(endpoint model.Ref) *Effective {
	if o := ix.Find(endpoint); o != nil {
		return o.Effective()
	}
	return nil
}

// Effective is the effective policy of a local endpoint as of the last Flush, or nil.
func (o *Holder) Effective() *Effective {
	if o.late != nil {
		return o.late.eff
	}
	if !o.local || o.ls.class == nil || o.ls.class.eff == nil {
		return nil
	}
	return o.ls.class.eff.eff
}

// Endpoint returns a copy of an endpoint, local or not. A host endpoint without
// addresses of its own has those of its node.
func (ix *Index) Endpoint(r model.Ref) (*model.Endpoint, bool) {
	o := ix.Find(r)
	if o == nil {
		return nil, false
	}
	e := &model.Endpoint{
		Ref: r, Node: o.node, Labels: ix.labelsOf(o.ls), Addrs: slices.Clone(o.addrs), Ports: slices.Clone(o.ports()),
		Denied: o.IsDenied(),
	}
	if o.ls.sa != nil {
		e.ServiceAccount = o.ls.sa.name
	}
	if o.host() != nil {
		h := o.host().HostEndpoint
		e.Host = &h
	}
	return e, true
}

// Endpoints returns the refs of all endpoints, including ghosts, sorted.
func (ix *Index) Endpoints() []model.Ref {
	if ix.endpointRefs != nil {
		return ix.endpointRefs
	}
	out := make([]model.Ref, 0, len(ix.pods)+len(ix.hosts)+len(ix.ghosts))
	for _, o := range ix.pods {
		out = append(out, o.Ref())
	}
	for _, o := range ix.hosts {
		out = append(out, o.Ref())
	}
	for r := range ix.ghosts {
		out = append(out, r)
	}
	slices.SortFunc(out, model.Ref.Compare)
	ix.endpointRefs = out
	return out
}

// NetworkSets returns the refs of all network sets, sorted.
func (ix *Index) NetworkSets() []model.Ref {
	out := make([]model.Ref, 0, len(ix.networkSets))
	for r := range ix.networkSets {
		out = append(out, r)
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}

// NetworkSet returns the blocks of a network set, sorted. The caller must not change
// them.
func (ix *Index) NetworkSet(r model.Ref) []netip.Prefix {
	if o := ix.networkSets[r]; o != nil {
		return o.nets()
	}
	return nil
}

// NetworkSetDomains returns the names of a network set, sorted.
func (ix *Index) NetworkSetDomains(r model.Ref) []names.Pattern {
	if o := ix.networkSets[r]; o != nil {
		return patternsOf(o.domains())
	}
	return nil
}

// NetworkSetLabels returns the labels of a network set, with those that the core adds.
func (ix *Index) NetworkSetLabels(r model.Ref) map[string]string {
	if o := ix.networkSets[r]; o != nil {
		return ix.labelsOf(o.ls)
	}
	return nil
}

// ownerOf returns the pod that has an address, or else the host endpoint, or nil. For
// the precedence among several, see Before.
func (ix *Index) ownerOf(a netip.Addr) *Holder {
	a = a.Unmap()
	if !a.IsValid() {
		return nil
	}
	var best *Holder
	ix.addrs.holders(single(a), func(o *Holder) bool {
		if !o.endpoint() {
			return true
		}
		switch {
		case best == nil, best.host() != nil && o.host() == nil:
			best = o
		case best.host() == nil && o.host() != nil:
		case Before(o, best):
			best = o
		}
		return true
	})
	return best
}

// Owner returns the pod that has an address, or else the host endpoint, or the zero
// Ref. Local ones take precedence, then the first by name.
func (ix *Index) Owner(a netip.Addr) model.Ref {
	if o := ix.ownerOf(a); o != nil {
		return o.Ref()
	}
	return model.Ref{}
}

// Clash returns a local pod that has an address and a pod of another node that claims
// it, each the first by name; ok is false unless both exist.
func (ix *Index) Clash(a netip.Addr) (local, other model.Ref, ok bool) {
	var mine, theirs *Holder
	ix.addrs.holders(single(a.Unmap()), func(o *Holder) bool {
		side := &theirs
		if o.local {
			side = &mine
		}
		if o.ls.kind.pod() && (*side == nil || Before(o, *side)) {
			*side = o
		}
		return true
	})
	if mine == nil || theirs == nil {
		return model.Ref{}, model.Ref{}, false
	}
	return mine.Ref(), theirs.Ref(), true
}

// Node returns a node by name, or nil. Its addresses are those of its object, followed
// by those that only its Links list. A node of which only Links are known has neither
// labels nor pod blocks.
func (ix *Index) Node(name string) *model.Node {
	if rec := ix.nodes[name]; rec != nil {
		return rec.node
	}
	return nil
}

// Links returns the interfaces of a node, or nil if they are unknown.
func (ix *Index) Links(node string) *model.Links {
	if rec := ix.nodes[node]; rec != nil && rec.links != nil {
		return rec.links.Links
	}
	return nil
}

// NodeOf returns the node that has an address, or nil; the first by name if there are
// several.
func (ix *Index) NodeOf(a netip.Addr) *model.Node {
	a = a.Unmap()
	if !a.IsValid() {
		return nil
	}
	name, found := "", false
	ix.addrs.holders(single(a), func(o *Holder) bool {
		if o.ls.kind == ownerNode && (!found || o.name < name) {
			name, found = o.name, true
		}
		return true
	})
	if !found {
		return nil
	}
	return ix.nodes[name].node
}

// Nodes returns all nodes, by name.
func (ix *Index) Nodes() []*model.Node {
	var out []*model.Node
	for _, rec := range ix.nodes {
		if rec.node != nil {
			out = append(out, rec.node)
		}
	}
	slices.SortFunc(out, func(a, b *model.Node) int { return a.Key().Compare(b.Key()) })
	return out
}

// Settings returns the settings in force.
func (ix *Index) Settings() *model.Settings { return ix.settings }

// Tiers returns all tiers in order, including those that only policies name.
func (ix *Index) Tiers() []*model.Tier {
	out := make([]*model.Tier, 0, len(ix.tiers))
	for _, rec := range ix.tiers {
		out = append(out, rec.tier)
	}
	slices.SortFunc(out, model.CompareTiers)
	return out
}

// Policies returns all policies in evaluation order, as of the last Flush.
func (ix *Index) Policies() []*model.Policy {
	out := make([]*model.Policy, len(ix.order))
	for i, rec := range ix.order {
		out[i] = rec.p
	}
	return out
}

// Policy returns a policy by ref, or nil.
func (ix *Index) Policy(r model.Ref) *model.Policy {
	if rec := ix.policies[r]; rec != nil {
		return rec.p
	}
	return nil
}

// Selected returns the local endpoints that a policy selects, sorted, whether or not
// the policy has any effect on them (doNotTrack on a pod has none).
func (ix *Index) Selected(policy model.Ref) []model.Ref {
	rec := ix.policies[policy]
	if rec == nil {
		return nil
	}
	var out []model.Ref
	for _, ls := range rec.sel.groups {
		for _, o := range ls.owners {
			if o.local {
				out = append(out, o.Ref())
			}
		}
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}
