package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	cnpv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// nativePolicy reads a Kubernetes NetworkPolicy: tier default, order 1000
// (DESIGN 3, "Conversion of native policies").
func (w *World) nativePolicy(o *networkingv1.NetworkPolicy) *policy {
	ref := model.Ref{Kind: model.KindNetworkPolicy, Namespace: o.Namespace, Name: o.Name}
	p := &policy{
		ref: ref, tie: ref,
		tier:  "default",
		order: 1000,
		audit: o.Annotations[v1alpha1.EnforcementAnnotation] == string(v1alpha1.Audit),
	}
	if len(o.Spec.PolicyTypes) == 0 {
		p.governs = [2]bool{model.Ingress: true, model.Egress: len(o.Spec.Egress) > 0}
	}
	for _, t := range o.Spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			p.governs[model.Ingress] = true
		case networkingv1.PolicyTypeEgress:
			p.governs[model.Egress] = true
		default:
			p.governs = [2]bool{true, true}
		}
	}
	for i, r := range o.Spec.Ingress {
		p.rules[model.Ingress] = append(p.rules[model.Ingress], w.nativeRule(p, model.Ingress, i, r.From, r.Ports))
	}
	for i, r := range o.Spec.Egress {
		p.rules[model.Egress] = append(p.rules[model.Egress], w.nativeRule(p, model.Egress, i, r.To, r.Ports))
	}
	inNamespace := podsOf(o.Namespace)
	sel, err := labelSelector(o.Spec.PodSelector)
	if err != nil {
		failClosed(p.rules[model.Ingress])
		failClosed(p.rules[model.Egress])
		sel = func(map[string]string) bool { return true }
	}
	p.selects = func(e *owner) bool { return inNamespace(e) && sel(e.own.values) }
	return p
}

func (w *World) nativeRule(p *policy, dir model.Direction, index int, from []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) rule {
	out := rule{index: index, action: model.Allow}
	peers, err := each(from, func(n networkingv1.NetworkPolicyPeer) (peer, error) { return nativePeer(p.ref.Namespace, n) })
	if err != nil {
		return broken(out)
	}
	portTests, err := each(ports, w.nativePort)
	if err != nil {
		return broken(out)
	}
	out.matches = w.peerAndPort(p, dir, peers, portTests)
	return out
}

