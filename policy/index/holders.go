package index

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/tierwall/tierwall/policy/model"
)

// Holder is an object with addresses and labels: a pod, a host endpoint, a network set
// or a node. It can also be a pod's ghost, which has no labels.
type Holder struct {
	name  string
	ls    *labelGroup
	lsPos int32
	local bool
	addrs []netip.Addr // sorted, unique
	node  string
	rare  *rarePart // nil where it would be empty
	late  *effRec   // what it has while it waits for its class's effective policy; nil: it does not wait
}

// rarePart holds what few holders have. A cluster's remote pods account for most of an
// agent's memory, so what they do not need is kept separately.
type rarePart struct {
	nets  []netip.Prefix // of network sets; sorted, unique
	names []*domain      // of network sets, as NetworkSet.Domains
	ports []model.NamedPort
	host  *hostPart
}

func (o *Holder) nets() []netip.Prefix {
	if o.rare == nil {
		return nil
	}
	return o.rare.nets
}

func (o *Holder) domains() []*domain {
	if o.rare == nil {
		return nil
	}
	return o.rare.names
}

func (o *Holder) ports() []model.NamedPort {
	if o.rare == nil {
		return nil
	}
	return o.rare.ports
}

// host is nil except for host endpoints.
func (o *Holder) host() *hostPart {
	if o.rare == nil {
		return nil
	}
	return o.rare.host
}

// hostPart holds the fields of host endpoints.
type hostPart struct {
	model.HostEndpoint
	// fixed: the object itself lists the addresses. Otherwise they are those of its
	// node.
	fixed bool
}

// Ref names the holder. A holder without a namespace in its name has none in its label
// group either.
func (o *Holder) Ref() model.Ref {
	switch o.ls.kind {
	case ownerPod, ownerDeniedPod:
		return model.Ref{Kind: model.KindPod, Namespace: o.ls.ns.name, Name: o.name}
	case ownerHostDeny, ownerHostAllow:
		return model.Ref{Kind: model.KindHostEndpoint, Name: o.name}
	case ownerNode:
		return model.Ref{Kind: model.KindNode, Name: o.name}
	case ownerGhost:
		namespace, name, _ := strings.Cut(o.name, "/")
		return model.Ref{Kind: model.KindPodGhost, Namespace: namespace, Name: name}
	}
	if o.ls.ns != nil {
		return model.Ref{Kind: model.KindNetworkSet, Namespace: o.ls.ns.name, Name: o.name}
	}
	return model.Ref{Kind: model.KindGlobalNetworkSet, Name: o.name}
}

// Name of the object, without its namespace; of a ghost NAMESPACE/NAME.
func (o *Holder) Name() string { return o.name }

// Node on which a pod, a ghost or a host endpoint is; empty if unknown, and for nodes
// and network sets.
func (o *Holder) Node() string { return o.node }

// Addrs are the addresses, sorted and unique. The caller must not change them.
func (o *Holder) Addrs() []netip.Addr { return o.addrs }

// IsLocal reports whether it is an endpoint of a local node.
func (o *Holder) IsLocal() bool { return o.local }

// IsPod reports whether it is a pod; a pod's ghost is not.
func (o *Holder) IsPod() bool { return o.ls.kind.pod() }

// IsDenied reports whether it is a pod that sends and gets nothing (model.Endpoint.Denied).
func (o *Holder) IsDenied() bool { return o.ls.kind == ownerDeniedPod }

// IsGhost reports whether it is a pod's ghost.
func (o *Holder) IsGhost() bool { return o.ls.kind == ownerGhost }

// IsHost reports whether it is a host endpoint.
func (o *Holder) IsHost() bool { return o.ls.kind.host() }

// IsNode reports whether it is a node.
func (o *Holder) IsNode() bool { return o.ls.kind == ownerNode }

func (o *Holder) endpoint() bool { return o.IsWorkload() || o.ls.kind.host() }

// IsWorkload reports whether a holder is a pod or a pod's ghost.
func (o *Holder) IsWorkload() bool { return o.ls.kind.pod() || o.ls.kind == ownerGhost }

