package nftables

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
)

var families = []dataplane.Family{dataplane.IPv4, dataplane.IPv6}

// Sets of the node itself, less the family's digit.
const (
	setHosts    = "hosts"    // addresses of the node and of its host endpoints
	setPodCIDRs = "podcidrs" // the node's blocks of pod addresses
	setForeign  = "foreign"  // what in these blocks belongs to other nodes and their pods
)

// addBase adds the sets and maps that are always there.
func (w *world) addBase() {
	w.base = &unit{key: "base"}
	for _, f := range families {
		d, t := digit(f), addrType(f)
		for _, s := range []*nft.Set{
			{Name: setPods + d, Types: t, Comment: "local pods"},
			{Name: setSelf + d, Types: t + " . " + t, Comment: "two addresses of one local pod"},
			{Name: mapSelfEgress + d, Types: t + " . " + t, Verdicts: true, Comment: "of these, to what governs what a pod sends itself"},
			{Name: mapSelfIngress + d, Types: t + " . " + t, Verdicts: true, Comment: "of these, to what governs what a pod sends itself"},
			{Name: mapEgress + d, Types: t, Verdicts: true, Comment: "local pod to its egress policy"},
			{Name: mapIngress + d, Types: t, Verdicts: true, Comment: "local pod to its ingress policy"},
			{Name: setGuarded + d, Types: t, Comment: "local pods with policies"},
			{Name: setHosts + d, Types: t, Comment: "addresses of this node"},
			{Name: setForeign + d, Types: t, Interval: true, Comment: "what in these blocks belongs to others"},
			{Name: setBar + d, Types: flowType(f), Timeout: dataplane.BarTime, Size: dataplane.MaxBarred, Comment: "flows of connections that policies have cut"},
			{Name: setPodCIDRs + d, Types: t, Interval: true, Comment: "blocks of pod addresses of this node"},
		} {
			w.AddSet(s)
		}
	}
}

// renderBase writes the base chains and what they alone use, anew.
func (w *world) renderBase() {
	w.inputs = dataplane.InputsOf(w.state)
	old := w.base
	w.base = &unit{key: "base"}
	r := baseRenderer{world: w, hosts: w.sortedHosts()}
	r.sets()
	r.linkSets()
	r.answerSets()
	r.render()
	for _, name := range old.chains {
		if !slices.Contains(w.base.chains, name) {
			w.DropChain(name)
		}
	}
	for _, name := range old.kernel {
		if !slices.Contains(w.base.kernel, name) {
			w.DropSet(name)
		}
	}
	for _, u := range old.uses {
		w.release(u)
	}
	w.renderBridge()
}

func (w *world) sortedHosts() dataplane.Hosts {
	out := make([]dataplane.Endpoint, 0, len(w.hosts))
	for _, h := range w.hosts {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b dataplane.Endpoint) int { return a.Ref.Compare(b.Ref) })
	return out
}

type baseRenderer struct {
	*world
	hosts dataplane.Hosts
}

// sets brings the sets of the node's own addresses up to date.
func (r *baseRenderer) sets() {
	own := slices.Clone(r.state.NodeAddrs)
	for _, h := range r.hosts {
		own = append(own, h.Addrs...)
	}
	foreign := slices.Clone(r.state.ForeignNets)
	for _, a := range r.state.Foreign {
		foreign = append(foreign, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, f := range families {
		r.SetElems(setHosts+digit(f), addrElems(own, f))
		r.SetElems(setPodCIDRs+digit(f), blockElems(r.state.PodCIDRs, f))
		r.SetElems(setForeign+digit(f), blockElems(foreign, f))
	}
}

// addrElems are the elements of a set of addresses for those of a family.
func addrElems(addrs []netip.Addr, f dataplane.Family) map[string]string {
	out := map[string]string{}
	for _, a := range addrs {
		if dataplane.FamilyOf(a) == f {
			out[nft.AddrKey(a)] = ""
		}
	}
	return out
}

// blockElems are the elements of an interval set for blocks of a family.
func blockElems(nets []netip.Prefix, f dataplane.Family) map[string]string {
	var blocks []netip.Prefix
	for _, p := range nets {
		if dataplane.FamilyOf(p.Addr()) == f {
			blocks = append(blocks, p.Masked())
		}
	}
	out := map[string]string{}
	for _, b := range mergeBlocks(blocks) {
		out[b.Key()] = ""
	}
	return out
}

// chain writes a chain of the base.
func (r *baseRenderer) chain(name, comment string, rules ...nft.Rule) {
	r.own(r.base, &nft.Chain{Name: name, Comment: comment, Rules: rules})
}
