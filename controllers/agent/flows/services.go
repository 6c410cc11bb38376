package flows

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
)

// services are those whose addresses clients connect to.
type services struct {
	byRef  map[model.Ref]packets.Service
	byAddr map[netip.Addr][]model.Ref // sorted
	byPort map[nodePort][]model.Ref   // sorted
}

type nodePort struct {
	protocol model.Protocol
	port     uint16
}

func newServices() *services {
	return &services{byRef: map[model.Ref]packets.Service{}, byAddr: map[netip.Addr][]model.Ref{}, byPort: map[nodePort][]model.Ref{}}
}

// note takes a Service as it is now; nil: it is gone.
func (s *services) note(r model.Ref, o runtime.Object) {
	if old, ok := s.byRef[r]; ok {
		delete(s.byRef, r)
		s.each(&old, func(list []model.Ref) []model.Ref {
			return slices.DeleteFunc(list, func(o model.Ref) bool { return o == r })
		})
	}
	if o == nil {
		return
	}
	for _, svc := range service.Read([]runtime.Object{o}) {
		s.byRef[r] = svc
		s.each(&svc, func(list []model.Ref) []model.Ref {
			at, _ := slices.BinarySearchFunc(list, r, model.Ref.Compare)
			return slices.Insert(list, at, r)
		})
	}
}

// each changes the lists that a Service is in.
func (s *services) each(svc *packets.Service, change func([]model.Ref) []model.Ref) {
	addrs := slices.Concat(svc.Addrs, svc.External)
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range slices.Compact(addrs) {
		if s.byAddr[a] = change(s.byAddr[a]); len(s.byAddr[a]) == 0 {
			delete(s.byAddr, a)
		}
	}
	for i := range svc.Ports {
		p := nodePort{svc.Ports[i].Protocol, svc.Ports[i].NodePort}
		if p.port == 0 {
			continue
		}
		if s.byPort[p] = change(s.byPort[p]); len(s.byPort[p]) == 0 {
			delete(s.byPort, p)
		}
	}
}

// find is namespace/name of the Service that receives what is sent to an address; empty:
// none that is known.
func (s *services) find(a netip.Addr, p model.Protocol, port uint16) string {
	for _, list := range [][]model.Ref{s.byAddr[a], s.byPort[nodePort{p, port}]} {
		for _, r := range list {
			svc := s.byRef[r]
			if found := svc.PortOf(p, port); found != nil || len(s.byAddr[a]) == 0 {
				return r.Namespace + "/" + r.Name
			}
		}
	}
	return ""
}