func each[A, B any](list []A, f func(A) (B, error)) ([]B, error) {
	var out []B
	for _, a := range list {
		b, err := f(a)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// peer is one peer of a native policy or a ClusterNetworkPolicy: addresses, or
// owners of addresses.
type peer struct {
	nets   func(netip.Addr) bool
	owners func(*owner) bool
}

// portTest is one port of such a policy: named says whose port names count.
type portTest = func(f model.Flow, named func(*owner) bool) bool

// peerAndPort: one of the peers and one of the ports must match; none listed means any.
func (w *World) peerAndPort(p *policy, dir model.Direction, peers []peer, ports []portTest) func(model.Flow) bool {
	if len(peers) == 0 {
		peers = []peer{{nets: func(netip.Addr) bool { return true }}}
	}
	return func(f model.Flow) bool {
		for _, pr := range peers {
			// Ports are those of the destination: on ingress of the policy's own
			// endpoint, on egress of the very pod that is matched by label.
			addr, named := f.Src, p.namesPorts
			if dir == model.Egress {
				addr, named = f.Dst, pr.owners
			}
			if named == nil {
				named = anyOwner
			}
			if pr.nets != nil && !pr.nets(addr) || pr.owners != nil && !w.belongs(addr, pr.owners) {
				continue
			}
			if len(ports) == 0 || slices.ContainsFunc(ports, func(t portTest) bool { return t(f, named) }) {
				return true
			}
		}
		return false
	}
}

func nativePeer(namespace string, p networkingv1.NetworkPolicyPeer) (peer, error) {
	if p.IPBlock != nil {
		if p.PodSelector != nil || p.NamespaceSelector != nil {
			return peer{}, fmt.Errorf("ipBlock beside selectors")
		}
		in, err := parseNets([]string{p.IPBlock.CIDR})
		if err != nil {
			return peer{}, err
		}
		except, err := parseNets(p.IPBlock.Except)
		if err != nil {
			return peer{}, err
		}
		for _, n := range except { // as the API server demands
			if n.Bits() <= in[0].Bits() || !in[0].Contains(n.Addr()) {
				return peer{}, fmt.Errorf("except is not within the block")
			}
		}
		return peer{nets: func(a netip.Addr) bool {
			return in[0].Contains(a) && !slices.ContainsFunc(except, func(n netip.Prefix) bool { return n.Contains(a) })
		}}, nil
	}
	if p.PodSelector == nil && p.NamespaceSelector == nil {
		return peer{}, fmt.Errorf("peer of an unknown kind")
	}
	// Nil namespaceSelector → the policy's own namespace, empty → all namespaces.
	space := podsOf(namespace)
	if p.NamespaceSelector != nil {
		sel, err := labelSelector(*p.NamespaceSelector)
		if err != nil {
			return peer{}, err
		}
		space = func(o *owner) bool { return sel(o.ofSpace.values) }
	}
	pods := func(map[string]string) bool { return true }
	if p.PodSelector != nil {
		var err error
		if pods, err = labelSelector(*p.PodSelector); err != nil {
			return peer{}, err
		}
	}
	return podPeer(space, pods), nil
}

// podPeer matches pods, and nothing else.
func podPeer(space func(*owner) bool, pods func(map[string]string) bool) peer {
	return peer{owners: func(o *owner) bool { return o.kind == model.OwnerPod && space(o) && pods(o.own.values) }}
}

func (w *World) nativePort(p networkingv1.NetworkPolicyPort) (portTest, error) {
	proto := model.TCP // nil protocol → TCP
	if p.Protocol != nil {
		switch *p.Protocol {
		case corev1.ProtocolTCP:
		case corev1.ProtocolUDP:
			proto = model.UDP
		case corev1.ProtocolSCTP:
			proto = model.SCTP
		default:
			return nil, fmt.Errorf("no protocol %q", *p.Protocol)
		}
	}
	if p.Port == nil {
		if p.EndPort != nil {
			return nil, fmt.Errorf("endPort without port")
		}
		return func(f model.Flow, _ func(*owner) bool) bool { return f.Protocol == proto }, nil
	}
	r := portRange{first: int(p.Port.IntVal), last: int(p.Port.IntVal)}
	if p.Port.Type == intstr.String {
		r = portRange{name: p.Port.StrVal}
	}
	if p.EndPort != nil {
		r.last = int(*p.EndPort)
	}
	if r.name != "" && p.EndPort != nil || r.name == "" && (r.first < 1 || r.last > 65535 || r.first > r.last) {
		return nil, fmt.Errorf("bad port")
	}
	return func(f model.Flow, named func(*owner) bool) bool {
		return f.Protocol == proto && w.portMatches(r, named, f.Dst, f.Protocol, f.DstPort)
	}, nil
}

// labelSelector is the selector of the Kubernetes API.
func labelSelector(s metav1.LabelSelector) (func(map[string]string) bool, error) {
	var tests []func(map[string]string) bool
	for k, v := range s.MatchLabels {
		tests = append(tests, func(l map[string]string) bool { got, ok := l[k]; return ok && got == v })
	}
	for _, e := range s.MatchExpressions {
		var test func(value string, ok bool) bool
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			test = func(v string, ok bool) bool { return ok && slices.Contains(e.Values, v) }
		case metav1.LabelSelectorOpNotIn:
			test = func(v string, ok bool) bool { return !ok || !slices.Contains(e.Values, v) }
		case metav1.LabelSelectorOpExists:
			test = func(_ string, ok bool) bool { return ok }
		case metav1.LabelSelectorOpDoesNotExist:
			test = func(_ string, ok bool) bool { return !ok }
		default:
			return nil, fmt.Errorf("no operator %q", e.Operator)
		}
		tests = append(tests, func(l map[string]string) bool { v, ok := l[e.Key]; return test(v, ok) })
	}
	return allOf(tests), nil
}

// clusterPolicy reads a ClusterNetworkPolicy: tier kube-admin or kube-baseline,
// priority as order (DESIGN 3, Sorting).
func (w *World) clusterPolicy(o *cnpv1alpha2.ClusterNetworkPolicy) *policy {
	ref := model.Ref{Kind: model.KindClusterNetworkPolicy, Name: o.Name}
	p := &policy{
		ref: ref, tie: ref,
		tier:  "kube-" + strings.ToLower(string(o.Spec.Tier)),
		order: float64(o.Spec.Priority),
		governs: [2]bool{
			model.Ingress: len(o.Spec.Ingress) > 0,
			model.Egress:  len(o.Spec.Egress) > 0,
		},
	}
	for i, r := range o.Spec.Ingress {
		var peers []cnpv1alpha2.ClusterNetworkPolicyEgressPeer
		for _, from := range r.From {
			peers = append(peers, cnpv1alpha2.ClusterNetworkPolicyEgressPeer{Namespaces: from.Namespaces, Pods: from.Pods})
		}
		p.rules[model.Ingress] = append(p.rules[model.Ingress], w.clusterRule(p, model.Ingress, i, r.Name, r.Action, peers, r.Protocols))
	}
	for i, r := range o.Spec.Egress {
		p.rules[model.Egress] = append(p.rules[model.Egress], w.clusterRule(p, model.Egress, i, r.Name, r.Action, r.To, r.Protocols))
	}
	selects, err := clusterSubject(o.Spec.Subject)
	if err != nil {
		failClosed(p.rules[model.Ingress])
		failClosed(p.rules[model.Egress])
	}
	p.selects = func(e *owner) bool { return e.kind == model.OwnerPod && selects(e) }
	return p
}

// clusterSubject gives, beside an error, what its valid parts leave in scope.
func clusterSubject(s cnpv1alpha2.ClusterNetworkPolicySubject) (func(*owner) bool, error) {
	var spaces, pods metav1.LabelSelector
	switch {
	case s.Namespaces != nil && s.Pods == nil:
		spaces = *s.Namespaces
	case s.Pods != nil && s.Namespaces == nil:
		spaces, pods = s.Pods.NamespaceSelector, s.Pods.PodSelector
	default:
		return anyOwner, fmt.Errorf("subject of an unknown kind")
	}
	space, err := labelSelector(spaces)
	if err != nil {
		space = func(map[string]string) bool { return true }
	}
	pod, podErr := labelSelector(pods)
	if podErr != nil {
		pod, err = func(map[string]string) bool { return true }, podErr
	}
	return func(o *owner) bool { return space(o.ofSpace.values) && pod(o.own.values) }, err
}

func (w *World) clusterRule(p *policy, dir model.Direction, index int, name string, action cnpv1alpha2.ClusterNetworkPolicyRuleAction,
	peers []cnpv1alpha2.ClusterNetworkPolicyEgressPeer, protocols []cnpv1alpha2.ClusterNetworkPolicyProtocol) rule {
	actions := map[cnpv1alpha2.ClusterNetworkPolicyRuleAction]model.Action{
		cnpv1alpha2.ClusterNetworkPolicyRuleActionAccept: model.Allow,
		cnpv1alpha2.ClusterNetworkPolicyRuleActionDeny:   model.Deny,
		cnpv1alpha2.ClusterNetworkPolicyRuleActionPass:   model.Pass,
	}
	out := rule{index: index, name: name, action: actions[action]}
	if out.action == model.NoAction || len(peers) == 0 {
		return broken(out)
	}
	tests, err := each(peers, func(p cnpv1alpha2.ClusterNetworkPolicyEgressPeer) (peer, error) { return w.clusterPeer(p, dir, action) })
	if err != nil {
		return broken(out)
	}
	portTests, err := each(protocols, w.clusterProtocol)
	if err != nil {
		return broken(out)
	}
	out.matches = w.peerAndPort(p, dir, tests, portTests)
	return out
}

// clusterPeer: exactly one field must be set; one that is not known fails closed.
func (w *World) clusterPeer(p cnpv1alpha2.ClusterNetworkPolicyEgressPeer, dir model.Direction, action cnpv1alpha2.ClusterNetworkPolicyRuleAction) (peer, error) {
	set := 0
	for _, is := range []bool{p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, len(p.Networks) > 0, len(p.DomainNames) > 0} {
		if is {
			set++
		}
	}
	if set != 1 {
		return peer{}, fmt.Errorf("peer of an unknown kind")
	}
	switch {
	case len(p.DomainNames) > 0:
		if dir != model.Egress || action != cnpv1alpha2.ClusterNetworkPolicyRuleActionAccept {
			return peer{}, fmt.Errorf("names elsewhere than in what egress rules accept")
		}
		var texts []string
		for _, n := range p.DomainNames {
			texts = append(texts, string(n))
		}
		domains, err := readNames(texts, 25)
		return peer{nets: func(a netip.Addr) bool { return w.brought(domains, a) }}, err
	case p.Nodes != nil:
		sel, err := labelSelector(*p.Nodes)
		return peer{owners: func(o *owner) bool { return o.kind == model.OwnerNode && sel(o.own.values) }}, err
	case len(p.Networks) > 0:
		var texts []string
		for _, n := range p.Networks {
			texts = append(texts, string(n))
		}
		nets, err := parseNets(texts)
		return peer{nets: func(a netip.Addr) bool {
			return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(a) })
		}}, err
	}
	var spaces, pods metav1.LabelSelector
	if p.Namespaces != nil {
		spaces = *p.Namespaces
	} else {
		spaces, pods = p.Pods.NamespaceSelector, p.Pods.PodSelector
	}
	space, err := labelSelector(spaces)
	if err != nil {
		return peer{}, err
	}
	pod, err := labelSelector(pods)
	return podPeer(func(o *owner) bool { return space(o.ofSpace.values) }, pod), err
}

