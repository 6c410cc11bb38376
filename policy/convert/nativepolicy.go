package convert

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// nativePolicy converts a networking.k8s.io/v1 NetworkPolicy: a policy of tier
// default and order 1000 that only allows. Each of its rules becomes one rule
// of the model for every pair of a peer and a protocol, all with the index of
// the source rule.
func nativePolicy(o *networkingv1.NetworkPolicy, r *report) model.Object {
	path := field.NewPath("spec")
	p := &model.Policy{
		Ref:        r.ref,
		Tier:       model.TierDefault,
		Order:      model.NativeOrder,
		Generation: o.Generation,
		Audit:      nativeEnforcement(o, r) == v1alpha1.Audit,
	}
	scope := []*selector.Selector{isPod, inNamespace(r.ref.Namespace)}
	pods := r.labelSelector(path.Child("podSelector"), &o.Spec.PodSelector, "")
	if pods != nil {
		scope = append(scope, pods)
	}
	p.Selector = selector.And(scope...)

	types := path.Child("policyTypes")
	for i, t := range o.Spec.PolicyTypes {
		switch {
		case t != networkingv1.PolicyTypeIngress && t != networkingv1.PolicyTypeEgress:
			r.errorf(types.Index(i), "unsupported value %s: want %s; the policy governs both directions", quote(string(t)), list(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress))
			p.Ingress, p.Egress = true, true
		case slices.Contains(o.Spec.PolicyTypes[:i], t):
			r.warnf(types.Index(i), "duplicate value %s", quote(string(t)))
		case t == networkingv1.PolicyTypeIngress:
			p.Ingress = true
		default:
			p.Egress = true
		}
	}
	if len(o.Spec.PolicyTypes) == 0 {
		p.Ingress, p.Egress = true, len(o.Spec.Egress) > 0
	}

	for i := range o.Spec.Ingress {
		rule := &o.Spec.Ingress[i]
		at := path.Child("ingress").Index(i)
		p.IngressRules = append(p.IngressRules, r.nativeRule(at, "from", i, rule.From, rule.Ports, model.Ingress)...)
	}
	for i := range o.Spec.Egress {
		rule := &o.Spec.Egress[i]
		at := path.Child("egress").Index(i)
		p.EgressRules = append(p.EgressRules, r.nativeRule(at, "to", i, rule.To, rule.Ports, model.Egress)...)
	}
	if !p.Ingress && len(o.Spec.Ingress) > 0 {
		r.warnf(path.Child("ingress"), "has no effect: policyTypes does not have Ingress")
		p.IngressRules = nil
	}
	if !p.Egress && len(o.Spec.Egress) > 0 {
		r.warnf(path.Child("egress"), "has no effect: policyTypes does not have Egress")
		p.EgressRules = nil
	}
	if pods == nil {
		p.IngressRules, p.EgressRules = distrust(p.IngressRules), distrust(p.EgressRules)
	}
	return p
}

// nativeEnforcement reads the annotation that stages a native policy. Other
// software does not know the annotation, so a value that is not understood
// leaves the policy what it is to everybody else: enforced.
func nativeEnforcement(o *networkingv1.NetworkPolicy, r *report) v1alpha1.Enforcement {
	v, ok := o.Annotations[v1alpha1.EnforcementAnnotation]
	switch e := v1alpha1.Enforcement(v); {
	case !ok:
		return v1alpha1.Enforced
	case e == v1alpha1.Enforced || e == v1alpha1.Audit:
		return e
	}
	r.errorf(metadataPath.Child("annotations").Key(v1alpha1.EnforcementAnnotation), "unsupported value %s: want %s; the policy is enforced", quote(v), list(v1alpha1.Enforced, v1alpha1.Audit))
	return v1alpha1.Enforced
}

// protocolPorts are the ports of one protocol. No ports means all of them.
type protocolPorts struct {
	protocol model.Protocol
	ports    []model.Port
}

// expand multiplies the peers of a rule by its protocols. Each peer is that of
// the far side; ports are always the destination's.
func expand(rule model.Rule, dir model.Direction, peers []model.Peer, protocols []protocolPorts) []model.Rule {
	if protocols == nil {
		protocols = []protocolPorts{{}}
	}
	out := make([]model.Rule, 0, len(peers)*len(protocols))
	for _, peer := range peers {
		for _, pp := range protocols {
			one := rule
			one.Match.Protocol = pp.protocol
			if dir == model.Ingress {
				one.Match.Source = peer
			} else {
				one.Match.Destination = peer
			}
			one.Match.Destination.Ports = pp.ports
			out = append(out, one)
		}
	}
	return out
}

func (r *report) nativeRule(path *field.Path, peersField string, index int, in []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, dir model.Direction) []model.Rule {
	before := r.errors
	rule := model.Rule{Index: index, Action: model.Allow}
	peers := []model.Peer{{}} // no peers in the source: any peer
	if len(in) > 0 {
		peers = peers[:0]
		for i := range in {
			peers = append(peers, r.nativePeer(path.Child(peersField).Index(i), &in[i]))
		}
	}
	protocols := r.nativePorts(path.Child("ports"), ports)
	for i := range protocols {
		r.combine(path.Child("ports"), len(peers), names(protocols[i].ports))
	}
	if r.errors > before {
		return []model.Rule{failClosed(rule)}
	}
	return expand(rule, dir, peers, protocols)
}

