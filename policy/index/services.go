package index

import (
	"net/netip"
	"slices"

	"github.com/tierwall/tierwall/policy/model"
)

// service is a Service as its EndpointSlices describe it, and the sets that rules make
// of it. It exists while it has either.
type service struct {
	ref    model.ServiceRef
	slices map[string]*model.ServiceSlice
	// sets: of addresses, and of addresses with ports.
	sets [2]*Set
}

func (ix *Index) service(ref model.ServiceRef) *service {
	svc := ix.services[ref]
	if svc == nil {
		svc = &service{ref: ref, slices: map[string]*model.ServiceSlice{}}
		ix.services[ref] = svc
	}
	return svc
}

// serviceSet returns the set of a service's endpoints and takes a reference to it.
func (ix *Index) serviceSet(ref model.ServiceRef, ports bool) *Set {
	svc := ix.service(ref)
	kind, text := SetAddrs, "service "+ref.Namespace+"/"+ref.Name
	if ports {
		kind, text = SetAddrPorts, "ports of "+text
	}
	set := svc.sets[kind]
	if set == nil {
		set = newSet(ix, kind, text)
		set.svc = svc
		svc.sets[kind] = set
		ix.dirtySet(set)
	}
	set.refs++
	return set
}

func (ix *Index) releaseService(s *Set) {
	s.svc.sets[s.kind] = nil
	ix.forgetService(s.svc)
}

func (ix *Index) forgetService(svc *service) {
	if len(svc.slices) == 0 && svc.sets == [2]*Set{} {
		delete(ix.services, svc.ref)
	}
}

func (ix *Index) upsertSlice(s *model.ServiceSlice) {
	if old := ix.slices[s.Ref]; old != nil && old.Service != s.Service {
		ix.deleteSlice(s.Ref)
	}
	ix.slices[s.Ref] = s
	svc := ix.service(model.ServiceRef{Namespace: s.Ref.Namespace, Name: s.Service})
	svc.slices[s.Ref.Name] = s
	ix.dirtyService(svc)
}

func (ix *Index) deleteSlice(r model.Ref) {
	s := ix.slices[r]
	if s == nil {
		return
	}
	delete(ix.slices, r)
	svc := ix.services[model.ServiceRef{Namespace: r.Namespace, Name: s.Service}]
	delete(svc.slices, r.Name)
	ix.dirtyService(svc)
	ix.forgetService(svc)
}

func (ix *Index) dirtyService(svc *service) {
	for _, set := range svc.sets {
		if set != nil {
			ix.dirtySet(set)
		}
	}
}

func (svc *service) members(kind SetKind) []Member {
	var out []Member
	for _, s := range svc.slices {
		for _, a := range s.Addrs {
			if kind == SetAddrs {
				out = append(out, Member{Prefix: single(a.Unmap())})
				continue
			}
			for _, p := range s.Ports {
				out = append(out, Member{single(a.Unmap()), p.Protocol, p.Port})
			}
		}
	}
	return sortMembers(out)
}

func (svc *service) contains(kind SetKind, a netip.Addr, p model.Protocol, port uint16) bool {
	for _, s := range svc.slices {
		if !slices.ContainsFunc(s.Addrs, func(b netip.Addr) bool { return b.Unmap() == a }) {
			continue
		}
		if kind == SetAddrs {
			return true
		}
		for _, sp := range s.Ports {
			if sp.Protocol == p && (sp.Port == port || sp.Port == 0) {
				return true
			}
		}
	}
	return false
}
