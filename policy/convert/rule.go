package convert

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// rules converts the rules of one direction of a Tierwall policy. Each source
// rule gives one rule of the model, or one for each protocol of ports (see eachProtocol).
func (r *report) rules(spec *field.Path, in []v1alpha1.Rule, dir model.Direction, namespaced bool) []model.Rule {
	if len(in) == 0 {
		return nil
	}
	r.atMost(spec, dir.String(), len(in), maxRules)
	path := spec.Child(dir.String())
	out := make([]model.Rule, 0, len(in))
	for i := range in {
		out = append(out, r.rule(path.Index(i), i, &in[i], dir, namespaced)...)
	}
	return out
}

func (r *report) rule(path *field.Path, index int, in *v1alpha1.Rule, dir model.Direction, namespaced bool) []model.Rule {
	before := r.errors
	out := model.Rule{Index: index, Action: r.action(path.Child("action"), in.Action)}
	if in.Metadata != nil {
		out.Annotations = in.Metadata.Annotations
	}
	m := &out.Match
	var ips family
	if v := in.IPVersion; v != nil {
		switch *v {
		case 4, 6:
			m.IPVersion = uint8(*v)
			ips = family{version: m.IPVersion, because: "ipVersion"}
		default:
			r.errorf(path.Child("ipVersion"), "unsupported value %d: want 4 or 6", *v)
		}
	}
	protocolOK := r.protocols(path, in, m)
	if in.HTTP != nil {
		r.errorf(path.Child("http"), "is not supported: rules match addresses, protocols and ports only")
	}
	each := in.Protocol == nil && namesPorts(in)
	sides := []struct {
		name string
		in   *v1alpha1.EntityRule
		out  *model.Peer
	}{
		{"source", &in.Source, &m.Source},
		{"destination", &in.Destination, &m.Destination},
	}
	for _, s := range sides {
		at := path.Child(s.name)
		*s.out = r.peer(at, s.in, namespaced)
		ips.check(r, path, s.name, "nets", s.out.Nets)
		ips.check(r, path, s.name, "notNets", s.out.NotNets)
		if protocolOK && !each && !m.Protocol.HasPorts() {
			for _, p := range []struct {
				name string
				n    int
			}{{"ports", len(s.in.Ports)}, {"notPorts", len(s.in.NotPorts)}} {
				if p.n > 0 {
					r.errorf(at.Child(p.name), "requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is %s", m.Protocol)
				}
			}
		}
	}
	alternatives := 1
	if each {
		alternatives = len(portProtocols)
	}
	r.combine(path.Child("source", "ports"), alternatives*names(m.Source.Ports), names(m.Destination.Ports))
	if m.Source.Nets == nil && m.Destination.Nets == nil {
		// Blocks make a rule one of their family. Nets see to that themselves; an
		// Allow with notNets of IPv4 alone would otherwise open all of IPv6.
		m.IPVersion = ips.version
	}
	r.services(path, "source", &in.Source, &m.Source, dir == model.Ingress, namespaced)
	r.services(path, "destination", &in.Destination, &m.Destination, dir == model.Egress, namespaced)
	m.Destination.ServicePorts = m.Destination.Service != (model.ServiceRef{})
	switch {
	case r.errors > before:
		return []model.Rule{failClosed(out)}
	case each:
		return eachProtocol(out)
	}
	return []model.Rule{out}
}

// portProtocols are the protocols that the ports of endpoints can have.
var portProtocols = []model.Protocol{model.TCP, model.UDP, model.SCTP}

// namesPorts reports whether a rule wants ports, all of them by name. Such a rule needs
// no protocol: it is that of the port that has the name.
func namesPorts(in *v1alpha1.Rule) bool {
	all := slices.Concat(in.Source.Ports, in.Source.NotPorts, in.Destination.Ports, in.Destination.NotPorts)
	return len(in.Source.Ports)+len(in.Destination.Ports) > 0 && !slices.ContainsFunc(all, func(v intstr.IntOrString) bool {
		return v.Type == intstr.Int || !isRulePortName(v.StrVal)
	})
}

// eachProtocol is a rule on names of ports as alternatives, one for each protocol that a
// port of such a name can have.
func eachProtocol(rule model.Rule) []model.Rule {
	var out []model.Rule
	for _, p := range portProtocols {
		if p == rule.Match.NotProtocol {
			continue
		}
		one := rule
		one.Match.Protocol, one.Match.NotProtocol = p, model.AnyProtocol
		out = append(out, one)
	}
	return out
}

// action reads an action; one that is unknown is none, and reported.
func (r *report) action(path *field.Path, in v1alpha1.Action) model.Action {
	switch in {
	case v1alpha1.Allow:
		return model.Allow
	case v1alpha1.Deny:
		return model.Deny
	case v1alpha1.Log:
		return model.Log
	case v1alpha1.Pass:
		return model.Pass
	case "":
		r.errorf(path, "is missing: want %s", list(v1alpha1.Allow, v1alpha1.Deny, v1alpha1.Log, v1alpha1.Pass))
	default:
		r.errorf(path, "unsupported value %s: want %s", quote(string(in)), list(v1alpha1.Allow, v1alpha1.Deny, v1alpha1.Log, v1alpha1.Pass))
	}
	return model.NoAction
}

