package nftables

import (
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/model"
)

// Sets and maps of where local pods are attached; those of addresses less the
// family's digit. They are there where that is known of some pod.
const (
	setLinks   = "links"   // interfaces that lead to local pods
	setPorts   = "ports"   // ports of bridges that do, by number
	setBound   = "bound"   // addresses of local pods whose interface is known
	setSources = "sources" // these interfaces with the addresses
	setNodes   = "nodes"   // addresses of the cluster's nodes
	// Blocks of pod addresses of all nodes.
	setClusterBlocks = "clusterpods"
	// Interface, or number of a port, to the policy of the pod behind it.
	mapLinkEgress  = "link-egress"
	mapLinkIngress = "link-ingress"
	mapPortEgress  = "port-egress"
	mapPortIngress = "port-ingress"
)

// linkSets makes the sets of pods' links, of which the base is the owner.
func (r *baseRenderer) linkSets() {
	l := r.state.Links
	if base.Links(r.state) {
		names, numbers := map[string]string{}, map[string]string{}
		for _, p := range l.Pods {
			names[nft.LinkKey(p.Interface)] = ""
		}
		for _, n := range portNumbers(l) {
			numbers[nft.ClassKey(n)] = ""
		}
		r.baseSet(&nft.Set{Name: setLinks, Types: nft.TypeLink, Comment: "interfaces of local pods"}, names)
		if base.HasPorts(r.state) {
			r.baseSet(&nft.Set{Name: setPorts, Types: nft.TypeClass, Comment: "ports of bridges of local pods"}, numbers)
		}
		for _, f := range families {
			d, t := digit(f), addrType(f)
			r.baseSet(&nft.Set{Name: setBound + d, Types: t, Comment: "local pods whose interface is known"}, boundElems(l, f, interfaceOf))
			r.baseSet(&nft.Set{Name: setSources + d, Types: nft.TypeLink + " . " + t, Comment: "interfaces of local pods with their addresses"},
				sourceElems(l, f))
			maps := []string{mapLinkEgress, mapLinkIngress}
			if base.HasPorts(r.state) {
				maps = append(maps, mapPortEgress, mapPortIngress)
			}
			for _, name := range maps {
				m := &nft.Set{Name: name + d, Types: nft.TypeLink, Verdicts: true, Comment: "to the policy of the pod behind it"}
				if name == mapPortEgress || name == mapPortIngress {
					m.Types = nft.TypeClass
				}
				r.baseSet(m, nil)
			}
		}
	}
	if l != nil && len(l.Tunnels) > 0 {
		for _, f := range families {
			d, t := digit(f), addrType(f)
			r.baseSet(&nft.Set{Name: setNodes + d, Types: t, Comment: "nodes of the cluster"}, addrElems(r.state.ClusterAddrs, f))
			r.baseSet(&nft.Set{Name: setClusterBlocks + d, Types: t, Interval: true, Comment: "blocks of pod addresses of all nodes"}, blockElems(r.state.ClusterBlocks, f))
		}
	}
}

// baseSet makes a set the base's own with these elements; nil: those that it has.
func (r *baseRenderer) baseSet(s *nft.Set, elems map[string]string) {
	r.base.kernel = append(r.base.kernel, s.Name)
	if r.Ruleset.Sets[s.Name] == nil {
		r.AddSet(s)
	}
	if elems != nil {
		r.SetElems(s.Name, elems)
	}
}

func interfaceOf(p *model.PodLink) string { return p.Interface }

func portOf(p *model.PodLink) string { return p.Port }

// boundElems are the addresses of pods that have the link.
func boundElems(l *model.Links, f dataplane.Family, link func(*model.PodLink) string) map[string]string {
	addrs := make([]netip.Addr, 0, len(l.Pods))
	for i := range l.Pods {
		if p := &l.Pods[i]; link(p) != "" {
			addrs = append(addrs, p.Addr)
		}
	}
	return addrElems(addrs, f)
}

// sourceElems are the pairs of interface and address.
func sourceElems(l *model.Links, f dataplane.Family) map[string]string {
	out := map[string]string{}
	for i := range l.Pods {
		if p := &l.Pods[i]; dataplane.FamilyOf(p.Addr) == f {
			out[nft.LinkAddrKey(p.Interface, p.Addr)] = ""
		}
	}
	return out
}

// placeLinks brings the maps from interfaces to programs up to date, and holds
// the programs that they lead to.
func (w *world) placeLinks() {
	old := w.linked
	w.linked = nil
	if base.Links(w.state) {
		numbers := portNumbers(w.state.Links)
		for _, f := range families {
			for _, dir := range []model.Direction{model.Egress, model.Ingress} {
				w.placeLinksOf(f, dir, numbers)
			}
		}
	}
	for _, u := range old {
		w.release(u)
	}
}

func (w *world) placeLinksOf(f dataplane.Family, dir model.Direction, numbers map[string]uint32) {
	byLink, byPort := mapLinkEgress, mapPortEgress
	if dir == model.Ingress {
		byLink, byPort = mapLinkIngress, mapPortIngress
	}
	links, ports := map[string]string{}, map[string]string{}
	for _, p := range w.state.Links.Pods {
		refs := w.owners[p.Addr]
		if len(refs) == 0 {
			continue
		}
		to, key := links, nft.LinkKey(p.Interface)
		if p.Port != "" {
			to, key = ports, nft.ClassKey(numbers[p.Port])
		}
		if _, there := to[key]; there {
			continue
		}
		if v := w.linkVerdict(w.pods[refs[0]], dir, f); v != "" {
			to[key] = v
		}
	}
	w.SetElems(byLink+digit(f), links)
	if base.HasPorts(w.state) {
		w.SetElems(byPort+digit(f), ports)
	}
}

// linkVerdict leads to a pod's program of a family, also of one that the pod has
// no address of, and does not come back. Pods without policies are left alone; one
// whose policies are not known is as none for a guard that counts.
func (w *world) linkVerdict(e dataplane.Endpoint, dir model.Direction, f dataplane.Family) string {
	switch {
	case !e.HasPolicies(f):
		return "return"
	case e.Policy == nil && w.guards().Link == model.GuardCount:
		return ""
	case e.Policy == nil:
		return "drop"
	}
	p := e.Policy.Program(model.StageWorkload, dir, f)
	if p == nil {
		return "drop"
	}
	spare := w.sparing(&e, model.StageWorkload, dir)
	w.linked = append(w.linked, w.program(p, spare))
	return "goto " + programName(p, spare)
}

// portNumbers gives each port of a bridge that leads to a local pod a number,
// which a bridged packet bears as its priority between the hooks of the bridge
// and those of family inet. It follows from the name, so that a number means the
// same port before and after a change, and begins with a byte that no queueing
// discipline's usual class has.
func portNumbers(l *model.Links) map[string]uint32 {
	var names []string
	for i := range l.Pods {
		if p := l.Pods[i].Port; p != "" {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	out, taken := map[string]uint32{}, map[uint32]bool{}
	for _, name := range slices.Compact(names) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(name))
		n := h.Sum32() & 0xffffff
		for taken[n] {
			n = (n + 1) & 0xffffff
		}
		taken[n] = true
		out[name] = 0x77<<24 | n
	}
	return out
}
