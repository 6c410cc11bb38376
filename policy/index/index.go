package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// Options of an Index.
type Options struct {
	// Local reports whether the endpoints of a node are local; nil: all are. Only local
	// endpoints have effective policies.
	Local func(node string) bool
}

// Index is the incremental core. Not safe for concurrent use.
//
// How it works. Holders of addresses are grouped by label set (labels.go);
// selectors are filed under the narrowest condition that they set (match.go);
// the two meet only where they could match. A policy is active while it selects
// a local endpoint; active policies refer to sets, which give their selectors
// the role of peers (policies.go, addrsets.go). Local label sets that the same
// policies select form a class, and classes share effective policies
// (classes.go). Upsert and Delete keep the matches up to date; everything that is
// built on them waits for Flush.
type Index struct {
	local func(node string) bool

	sym        symbols
	view       view
	stamp      uint32
	setByHash  map[uint64]*labelSet
	setByID    []*labelSet
	freeSets   []setID
	namespaces map[string]*scope
	accounts   map[accountKey]*scope
	scopeSeq   uint32

	sels     map[string]*sel
	selSeq   uint64
	buckets  buckets
	subjects map[*sel]struct{}

	addrs       addresses
	pods        map[podKey]*Holder
	hosts       map[string]*Holder
	networkSets map[model.Ref]*Holder
	ghosts      map[model.Ref]*Holder
	nodes       map[string]*NodeState
	// clusterAddrs are the nodes' addresses; nil: to be gathered anew.
	clusterAddrs []netip.Addr
	// clusterBlocks are the nodes' blocks of pod addresses; nil: as before.
	clusterBlocks []netip.Prefix
	services      map[model.ServiceRef]*service
	slices        map[model.Ref]*model.ServiceSlice
	settings      *model.Settings

	tiers    map[string]*tierRec
	policies map[model.Ref]*policyRec
	order    []*policyRec // sorted, but for those in reorder
	reorder  []*policyRec
	rankFrom int  // ranks from here on are out of date
	resort   bool // order is to be made anew
	seq      uint64

	classes    map[uint64]*class
	classSeq   uint64
	effectives map[uint64]*effRec
	effSeq     uint64

	// What waits for Flush.
	queuedSels      []*sel
	dirtyLabelSets  []*labelSet
	staled, emptied []*class
	newEffs         []*effRec
	idleEffs        []*effRec
	released        []*Set
	idle            []*sel
	dirtySets       []*Set
	goneSets        []*Set
	dirtyEndpoints  map[model.Ref]struct{}
	changedNodes    map[string]struct{}
	// What the last Delta said: of the local endpoints, the nodes, the settings.
	told map[model.Ref]EndpointDelta
	// What endpoints have that wait for their class's effective policy, all effective
	// policies, how policies are used, and how many FlushParts there have been; see late.go.
	held          map[model.Ref]*effRec
	effectiveRecs map[*Effective]*effRec
	usedPolicies  map[*Policy]*policyUse
	flushes       uint64
	// ahead is the class whose effective policy is built ahead, aheadEff that one.
	ahead        *class
	aheadEff     *effRec
	toldNodes    map[string]*model.Node
	toldObjects  map[string]*model.Node
	toldLinks    map[string]*model.Links // of local nodes
	toldSettings *model.Settings

	// Buffers that are used again.
	pairBuf  []pairID
	selBuf   []*sel
	recBuf   []*policyRec
	keyBuf   []uint64
	seenSels map[*sel]struct{}
}

// New returns an Index with the built-in tiers and default settings.
func New(o Options) *Index {
	ix := &Index{
		local:          o.Local,
		sym:            newSymbols(),
		setByHash:      map[uint64]*labelSet{},
		namespaces:     map[string]*scope{},
		accounts:       map[accountKey]*scope{},
		sels:           map[string]*sel{},
		buckets:        buckets{},
		subjects:       map[*sel]struct{}{},
		addrs:          newAddresses(),
		pods:           map[podKey]*Holder{},
		hosts:          map[string]*Holder{},
		networkSets:    map[model.Ref]*Holder{},
		ghosts:         map[model.Ref]*Holder{},
		nodes:          map[string]*NodeState{},
		services:       map[model.ServiceRef]*service{},
		slices:         map[model.Ref]*model.ServiceSlice{},
		settings:       model.DefaultSettings(),
		tiers:          map[string]*tierRec{},
		policies:       map[model.Ref]*policyRec{},
		classes:        map[uint64]*class{},
		effectives:     map[uint64]*effRec{},
		dirtyEndpoints: map[model.Ref]struct{}{},
		changedNodes:   map[string]struct{}{},
		told:           map[model.Ref]EndpointDelta{},
		held:           map[model.Ref]*effRec{},
		effectiveRecs:  map[*Effective]*effRec{},
		usedPolicies:   map[*Policy]*policyUse{},
		toldNodes:      map[string]*model.Node{},
		toldObjects:    map[string]*model.Node{},
		toldLinks:      map[string]*model.Links{},
		seenSels:       map[*sel]struct{}{},
	}
	ix.view.sym, ix.toldSettings = &ix.sym, ix.settings
	for _, t := range model.BuiltinTiers() {
		ix.seq++
		ix.tiers[t.Name] = &tierRec{tier: t, seq: ix.seq, fixed: true}
	}
	return ix
}

