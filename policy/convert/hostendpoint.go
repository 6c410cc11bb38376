package convert

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// allowProfile is the one profile of the model API that has a meaning here.
const allowProfile = "projectcalico-default-allow"

// maxInterfaceName is the kernel's limit for names of interfaces.
const maxInterfaceName = 15

func hostEndpoint(o *v1alpha1.HostEndpoint, r *report) model.Object {
	spec := field.NewPath("spec")
	e := &model.Endpoint{
		Ref:    r.ref,
		Node:   o.Spec.Node,
		Labels: r.labels(o.Labels),
		Host:   &model.HostEndpoint{Interface: o.Spec.InterfaceName, DefaultAction: model.Deny},
	}
	if o.Spec.Node == "" {
		r.errorf(spec.Child("node"), "is missing: without it the host endpoint guards nothing")
	} else if !isDNSSubdomain(o.Spec.Node) {
		r.errorf(spec.Child("node"), "invalid value %s: want the name of a node", quote(o.Spec.Node))
	}
	switch name := o.Spec.InterfaceName; {
	case name == "" && len(o.Spec.ExpectedIPs) == 0:
		r.errorf(spec, "has neither interfaceName nor expectedIPs: want one of them; interfaceName \"*\" is all interfaces of the node")
	case len(name) > maxInterfaceName || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\x00"):
		r.errorf(spec.Child("interfaceName"), "invalid value %s: want the name of a Linux interface, at most 15 characters without '/', ':' and spaces, or \"*\"", quote(name))
	}
	for i, s := range o.Spec.ExpectedIPs {
		a, err := parseAddr(s)
		switch {
		case err != nil:
			r.errorf(spec.Child("expectedIPs").Index(i), "%v; the address is left out", err)
		case slices.Contains(e.Addrs, a):
			r.warnf(spec.Child("expectedIPs").Index(i), "duplicate value %s", a)
		default:
			e.Addrs = append(e.Addrs, a)
		}
	}
	e.Ports = hostPorts(spec.Child("ports"), o.Spec.Ports, r)
	for i, p := range o.Spec.Profiles {
		if p == allowProfile {
			e.Host.DefaultAction = model.Allow
			continue
		}
		r.errorf(spec.Child("profiles").Index(i), "%s is not supported: want %s, or a GlobalNetworkPolicy instead", quote(p), allowProfile)
	}
	if a := o.Spec.DefaultAction; a != nil {
		switch *a {
		case v1alpha1.Deny:
			if e.Host.DefaultAction == model.Allow {
				r.warnf(spec.Child("defaultAction"), "Deny overrides the profile %s", allowProfile)
			}
			e.Host.DefaultAction = model.Deny
		case v1alpha1.Allow:
			e.Host.DefaultAction = model.Allow
		default:
			r.errorf(spec.Child("defaultAction"), "unsupported value %s: want %s; it is read as Deny", quote(string(*a)), list(v1alpha1.Allow, v1alpha1.Deny))
			e.Host.DefaultAction = model.Deny
		}
	}
	return e
}

func hostPorts(path *field.Path, in []v1alpha1.EndpointPort, r *report) []model.NamedPort {
	var out []model.NamedPort
	for i, ep := range in {
		at := path.Index(i)
		before := r.errors
		p := model.NamedPort{Name: ep.Name}
		var err error
		if !isRulePortName(ep.Name) {
			r.errorf(at.Child("name"), "invalid value %s: want at most 128 characters a-z, A-Z, 0-9, '-', '_' or '.', at least one of them a letter; the port is left out", quote(ep.Name))
		}
		if ep.Protocol == (intstr.IntOrString{}) {
			r.errorf(at.Child("protocol"), "is missing: want TCP, UDP or SCTP; the port is left out")
		} else if p.Protocol, err = portProtocol(ep.Protocol.String()); err != nil {
			r.errorf(at.Child("protocol"), "%v; the port is left out", err)
		}
		if p.Port, err = portNumber(int64(ep.Port)); err != nil {
			r.errorf(at.Child("port"), "%v; the port is left out", err)
		}
		switch {
		case r.errors > before:
		case slices.Contains(out, p):
			r.warnf(at, "duplicate value %s", p.Name)
		default:
			out = append(out, p)
		}
	}
	return out
}
