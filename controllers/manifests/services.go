package manifests

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/packets"
	"github.com/tierwall/tierwall/policy/service"
	"github.com/tierwall/tierwall/policy/workload"
)

// completeServices makes the EndpointSlices of Services that have none. With a selector
// there is one for each address family and each way in which the pods resolve the named
// target ports; without one, those that mirror its Endpoints.
func (r *Result) completeServices() {
	have := map[model.ServiceRef]bool{}
	for _, s := range all[*discoveryv1.EndpointSlice](r) {
		have[model.ServiceRef{Namespace: s.v.Namespace, Name: s.v.Labels[discoveryv1.LabelServiceName]}] = true
	}
	pods := map[string][]*corev1.Pod{} // by namespace
	for _, p := range all[*corev1.Pod](r) {
		if workload.Runs(p.v) {
			pods[p.v.Namespace] = append(pods[p.v.Namespace], p.v)
		}
	}
	type made struct {
		slice *discoveryv1.EndpointSlice
		from  Object
	}
	var slicesMade []made
	for _, s := range all[*corev1.Service](r) {
		ref := model.ServiceRef{Namespace: s.v.Namespace, Name: s.v.Name}
		if !s.o.incomplete() || s.v.Spec.Type == corev1.ServiceTypeExternalName || have[ref] {
			continue
		}
		slices, from := r.slicesOf(s.v, pods[s.v.Namespace]), s.o
		if len(s.v.Spec.Selector) == 0 {
			slices, from = r.mirrored(ref)
		}
		for _, slice := range slices {
			slicesMade = append(slicesMade, made{slice, *from})
		}
	}
	for _, m := range slicesMade {
		ref := model.Ref{Kind: model.KindEndpointSlice, Namespace: m.slice.Namespace, Name: m.slice.Name}
		if _, taken := r.Lookup(ref); !taken {
			r.addMade(m.slice, discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), ref, &m.from)
		}
	}
}

// Services are as of service.Read.
func (r *Result) Services() []packets.Service {
	return service.Read(r.All())
}

// slicesOf makes the slices of one Service.
func (r *Result) slicesOf(s *corev1.Service, pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
	selector := labels.SelectorFromSet(s.Spec.Selector)
	groups := map[string]*discoveryv1.EndpointSlice{}
	for _, p := range pods {
		if !selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		ports, key := resolvePorts(s, p)
		if len(s.Spec.Ports) > 0 && len(ports) == 0 {
			continue // the pod has none of the named ports
		}
		for _, addr := range r.endpointAddrs(p) {
			family := discoveryv1.AddressTypeIPv4
			if !addr.Is4() {
				family = discoveryv1.AddressTypeIPv6
			}
			g := groups[string(family)+key]
			if g == nil {
				g = &discoveryv1.EndpointSlice{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: s.Namespace,
						Labels:    map[string]string{discoveryv1.LabelServiceName: s.Name},
					},
					AddressType: family,
					Ports:       ports,
				}
				groups[string(family)+key] = g
			}
			g.Endpoints = append(g.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{addr.String()},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
			})
		}
	}
	keys := make([]string, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	count := map[discoveryv1.AddressType]int{}
	var out []*discoveryv1.EndpointSlice
	for _, k := range keys {
		g := groups[k]
		g.Name = s.Name + "-" + strings.ToLower(string(g.AddressType))
		if count[g.AddressType]++; count[g.AddressType] > 1 {
			g.Name += fmt.Sprintf("-%d", count[g.AddressType])
		}
		out = append(out, g)
	}
	return out
}

// endpointAddrs are the addresses at which a Service reaches a pod: of a
// host-network pod those of its node.
func (r *Result) endpointAddrs(p *corev1.Pod) []netip.Addr {
	addrs := podAddrs(p)
	if len(addrs) > 0 || !p.Spec.HostNetwork {
		return addrs
	}
	if o, ok := r.Lookup(model.Ref{Kind: model.KindNode, Name: p.Spec.NodeName}); ok {
		if n, ok := o.Object.(*corev1.Node); ok {
			return nodeAddrs(n)
		}
	}
	return nil
}

// resolvePorts gives the ports of a Service the numbers that they have on a pod.
// The key is the same for pods that resolve them alike.
func resolvePorts(s *corev1.Service, p *corev1.Pod) (ports []discoveryv1.EndpointPort, key string) {
	for _, sp := range s.Spec.Ports {
		protocol := cmp.Or(sp.Protocol, corev1.ProtocolTCP)
		number := int32(0)
		switch {
		case sp.TargetPort.Type == intstr.String && sp.TargetPort.StrVal != "":
			number = workload.NamedPort(p, sp.TargetPort.StrVal, protocol)
		case sp.TargetPort.IntVal != 0:
			number = sp.TargetPort.IntVal
		default:
			number = sp.Port
		}
		if number == 0 {
			continue
		}
		name := sp.Name
		ports = append(ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number})
		key += fmt.Sprintf("/%s:%s:%d", name, protocol, number)
	}
	return ports, key
}