func (w *World) clusterProtocol(p cnpv1alpha2.ClusterNetworkPolicyProtocol) (portTest, error) {
	var proto model.Protocol
	var port *cnpv1alpha2.Port
	set := 0
	if p.TCP != nil {
		proto, port, set = model.TCP, p.TCP.DestinationPort, set+1
	}
	if p.UDP != nil {
		proto, port, set = model.UDP, p.UDP.DestinationPort, set+1
	}
	if p.SCTP != nil {
		proto, port, set = model.SCTP, p.SCTP.DestinationPort, set+1
	}
	if p.DestinationNamedPort != "" {
		set++
	}
	if set != 1 {
		return nil, fmt.Errorf("protocol of an unknown kind")
	}
	if p.DestinationNamedPort != "" {
		r := portRange{name: p.DestinationNamedPort}
		return func(f model.Flow, named func(*owner) bool) bool {
			return w.portMatches(r, named, f.Dst, f.Protocol, f.DstPort)
		}, nil
	}
	if port == nil {
		return nil, fmt.Errorf("protocol without a port")
	}
	r := portRange{first: int(port.Number), last: int(port.Number)}
	if port.Range != nil {
		if port.Number != 0 {
			return nil, fmt.Errorf("number beside range")
		}
		r = portRange{first: int(port.Range.Start), last: int(port.Range.End)}
	}
	if r.first < 1 || r.last > 65535 || r.first > r.last {
		return nil, fmt.Errorf("bad port")
	}
	return func(f model.Flow, named func(*owner) bool) bool {
		return f.Protocol == proto && w.portMatches(r, named, f.Dst, f.Protocol, f.DstPort)
	}, nil
}

// inService says whether an address is an endpoint of a Service by its
// EndpointSlices, with the port or without.
func (w *World) inService(service [2]string, a netip.Addr, withPort bool, proto model.Protocol, port uint16) bool {
	for _, s := range w.slices {
		if s.Namespace != service[0] || s.Labels[discoveryv1.LabelServiceName] != service[1] {
			continue
		}
		for _, e := range s.Endpoints {
			if slices.Contains(parseAddrs(e.Addresses), a) && (!withPort || sliceHasPort(s, proto, port)) {
				return true
			}
		}
	}
	return false
}

// sliceHasPort: no number means every port of the protocol.
func sliceHasPort(s *discoveryv1.EndpointSlice, proto model.Protocol, port uint16) bool {
	return slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
		want := model.TCP
		if p.Protocol != nil {
			want, _ = protocolOf(intstr.FromString(string(*p.Protocol)))
		}
		return proto == want && (p.Port == nil || *p.Port == int32(port))
	})
}