// Before reports whether the first of two endpoints with the same address takes
// precedence: those of local nodes precede ghosts, and these, which are local, precede
// those of other nodes. Of two of the same kind, the first by name takes precedence.
func Before(o, than *Holder) bool {
	return cmp.Or(cmp.Compare(o.standing(), than.standing()), o.Ref().Compare(than.Ref())) < 0
}

func (o *Holder) standing() int {
	switch {
	case o.ls.kind == ownerGhost:
		return 1
	case o.local:
		return 0
	}
	return 2
}

// single is an address as a block that contains only that address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func (o *Holder) eachPrefix(visit func(netip.Prefix)) {
	for _, a := range o.addrs {
		visit(single(a))
	}
	for _, p := range o.nets() {
		visit(p)
	}
}

func sortedAddrs(in []netip.Addr) []netip.Addr {
	if len(in) == 0 {
		return nil
	}
	out := slices.Clone(in)
	for i := range out {
		out[i] = out[i].Unmap()
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Clip(slices.Compact(out))
}

func sortedNets(in []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(in))
	for i, p := range in {
		out[i] = p.Masked()
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Clip(slices.Compact(out))
}

func sortedPorts(in []model.NamedPort) []model.NamedPort {
	if len(in) == 0 {
		return nil
	}
	out := slices.Clone(in)
	slices.SortFunc(out, func(a, b model.NamedPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return slices.Clip(slices.Compact(out))
}

// podKey is a pod's name in its namespace. The scope stands for the namespace, so that
// a quarter of a million pods do not each store its name.
type podKey struct {
	ns   *scope
	name string
}

func (ix *Index) upsertEndpoint(e *model.Endpoint) {
	if e.Ref.Kind == model.KindPodGhost {
		ix.upsertGhost(e)
		return
	}
	o := &Holder{
		name: e.Ref.Name, node: e.Node, addrs: sortedAddrs(e.Addrs),
		local: ix.local == nil || ix.local(e.Node),
	}
	if ports := sortedPorts(e.Ports); ports != nil || e.Host != nil {
		o.rare = &rarePart{ports: ports}
	}
	kind := ownerPod
	if e.Denied {
		kind = ownerDeniedPod
	}
	if e.Host != nil {
		kind = ownerHostDeny
		if e.Host.DefaultAction == model.Allow {
			kind = ownerHostAllow
		}
		o.rare.host = &hostPart{*e.Host, len(o.addrs) > 0}
		if n := ix.nodes[e.Node]; n != nil && !o.rare.host.fixed {
			o.addrs = n.owner.addrs
		}
	}
	ns, sa, pairs := ix.endpointLabels(e)
	if e.Host == nil {
		k := podKey{ns, e.Ref.Name}
		ix.replace(ix.pods[k], o, kind, ns, sa, pairs)
		ix.pods[k] = o
	} else {
		old := ix.hosts[e.Ref.Name]
		if old != nil {
			ix.leaveNode(old)
		}
		ix.replace(old, o, kind, ns, sa, pairs)
		ix.hosts[e.Ref.Name] = o
		ix.joinNode(o)
	}
}

// endpointLabels returns what selectors see of an endpoint, with references to the pairs.
// The slice is a buffer.
func (ix *Index) endpointLabels(e *model.Endpoint) (ns, sa *scope, pairs []pairID) {
	pairs = ix.ownPairs(ix.pairBuf[:0], e.Labels)
	if e.Host == nil {
		ns = ix.namespace(e.Ref.Namespace)
		if e.ServiceAccount != "" {
			sa = ix.account(e.Ref.Namespace, e.ServiceAccount)
			pairs = append(pairs, ix.sym.pair(model.LabelServiceAccount, e.ServiceAccount))
		}
	}
	slices.Sort(pairs)
	ix.pairBuf = pairs
	return ns, sa, pairs
}

// replace puts o in place of old, which may be nil. The new one is attached first, so
// that scopes and sets which both need are not torn down and rebuilt.
func (ix *Index) replace(old, o *Holder, kind ownerKind, ns, sa *scope, pairs []pairID) {
	ix.attach(o, kind, ns, sa, pairs)
	if old != nil {
		ix.detach(old)
	}
}

func (ix *Index) deletePod(namespace, name string) {
	ns := ix.namespaces[namespace]
	if ns == nil {
		return
	}
	k := podKey{ns, name}
	if o := ix.pods[k]; o != nil {
		delete(ix.pods, k)
		ix.detach(o)
	}
}

func (ix *Index) deleteHost(name string) {
	if o := ix.hosts[name]; o != nil {
		delete(ix.hosts, name)
		ix.leaveNode(o)
		ix.detach(o)
	}
}

func (ix *Index) upsertNetworkSet(s *model.NetworkSet) {
	o := &Holder{name: s.Ref.Name, rare: &rarePart{nets: sortedNets(s.Nets), names: ix.domainsOf(s.Domains)}}
	var ns *scope
	if s.Ref.Namespace != "" {
		ns = ix.namespace(s.Ref.Namespace)
	}
	pairs := ix.ownPairs(ix.pairBuf[:0], s.Labels)
	slices.Sort(pairs)
	ix.pairBuf = pairs
	ix.replace(ix.networkSets[s.Ref], o, ix.setKind(ns), ns, nil, pairs)
	ix.networkSets[s.Ref] = o
}

func (ix *Index) deleteNetworkSet(r model.Ref) {
	if o := ix.networkSets[r]; o != nil {
		delete(ix.networkSets, r)
		ix.detach(o)
	}
}

// attach makes a holder take effect: in its label group, in the address tables and in
// every set whose selector matches it.
func (ix *Index) attach(o *Holder, kind ownerKind, ns, sa *scope, pairs []pairID) {
	ix.endpointRefs = nil
	ls, isNew := ix.groupFor(kind, ns, sa, pairs)
	o.ls, o.lsPos = ls, int32(len(ls.owners))
	ls.owners = append(ls.owners, o)
	for _, a := range o.addrs {
		ix.addrs.add(single(a), o)
	}
	for _, p := range o.nets() {
		ix.addrs.add(p, o)
	}
	ix.joinDomains(o)
	first := false
	if o.local {
		ix.dirtyEndpoint(o)
		ls.local++
		if first = ls.local == 1; first {
			for _, m := range ls.matched {
				ix.addLocal(m.sel, 1)
			}
			ix.dirtyClass(ls)
		}
	}
	for _, m := range ls.matched {
		if m.sel.peer() {
			ix.contribute(m.sel, o, 1)
		}
	}
	if isNew || first {
		ix.rematch(ls)
	}
}

func (ix *Index) detach(o *Holder) {
	ix.endpointRefs = nil
	ls := o.ls
	for _, m := range ls.matched {
		if m.sel.peer() {
			ix.contribute(m.sel, o, -1)
		}
	}
	for _, a := range o.addrs {
		ix.addrs.remove(single(a), o)
	}
	for _, p := range o.nets() {
		ix.addrs.remove(p, o)
	}
	ix.leaveDomains(o)
	last := len(ls.owners) - 1
	moved := ls.owners[last]
	ls.owners[o.lsPos], moved.lsPos = moved, o.lsPos
	ls.owners[last] = nil
	ls.owners = ls.owners[:last]
	if o.local {
		ix.dirtyEndpoint(o)
	}
	if len(ls.owners) == 0 {
		ix.dropGroup(ls)
		return
	}
	if o.local {
		if ls.local--; ls.local == 0 {
			for _, m := range ls.matched {
				ix.addLocal(m.sel, -1)
			}
			ix.leaveClass(ls)
			ix.rematch(ls)
		}
	}
}

// contribute adds n times what a holder contributes to the sets of a selector that
// matches it.
func (ix *Index) contribute(s *sel, o *Holder, n int) {
	if s.addrs != nil && s.addrs.announced {
		o.eachPrefix(func(p netip.Prefix) { ix.pend(s.addrs, Member{Prefix: p}, n) })
	}
	if s.named != nil && s.named.announced {
		o.eachNamed(func(p netip.Prefix) { ix.pend(s.named, Member{Prefix: p}, n) })
	}
	for name, set := range s.ports {
		if !set.announced {
			continue
		}
		for _, np := range o.ports() {
			if np.Name != name {
				continue
			}
			for _, a := range o.addrs {
				ix.pend(set, Member{single(a), np.Protocol, np.Port}, n)
			}
		}
	}
}
