package convert

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/policy/model"
)

// namespace converts a namespace. Its name is a label of it, as an API server
// sees to.
func namespace(o *corev1.Namespace, r *report) model.Object {
	labels := r.labels(o.Labels)
	if have, ok := labels[corev1.LabelMetadataName]; !ok || have != o.Name {
		if ok {
			r.warnf(metadataPath.Child("labels").Key(corev1.LabelMetadataName),
				"%s is ignored: this label is the namespace's name", quote(have))
		}
		labels = maps.Clone(labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[corev1.LabelMetadataName] = o.Name
	}
	return &model.Namespace{Name: o.Name, Labels: labels}
}

func serviceAccount(o *corev1.ServiceAccount, r *report) model.Object {
	return &model.ServiceAccount{Namespace: o.Namespace, Name: o.Name, Labels: r.labels(o.Labels)}
}

// service is nothing to the core: EndpointSlices hold all that rules need of a Service.
func service(*corev1.Service, *report) model.Object { return nil }

// endpointSlice converts a slice of a Service. Endpoints that are not ready or
// are terminating count: a policy must not open and close with readiness.
func endpointSlice(o *discoveryv1.EndpointSlice, r *report) model.Object {
	service := o.Labels[discoveryv1.LabelServiceName]
	if service == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	switch o.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	default:
		r.errorf(field.NewPath("addressType"), "unsupported value %s: want %s; the slice is left out", quote(string(o.AddressType)),
			list(discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN))
		return nil
	}
	s := &model.ServiceSlice{Ref: r.ref, Service: service}
	seen := map[netip.Addr]bool{}
	for i := range o.Endpoints {
		for j, text := range o.Endpoints[i].Addresses {
			path := func() *field.Path { return field.NewPath("endpoints").Index(i).Child("addresses").Index(j) }
			a, err := parseAddr(text)
			switch {
			case err != nil:
				r.errorf(path(), "%v; the address is left out", err)
			case a.Is4() != (o.AddressType == discoveryv1.AddressTypeIPv4):
				r.errorf(path(), "%s is not of the slice's addressType %s; the address is left out", quote(text), o.AddressType)
			case !seen[a]:
				seen[a] = true
				s.Addrs = append(s.Addrs, a)
			}
		}
	}
	for i := range o.Ports {
		ep := &o.Ports[i]
		path := field.NewPath("ports").Index(i)
		p := model.ServicePort{Protocol: model.TCP}
		var err error
		if ep.Protocol != nil && *ep.Protocol != "" {
			if p.Protocol, err = kubernetesProtocol(*ep.Protocol); err != nil {
				r.errorf(path.Child("protocol"), "%v; the port is left out", err)
				continue
			}
		}
		if ep.Port != nil {
			if p.Port, err = portNumber(int64(*ep.Port)); err != nil {
				r.errorf(path.Child("port"), "%v; the port is left out", err)
				continue
			}
		}
		if !slices.Contains(s.Ports, p) {
			s.Ports = append(s.Ports, p)
		}
	}
	return s
}
