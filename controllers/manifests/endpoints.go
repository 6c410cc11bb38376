package manifests

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/policy/model"
)

// mirrored makes the EndpointSlices that a cluster makes of the Endpoints that people
// have written for a Service without a selector, and returns the object they are of;
// none where there is no such object, or where it asks not to be mirrored.
func (r *Result) mirrored(ref model.ServiceRef) ([]*discoveryv1.EndpointSlice, *Object) {
	o, there := r.Lookup(model.Ref{Kind: "Endpoints", Namespace: ref.Namespace, Name: ref.Name})
	if !there {
		return nil, nil
	}
	e, ok := o.Object.(*corev1.Endpoints) //nolint:staticcheck // people still write them
	if !ok || e.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return nil, nil
	}
	var out []*discoveryv1.EndpointSlice
	for i := range e.Subsets {
		s := &e.Subsets[i]
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: ref.Namespace, Name: fmt.Sprintf("%s-mirrored-%s-%d", ref.Name, strings.ToLower(string(family)), i+1),
					Labels: map[string]string{discoveryv1.LabelServiceName: ref.Name},
				},
				AddressType: family,
				Endpoints:   mirroredEndpoints(slices.Concat(s.Addresses, s.NotReadyAddresses), family),
			}
			for j := range s.Ports {
				p := s.Ports[j].DeepCopy()
				if p.Protocol == "" {
					p.Protocol = corev1.ProtocolTCP
				}
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port})
			}
			if len(slice.Endpoints) > 0 {
				out = append(out, slice)
			}
		}
	}
	return out, o
}

// mirroredEndpoints are those of one family. Addresses that cannot be read are kept as
// IPv4, for whoever checks slices to report.
func mirroredEndpoints(list []corev1.EndpointAddress, family discoveryv1.AddressType) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for i := range list {
		a, err := netip.ParseAddr(list[i].IP)
		if v6 := err == nil && a.Is6(); v6 == (family == discoveryv1.AddressTypeIPv6) {
			out = append(out, discoveryv1.Endpoint{Addresses: []string{list[i].IP}, TargetRef: list[i].TargetRef, NodeName: list[i].NodeName})
		}
	}
	return out
}
