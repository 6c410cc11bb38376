package nftables

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/base"
	"github.com/tierwall/tierwall/dataplane/nftables/nft"
	"github.com/tierwall/tierwall/policy/model"
)

// Names of the maps and sets of local pods, less the family's digit: address →
// program, the addresses themselves, and pairs of addresses of one pod.
const (
	mapEgress  = "egress"
	mapIngress = "ingress"
	setPods    = "pods"
	setGuarded = "guarded" // those that a policy selects, in whatever direction
	setSelf    = "self"
	// Pairs to the programs of StageSelf, of pods that have such.
	mapSelfEgress  = "self-egress"
	mapSelfIngress = "self-ingress"
)

// protocol is a protocol as nft prints it.
func protocol(p model.Protocol) string { return nft.ProtocolText(uint8(p)) }

// ipOf is what nft calls the header of a family.
func ipOf(f dataplane.Family) string {
	if f == dataplane.IPv6 {
		return "ip6"
	}
	return "ip"
}

// digit is the last letter of names that stand for a family.
func digit(f dataplane.Family) string {
	if f == dataplane.IPv4 {
		return "4"
	}
	return "6"
}

// endpoint takes an endpoint that is new, changed or gone.
func (w *world) endpoint(ref model.Ref, before, after dataplane.Endpoint) {
	if old, ok := w.pods[ref]; ok {
		before = old
	} else if old, ok := w.hosts[ref]; ok {
		before = old
	}
	w.holdPrograms(after)
	touched := map[netip.Addr]bool{}
	leave := func(e dataplane.Endpoint) {
		for _, a := range e.Addrs {
			touched[a] = true
			if refs := w.owners[a]; len(refs) > 1 {
				w.owners[a] = slices.DeleteFunc(slices.Clone(refs), func(r model.Ref) bool { return r == ref })
			} else {
				delete(w.owners, a)
			}
		}
	}
	_, wasPod := w.pods[ref]
	_, wasHost := w.hosts[ref]
	if wasPod {
		leave(before)
		delete(w.pods, ref)
	}
	delete(w.hosts, ref)
	switch {
	case after.LocalEndpoint == nil:
	case after.Host != nil:
		w.hosts[ref] = after
	default:
		w.pods[ref] = after
		for _, a := range after.Addrs {
			touched[a] = true
			refs := append(slices.Clone(w.owners[a]), ref)
			slices.SortFunc(refs, model.Ref.Compare)
			w.owners[a] = slices.Compact(refs)
		}
	}
	w.placePods(touched)
	if wasPod || wasHost {
		w.releasePrograms(before)
	}
}

// programs calls f with the programs that an endpoint needs: of a pod those of
// the families that it has addresses of; of a host endpoint all, though only some
// of them may be used.
func programs(e dataplane.Endpoint, f func(dataplane.StageProgram)) {
	if e.LocalEndpoint == nil || e.Policy == nil {
		return
	}
	for _, p := range e.Policy.Programs {
		has := func(a netip.Addr) bool { return dataplane.FamilyOf(a) == p.Program.Family }
		if e.Host != nil || slices.ContainsFunc(e.Addrs, has) {
			f(p)
		}
	}
}

func (w *world) holdPrograms(e dataplane.Endpoint) {
	programs(e, func(p dataplane.StageProgram) { w.program(p.Program, w.sparing(&e, p.Stage, p.Direction)) })
}

func (w *world) releasePrograms(e dataplane.Endpoint) {
	programs(e, func(p dataplane.StageProgram) {
		w.release(w.units["program "+programName(p.Program, w.sparing(&e, p.Stage, p.Direction))])
	})
}

// placePods brings the elements for addresses up to date, and those for other
// addresses of the same pods.
func (w *world) placePods(touched map[netip.Addr]bool) {
	var mates []netip.Addr
	for a := range touched {
		for _, r := range w.owners[a] {
			for _, b := range w.pods[r].Addrs {
				if !touched[b] {
					mates = append(mates, b)
				}
			}
		}
	}
	for a := range touched {
		d := digit(dataplane.FamilyOf(a))
		key := nft.AddrKey(a)
		if refs := w.owners[a]; len(refs) == 0 {
			w.DropElem(setPods+d, key)
			w.DropElem(setGuarded+d, key)
			w.DropElem(mapEgress+d, key)
			w.DropElem(mapIngress+d, key)
		} else {
			e := w.pods[refs[0]]
			w.PutElem(setPods+d, key, "")
			if e.HasPolicies(dataplane.FamilyOf(a)) {
				w.PutElem(setGuarded+d, key, "")
			} else {
				w.DropElem(setGuarded+d, key)
			}
			w.PutElem(mapEgress+d, key, w.jump(e, model.Egress, a))
			w.PutElem(mapIngress+d, key, w.jump(e, model.Ingress, a))
		}
		w.placeSelf(a, touched)
	}
	for _, b := range mates {
		w.placeSelf(b, touched)
	}
}

// jump is the verdict that leads to a pod's program; without one nothing passes.
func (w *world) jump(e dataplane.Endpoint, dir model.Direction, a netip.Addr) string {
	if e.Policy == nil {
		return "drop"
	}
	p := e.Policy.Program(model.StageWorkload, dir, dataplane.FamilyOf(a))
	if p == nil {
		return "drop"
	}
	return "jump " + programName(p, w.sparing(&e, model.StageWorkload, dir))
}

// sparing is what a program only counts.
func (w *world) sparing(e *dataplane.Endpoint, s model.Stage, dir model.Direction) base.Sparing {
	return base.SparingOf(w.state, e, s, dir)
}

// placeSelf brings the pairs that begin with an address up to date.
func (w *world) placeSelf(a netip.Addr, touched map[netip.Addr]bool) {
	var mates []netip.Addr
	if refs := w.owners[a]; len(refs) > 0 {
		mates = w.pods[refs[0]].Addrs
	}
	for b := range touched {
		if dataplane.FamilyOf(a) == dataplane.FamilyOf(b) && !slices.Contains(mates, b) {
			w.dropSelf(a, b)
			w.dropSelf(b, a)
		}
	}
	for _, b := range mates {
		if dataplane.FamilyOf(a) == dataplane.FamilyOf(b) && w.owners[b][0] == w.owners[a][0] {
			w.putSelf(w.pods[w.owners[a][0]], a, b)
			w.putSelf(w.pods[w.owners[a][0]], b, a)
		} else if dataplane.FamilyOf(a) == dataplane.FamilyOf(b) {
			w.dropSelf(a, b)
			w.dropSelf(b, a)
		}
	}
}

// putSelf has a pair of addresses be of one pod.
func (w *world) putSelf(e dataplane.Endpoint, a, b netip.Addr) {
	f := dataplane.FamilyOf(a)
	d, key := digit(f), nft.PairKey(a, b)
	w.PutElem(setSelf+d, key, "")
	for name, dir := range map[string]model.Direction{mapSelfEgress: model.Egress, mapSelfIngress: model.Ingress} {
		var p *dataplane.Program
		if e.Policy != nil {
			p = e.Policy.Program(model.StageSelf, dir, f)
		}
		if p == nil {
			w.DropElem(name+d, key)
		} else {
			w.PutElem(name+d, key, "jump "+programName(p, base.SpareNone))
		}
	}
}

func (w *world) dropSelf(a, b netip.Addr) {
	d, key := digit(dataplane.FamilyOf(a)), nft.PairKey(a, b)
	for _, name := range []string{setSelf, mapSelfEgress, mapSelfIngress} {
		w.DropElem(name+d, key)
	}
}