// Upsert adds or replaces an object. The Index keeps what it is given: the
// caller does not change it any more. An object of a type that the core does
// not know is ignored.
func (ix *Index) Upsert(o model.Object) {
	switch o := o.(type) {
	case *model.Endpoint:
		ix.upsertEndpoint(o)
	case *model.Policy:
		ix.upsertPolicy(o)
	case *model.NetworkSet:
		ix.upsertNetworkSet(o)
	case *model.Namespace:
		ix.upsertNamespace(o)
	case *model.ServiceAccount:
		ix.upsertAccount(o)
	case *model.ServiceSlice:
		ix.upsertSlice(o)
	case *model.Node:
		ix.upsertNode(o)
	case *model.Links:
		ix.upsertLinks(o)
	case *model.Tier:
		ix.upsertTier(o)
	case *model.Settings:
		ix.setSettings(o)
	}
}

// Delete removes an object. One that is not there is no error. Built-in tiers
// stay, and the settings go back to their defaults.
func (ix *Index) Delete(r model.Ref) {
	switch r.Kind {
	case model.KindPod:
		ix.deletePod(r.Namespace, r.Name)
	case model.KindHostEndpoint:
		ix.deleteHost(r.Name)
	case model.KindPodGhost:
		ix.deleteGhost(r)
	case model.KindGlobalNetworkSet, model.KindNetworkSet:
		ix.deleteNetworkSet(r)
	case model.KindNamespace:
		ix.deleteNamespace(r.Name)
	case model.KindServiceAccount:
		ix.deleteAccount(r.Namespace, r.Name)
	case model.KindEndpointSlice:
		ix.deleteSlice(r)
	case model.KindNode:
		ix.deleteNode(r.Name)
	case model.KindNodeLinks:
		ix.deleteLinks(r.Name)
	case model.KindTier:
		ix.deleteTier(r.Name)
	case model.KindTierwall:
		ix.setSettings(model.DefaultSettings())
	default:
		ix.deletePolicy(r)
	}
}

func (ix *Index) dirtyEndpoint(o *Holder) {
	if o.endpoint() {
		ix.dirtyEndpoints[o.Ref()] = struct{}{}
	}
}

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
// addresses of its own comes with those of its node.
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

// Endpoints returns the refs of all endpoints, ghosts among them, sorted.
func (ix *Index) Endpoints() []model.Ref {
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

// NetworkSet returns the blocks of a network set, sorted. The caller does not change them.
func (ix *Index) NetworkSet(r model.Ref) []netip.Prefix {
	if o := ix.networkSets[r]; o != nil {
		return o.nets()
	}
	return nil
}

// ownerOf returns the pod that has an address, or else the host endpoint, or
// nil. Which of several counts: see before.
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

// Owner returns the pod that has an address, or else the host endpoint, or the
// zero Ref. Of several a local one counts, and of these the first by name.
func (ix *Index) Owner(a netip.Addr) model.Ref {
	if o := ix.ownerOf(a); o != nil {
		return o.Ref()
	}
	return model.Ref{}
}

// Clash returns a local pod that has an address and a pod of another node that
// claims it, each the first by name; ok is false where there are not both.
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

// Node returns a node by name, or nil. Its addresses are those of its object,
// then those that only its Links list. A node of which only Links are known has
// neither labels nor pod blocks.
func (ix *Index) Node(name string) *model.Node {
	if rec := ix.nodes[name]; rec != nil {
		return rec.node
	}
	return nil
}

// Links returns what is known of a node's interfaces, or nil.
func (ix *Index) Links(node string) *model.Links {
	if rec := ix.nodes[node]; rec != nil && rec.links != nil {
		return rec.links.Links
	}
	return nil
}

// NodeOf returns the node that has an address, or nil. Of several the first by name counts.
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

// Tiers returns all tiers in order, those that are only named by policies too.
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

// Selected returns the local endpoints that a policy selects, sorted. Whether
// the policy counts for anything on them (doNotTrack on a pod does not) is
// another matter.
func (ix *Index) Selected(policy model.Ref) []model.Ref {
	rec := ix.policies[policy]
	if rec == nil {
		return nil
	}
	var out []model.Ref
	for _, ls := range rec.sel.sets {
		for _, o := range ls.owners {
			if o.local {
				out = append(out, o.Ref())
			}
		}
	}
	slices.SortFunc(out, model.Ref.Compare)
	return out
}
