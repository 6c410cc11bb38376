package index

import (
	"net/netip"

	"github.com/tierwall/tierwall/policy/model"
)

// Options of an Index.
type Options struct {
	// Local reports whether the endpoints of a node are local; nil means all. Only
	// local endpoints have effective policies.
	Local func(node string) bool
}

// Index is the incremental core. Not safe for concurrent use.
//
// How it works: Holders of addresses are grouped by label group (labels.go); selectors
// are filed under the narrowest condition that they require (buckets.go); the two meet
// only where they could match. A policy is active while it selects a local endpoint;
// active policies refer to sets, which give their selectors the role of peers
// (policies.go, addrsets.go). Local label groups that the same policies select form a
// class, and classes share effective policies (classes.go). Upsert and Delete keep the
// matches up to date; everything that is built on them waits for Flush.
type Index struct {
	local func(node string) bool

	sym         symbols
	view        view
	stamp       uint32
	groupByHash map[uint64]*labelGroup
	groupByID   []*labelGroup
	freeGroups  []groupID
	namespaces  map[string]*scope
	accounts    map[accountKey]*scope
	scopeSeq    uint32

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
	// clusterAddrs are the nodes' addresses; nil means that they have to be collected
	// again.
	clusterAddrs []netip.Addr
	// endpointRefs are sorted; nil means that they have to be collected.
	endpointRefs []model.Ref
	// clusterBlocks are the nodes' pod blocks; nil likewise.
	clusterBlocks []netip.Prefix
	services      map[model.ServiceRef]*service
	domains       domains
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

	// Work that waits for Flush.
	queuedSels       []*sel
	dirtyLabelGroups []*labelGroup
	staled, emptied  []*class
	newEffs          []*effRec
	idleEffs         []*effRec
	released         []*Set
	idle             []*sel
	dirtySets        []*Set
	goneSets         []*Set
	dirtyEndpoints   map[model.Ref]struct{}
	changedNodes     map[string]struct{}
	// The contents of the last Delta: local endpoints, nodes, settings.
	reported map[model.Ref]EndpointDelta
	// The effective policies of endpoints that wait for their class's, all effective
	// policies, the uses of policies, and the number of FlushParts so far; see late.go.
	held          map[model.Ref]*effRec
	effectiveRecs map[*Effective]*effRec
	usedPolicies  map[*Policy]*policyUse
	flushes       uint64
	// ahead is the class whose effective policy is built ahead, aheadEff that policy.
	ahead            *class
	aheadEff         *effRec
	reportedNodes    map[string]*model.Node
	reportedObjects  map[string]*model.Node
	reportedLinks    map[string]*model.Links // of local nodes
	reportedSettings *model.Settings

	// Reusable buffers.
	pairBuf  []pairID
	selBuf   []*sel
	recBuf   []*policyRec
	keyBuf   []uint64
	seenSels map[*sel]struct{}
}

// New returns an Index with the built-in tiers and default settings.
func New(o Options) *Index {
	ix := &Index{
		local:           o.Local,
		sym:             newSymbols(),
		groupByHash:     map[uint64]*labelGroup{},
		namespaces:      map[string]*scope{},
		accounts:        map[accountKey]*scope{},
		sels:            map[string]*sel{},
		buckets:         buckets{},
		subjects:        map[*sel]struct{}{},
		addrs:           newAddresses(),
		pods:            map[podKey]*Holder{},
		hosts:           map[string]*Holder{},
		networkSets:     map[model.Ref]*Holder{},
		ghosts:          map[model.Ref]*Holder{},
		nodes:           map[string]*NodeState{},
		services:        map[model.ServiceRef]*service{},
		domains:         newDomains(),
		slices:          map[model.Ref]*model.ServiceSlice{},
		settings:        model.DefaultSettings(),
		tiers:           map[string]*tierRec{},
		policies:        map[model.Ref]*policyRec{},
		classes:         map[uint64]*class{},
		effectives:      map[uint64]*effRec{},
		dirtyEndpoints:  map[model.Ref]struct{}{},
		changedNodes:    map[string]struct{}{},
		reported:        map[model.Ref]EndpointDelta{},
		held:            map[model.Ref]*effRec{},
		effectiveRecs:   map[*Effective]*effRec{},
		usedPolicies:    map[*Policy]*policyUse{},
		reportedNodes:   map[string]*model.Node{},
		reportedObjects: map[string]*model.Node{},
		reportedLinks:   map[string]*model.Links{},
		seenSels:        map[*sel]struct{}{},
	}
	ix.view.sym, ix.reportedSettings = &ix.sym, ix.settings
	for _, t := range model.BuiltinTiers() {
		ix.seq++
		ix.tiers[t.Name] = &tierRec{tier: t, seq: ix.seq, fixed: true}
	}
	return ix
}

// Upsert adds or replaces an object. The Index keeps it: the caller must not change it
// afterwards. An object of an unknown type is ignored.
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

// Delete removes an object. It is a no-op if there is no such object. Built-in tiers
// stay, and the settings return to their defaults.
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
