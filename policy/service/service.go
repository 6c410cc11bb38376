// Package service reads Services and their endpoints, and finds the Service that an
// address belongs to. It is pure.
package service

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
)

// Read returns the Services among objects with the endpoints of their ports, sorted;
// ExternalName Services and invalid addresses are omitted. If the slices of a Service
// do not name their ports, a named target port stands for all ports of its protocol.
func Read(objects []runtime.Object) []packets.Service {
	bySlice := map[model.Ref][]*discoveryv1.EndpointSlice{}
	var found []*corev1.Service
	for _, o := range objects {
		switch o := o.(type) {
		case *discoveryv1.EndpointSlice:
			ref := model.Ref{Kind: model.KindService, Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}
			bySlice[ref] = append(bySlice[ref], o)
		case *corev1.Service:
			found = append(found, o)
		}
	}
	var out []packets.Service
	for _, o := range found {
		if o.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		ref := model.Ref{Kind: model.KindService, Namespace: o.Namespace, Name: o.Name}
		svc := packets.Service{
			Ref: ref, Addrs: clusterAddrs(o), External: externalAddrs(o), Headless: headless(o),
			LocalInternal: o.Spec.InternalTrafficPolicy != nil && *o.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
			LocalExternal: o.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		}
		for i := range o.Spec.Ports {
			p := &o.Spec.Ports[i]
			protocol, ok := protocols[cmp.Or(p.Protocol, corev1.ProtocolTCP)]
			if !ok || p.Port < 1 || p.Port > 65535 {
				continue
			}
			port := packets.ServicePort{Name: p.Name, Protocol: protocol, Port: uint16(p.Port), Endpoints: endpointsOf(p, bySlice[ref])}
			if p.NodePort > 0 && p.NodePort <= 65535 {
				port.NodePort = uint16(p.NodePort)
			}
			svc.Ports = append(svc.Ports, port)
		}
		out = append(out, svc)
	}
	slices.SortFunc(out, func(a, b packets.Service) int { return a.Ref.Compare(b.Ref) })
	return out
}

// clusterAddrs are the cluster addresses of a Service. Invalid ones are omitted.
func clusterAddrs(s *corev1.Service) []netip.Addr {
	if len(s.Spec.ClusterIPs) > 0 {
		return parse(s.Spec.ClusterIPs)
	}
	return parse([]string{s.Spec.ClusterIP}) // none of "None"
}

func headless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone || slices.Contains(s.Spec.ClusterIPs, corev1.ClusterIPNone)
}

// externalAddrs are the external IPs of a Service and the addresses of its load
// balancer, except those at which a proxy answers: the cluster does not translate
// these.
func externalAddrs(s *corev1.Service) []netip.Addr {
	list := slices.Clone(s.Spec.ExternalIPs)
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			list = append(list, in.IP)
		}
	}
	return parse(list)
}

func parse(list []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// protocols are those of Services.
var protocols = map[corev1.Protocol]model.Protocol{
	corev1.ProtocolTCP: model.TCP, corev1.ProtocolUDP: model.UDP, corev1.ProtocolSCTP: model.SCTP,
}

// endpointsOf are the endpoints of one port of a Service, sorted. Their readiness is
// ignored, because it can change at any moment.
func endpointsOf(p *corev1.ServicePort, list []*discoveryv1.EndpointSlice) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range list {
		for i := range s.Ports {
			q := &s.Ports[i]
			if q.Port == nil || *q.Port < 1 || *q.Port > 65535 || !leadsTo(p, q) {
				continue
			}
			for j := range s.Endpoints {
				for _, a := range parse(s.Endpoints[j].Addresses) {
					out = append(out, netip.AddrPortFrom(a, uint16(*q.Port)))
				}
			}
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

// leadsTo reports whether a port of a slice belongs to a port of its Service: by name
// if the slice has names, otherwise as far as the numbers show.
func leadsTo(p *corev1.ServicePort, q *discoveryv1.EndpointPort) bool {
	if q.Protocol != nil && *q.Protocol != cmp.Or(p.Protocol, corev1.ProtocolTCP) {
		return false
	}
	if q.Name != nil {
		return *q.Name == p.Name
	}
	named := p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != ""
	return named || *q.Port == cmp.Or(p.TargetPort.IntVal, p.Port)
}