// protocols reads what a rule says of protocols and ICMP types. known is false
// if its protocol cannot be understood, so that nothing follows from it.
func (r *report) protocols(path *field.Path, in *v1alpha1.Rule, m *model.Match) (known bool) {
	before := r.errors
	m.Protocol = r.protocol(path, "protocol", in.Protocol)
	known = r.errors == before
	m.NotProtocol = r.protocol(path, "notProtocol", in.NotProtocol)
	if known && (in.ICMP != nil || in.NotICMP != nil) && m.Protocol != model.ICMPv4 && m.Protocol != model.ICMPv6 {
		name := "icmp"
		if in.ICMP == nil {
			name = "notICMP"
		}
		r.errorf(path.Child(name), "requires protocol ICMP or ICMPv6, but the protocol is %s", m.Protocol)
	}
	m.ICMP = r.icmp(path, "icmp", in.ICMP)
	m.NotICMP = r.icmp(path, "notICMP", in.NotICMP)
	if in.NotICMP != nil && in.NotICMP.Type == nil {
		r.errorf(path.Child("notICMP", "type"), "is missing: notICMP requires the type that must not match")
	}
	return known
}

// icmp reads a match of ICMP types, the field name of a rule; nil is none.
func (r *report) icmp(rule *field.Path, name string, in *v1alpha1.ICMPFields) *model.ICMP {
	if in == nil {
		return nil
	}
	path := rule.Child(name)
	before := r.errors
	if in.Type != nil && (*in.Type < 0 || *in.Type > 254) {
		r.errorf(path.Child("type"), "invalid value %d: want 0-254", *in.Type)
	}
	if in.Code != nil && (*in.Code < 0 || *in.Code > 255) {
		r.errorf(path.Child("code"), "invalid value %d: want 0-255", *in.Code)
	}
	if in.Code != nil && in.Type == nil {
		r.errorf(path.Child("code"), "requires a type, because the meaning of codes depends on it")
	}
	if r.errors > before || in.Type == nil {
		return nil
	}
	out := &model.ICMP{Type: uint8(*in.Type)}
	if in.Code != nil {
		code := uint8(*in.Code)
		out.Code = &code
	}
	return out
}

// peer converts one side of a rule, but for its services.
func (r *report) peer(path *field.Path, in *v1alpha1.EntityRule, namespaced bool) model.Peer {
	var out model.Peer
	r.atMost(path, "nets", len(in.Nets), maxNets)
	out.Nets = r.nets(path, "nets", in.Nets, cidrOrAddress)
	r.atMost(path, "notNets", len(in.NotNets), maxNets)
	out.NotNets = r.nets(path, "notNets", in.NotNets, cidrOrAddress)
	out.Selector, out.NotSelector = r.sideScope(path, in, namespaced)
	out.Ports = r.ports(path, "ports", in.Ports)
	out.NotPorts = r.ports(path, "notPorts", in.NotPorts)
	if len(in.Domains) > 0 {
		r.errorf(path.Child("domains"), "is not supported: want addresses in nets, or a network set and a selector")
	}
	return out
}

// services converts the services of one side of a rule. here reports whether
// this is the side and direction in which they have a meaning.
func (r *report) services(rule *field.Path, side string, in *v1alpha1.EntityRule, out *model.Peer, here, namespaced bool) {
	s := in.Services
	if s == nil {
		return
	}
	path := rule.Child(side)
	at := path.Child("services")
	if !here {
		r.errorf(at, "is not allowed here: want it in the destination of an egress rule or the source of an ingress rule")
	}
	for _, other := range []struct {
		name string
		set  bool
	}{
		{"nets", len(in.Nets) > 0},
		{"notNets", len(in.NotNets) > 0},
		{"selector", in.Selector != ""},
		{"notSelector", in.NotSelector != ""},
		{"namespaceSelector", in.NamespaceSelector != ""},
		{"serviceAccounts", in.ServiceAccounts != nil},
		// Of a receiver it says the ports too, of a sender it says none.
		{"ports", len(in.Ports) > 0 && side == "destination"},
		{"notPorts", len(in.NotPorts) > 0 && side == "destination"},
	} {
		if other.set {
			r.errorf(path.Child(other.name), "cannot be combined with services: want one or the other")
		}
	}
	ref := model.ServiceRef{Namespace: s.Namespace, Name: s.Name}
	switch {
	case s.Name == "":
		r.errorf(at.Child("name"), "is missing: want the name of a Service")
	case !isDNSLabel(s.Name):
		r.errorf(at.Child("name"), "invalid value %s: want the name of a Service", quote(s.Name))
	}
	switch {
	case s.Namespace == "" && namespaced:
		ref.Namespace = r.ref.Namespace
	case s.Namespace == "":
		r.errorf(at.Child("namespace"), "is missing: a cluster-wide policy must name the Service's namespace")
	case !isDNSLabel(s.Namespace):
		r.errorf(at.Child("namespace"), "invalid value %s: want the name of a namespace", quote(s.Namespace))
	}
	out.Service = ref
}