func (r *report) nativePeer(path *field.Path, in *networkingv1.NetworkPolicyPeer) model.Peer {
	switch {
	case in.IPBlock == nil && in.PodSelector == nil && in.NamespaceSelector == nil:
		r.errorf(path, "is empty: want podSelector, namespaceSelector or ipBlock")
		return model.Peer{}
	case in.IPBlock != nil && (in.PodSelector != nil || in.NamespaceSelector != nil):
		r.errorf(path, "ipBlock cannot be combined with a selector: want one or the other")
	}
	var out model.Peer
	if in.IPBlock != nil {
		out = r.ipBlock(path.Child("ipBlock"), in.IPBlock)
	}
	if in.PodSelector == nil && in.NamespaceSelector == nil {
		return out
	}
	terms := []*selector.Selector{isPod}
	if in.NamespaceSelector == nil {
		terms = append(terms, inNamespace(r.ref.Namespace))
	} else if s := r.labelSelector(path.Child("namespaceSelector"), in.NamespaceSelector, model.PrefixNamespace); s != nil {
		terms = append(terms, s)
	}
	if in.PodSelector != nil {
		if s := r.labelSelector(path.Child("podSelector"), in.PodSelector, ""); s != nil {
			terms = append(terms, s)
		}
	}
	out.Selector = selector.And(terms...)
	return out
}

// ipBlock converts an address block with exceptions. Its rule is one for the
// block's IP version.
func (r *report) ipBlock(path *field.Path, in *networkingv1.IPBlock) model.Peer {
	cidr, hostBits, err := parseNet(in.CIDR, cidrOnly)
	if in.CIDR == "" {
		r.errorf(path.Child("cidr"), "is missing: want an address block")
	} else if err != nil {
		r.errorf(path.Child("cidr"), "%v", err)
	}
	if hostBits {
		r.warnf(path.Child("cidr"), "%s has bits beyond its prefix length: it is read as %s", quote(in.CIDR), cidr)
	}
	except := r.nets(path, "except", in.Except, cidrOnly)
	if err != nil {
		return model.Peer{}
	}
	for _, e := range except {
		if !contains(cidr, e) {
			r.errorf(path.Child("except"), "%s is not a part of %s: want smaller blocks within cidr", e, cidr)
		}
	}
	return model.Peer{Nets: []netip.Prefix{cidr}, NotNets: except}
}

// contains reports whether a holds all of b and more.
func contains(a, b netip.Prefix) bool {
	return a.Addr().BitLen() == b.Addr().BitLen() && a.Bits() < b.Bits() && a.Contains(b.Addr())
}

// nativePorts groups the ports of a native rule by protocol, in the order in
// which the protocols first occur. Nil means any protocol.
func (r *report) nativePorts(path *field.Path, in []networkingv1.NetworkPolicyPort) []protocolPorts {
	var out []protocolPorts
	all := map[model.Protocol]bool{}
	type one struct {
		protocol model.Protocol
		port     model.Port
	}
	seen := map[one]bool{}
	for i := range in {
		at := path.Index(i)
		protocol := model.TCP
		if v := in[i].Protocol; v != nil {
			p, err := kubernetesProtocol(*v)
			if err != nil {
				r.errorf(at.Child("protocol"), "%v", err)
			}
			protocol = p
		}
		g := slices.IndexFunc(out, func(pp protocolPorts) bool { return pp.protocol == protocol })
		if g < 0 {
			g = len(out)
			out = append(out, protocolPorts{protocol: protocol})
		}
		port, whole, failed := r.nativePort(at, &in[i])
		switch {
		case failed: // reported
		case whole:
			all[protocol] = true
		case seen[one{protocol, port}]:
			r.warnf(at, "duplicate value")
		default:
			seen[one{protocol, port}] = true
			out[g].ports = append(out[g].ports, port)
		}
	}
	for i := range out {
		if all[out[i].protocol] {
			out[i].ports = nil
		}
	}
	return out
}

// nativePort reads one entry of a rule's ports. whole is true if it means all
// ports of its protocol.
func (r *report) nativePort(path *field.Path, in *networkingv1.NetworkPolicyPort) (port model.Port, whole, failed bool) {
	before := r.errors
	switch {
	case in.Port == nil:
		whole = true
		if in.EndPort != nil {
			r.errorf(path.Child("endPort"), "%d requires port to be set", *in.EndPort)
		}
	case in.Port.Type == intstr.String:
		port.Name = in.Port.StrVal
		if !isContainerPortName(port.Name) {
			r.errorf(path.Child("port"), "invalid value %s: %s", quote(port.Name), containerPortNames)
		}
		if in.EndPort != nil {
			r.errorf(path.Child("endPort"), "%d requires port to be a number, not the name %s", *in.EndPort, quote(port.Name))
		}
	default:
		first, err := portNumber(int64(in.Port.IntVal))
		if err != nil {
			r.errorf(path.Child("port"), "%v", err)
		}
		port.First, port.Last = first, first
		if in.EndPort == nil {
			break
		}
		last, lastErr := portNumber(int64(*in.EndPort))
		if lastErr != nil {
			r.errorf(path.Child("endPort"), "%v", lastErr)
		} else if err == nil && last < first {
			r.errorf(path.Child("endPort"), "%d is below port %d: want an ascending range", last, first)
		}
		port.Last = last
	}
	return port, whole, r.errors > before
}
