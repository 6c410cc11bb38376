package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	cnpv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// labelSelector is one of the Kubernetes API's.
func (s *Stream) labelSelector(keys ...string) metav1.LabelSelector {
	var l metav1.LabelSelector
	switch s.rng.IntN(4) {
	case 0:
	case 1:
		l.MatchLabels = map[string]string{pick(s, keys...): pick(s, "x", "y")}
	default:
		for range pick(s, 1, 1, 2) {
			e := metav1.LabelSelectorRequirement{Key: pick(s, keys...), Operator: pick(s, metav1.LabelSelectorOpIn,
				metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
			if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
				e.Values = pick(s, []string{"x"}, []string{"y", "x"}, []string{"xy"})
			}
			l.MatchExpressions = append(l.MatchExpressions, e)
		}
	}
	if s.invalid() {
		l.MatchExpressions = append(l.MatchExpressions, metav1.LabelSelectorRequirement{Key: "app", Operator: "Near"})
	}
	return l
}

func (s *Stream) podLabels() metav1.LabelSelector { return s.labelSelector("app", "role", "none") }

func (s *Stream) spaceLabels() metav1.LabelSelector {
	if s.chance(0.2) {
		return metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: pick(s, namespaces...)}}
	}
	return s.labelSelector("env", "app")
}

func (s *Stream) nativePolicy(i int) runtime.Object {
	p := &networkingv1.NetworkPolicy{ObjectMeta: meta(namespaces[i%len(namespaces)], fmt.Sprintf("knp%d", i), nil)}
	if s.chance(0.2) {
		p.Annotations = map[string]string{v1alpha1.EnforcementAnnotation: pick(s, "Audit", "Audit", "Enforced")}
	}
	p.Spec.PodSelector = s.podLabels()
	p.Spec.PolicyTypes = pick(s, nil, nil, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"},
		[]networkingv1.PolicyType{"Ingress", "Egress"})
	if s.invalid() {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{"Both"}
	}
	for range s.rng.IntN(3) {
		p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: s.nativePeers(), Ports: s.nativePorts()})
	}
	for range s.rng.IntN(3) {
		p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: s.nativePeers(), Ports: s.nativePorts()})
	}
	return p
}

func (s *Stream) nativePeers() []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for range pick(s, 0, 1, 1, 2) {
		var p networkingv1.NetworkPolicyPeer
		switch s.rng.IntN(4) {
		case 0:
			nets := pick(s, nets4, nets6)
			p.IPBlock = &networkingv1.IPBlock{CIDR: pick(s, nets...)}
			block := netip.MustParsePrefix(p.IPBlock.CIDR)
			for _, n := range some(s, 3, nets...) {
				except := netip.MustParsePrefix(n)
				if except.Bits() > block.Bits() && block.Contains(except.Addr()) || s.invalid() {
					p.IPBlock.Except = append(p.IPBlock.Except, n)
				}
			}
		case 1:
			p.PodSelector = ptr(s.podLabels())
		case 2:
			p.NamespaceSelector = ptr(s.spaceLabels())
		default:
			p.PodSelector, p.NamespaceSelector = ptr(s.podLabels()), ptr(s.spaceLabels())
		}
		if s.invalid() {
			p = pick(s, networkingv1.NetworkPolicyPeer{}, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/99"}},
				networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.0.0"}}})
		}
		peers = append(peers, p)
	}
	return peers
}

func (s *Stream) nativePorts() []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	for range pick(s, 0, 1, 1, 2) {
		p := networkingv1.NetworkPolicyPort{Protocol: pick(s, nil, ptr(corev1.ProtocolTCP), ptr(corev1.ProtocolUDP), ptr(corev1.ProtocolSCTP))}
		switch s.rng.IntN(4) {
		case 0:
		case 1:
			p.Port = ptr(intstr.FromString(pick(s, "http", "dns", "gone")))
		case 2:
			p.Port, p.EndPort = ptr(intstr.FromInt32(80)), ptr(int32(443))
		default:
			p.Port = ptr(intstr.FromInt32(pick(s, int32(80), 53, 8080)))
		}
		if s.invalid() {
			p = pick(s, networkingv1.NetworkPolicyPort{Port: ptr(intstr.FromInt32(0))}, networkingv1.NetworkPolicyPort{Port: ptr(intstr.FromInt32(70000))},
				networkingv1.NetworkPolicyPort{Port: ptr(intstr.FromInt32(80)), EndPort: ptr(int32(79))},
				networkingv1.NetworkPolicyPort{Protocol: ptr(corev1.Protocol("QUIC"))})
		}
		ports = append(ports, p)
	}
	return ports
}

func (s *Stream) clusterPolicy(i int) runtime.Object {
	p := &cnpv1alpha2.ClusterNetworkPolicy{ObjectMeta: meta("", fmt.Sprintf("cnp%d", i), nil)}
	p.Spec.Tier = pick(s, cnpv1alpha2.AdminTier, cnpv1alpha2.BaselineTier)
	p.Spec.Priority = pick(s, int32(0), 10, 10, 1000)
	p.Spec.Subject.Namespaces = ptr(s.spaceLabels())
	if s.chance(0.5) {
		p.Spec.Subject = cnpv1alpha2.ClusterNetworkPolicySubject{Pods: s.namespacedPod()}
	}
	if s.invalid() {
		p.Spec.Subject = cnpv1alpha2.ClusterNetworkPolicySubject{}
	}
	for range s.rng.IntN(3) {
		r := cnpv1alpha2.ClusterNetworkPolicyIngressRule{Name: pick(s, "", "one", "two"), Action: s.clusterAction(), Protocols: s.clusterProtocols(true)}
		for range pick(s, 1, 1, 2) {
			e := s.clusterPeer(false)
			r.From = append(r.From, cnpv1alpha2.ClusterNetworkPolicyIngressPeer{Namespaces: e.Namespaces, Pods: e.Pods})
		}
		p.Spec.Ingress = append(p.Spec.Ingress, r)
	}
	for range s.rng.IntN(3) {
		wide := s.chance(0.5) // nodes and networks, which have no named ports
		r := cnpv1alpha2.ClusterNetworkPolicyEgressRule{Name: pick(s, "", "one", "two"), Action: s.clusterAction(), Protocols: s.clusterProtocols(!wide)}
		for range pick(s, 1, 1, 2) {
			r.To = append(r.To, s.clusterPeer(wide))
		}
		p.Spec.Egress = append(p.Spec.Egress, r)
	}
	return p
}

func (s *Stream) namespacedPod() *cnpv1alpha2.NamespacedPod {
	return &cnpv1alpha2.NamespacedPod{NamespaceSelector: s.spaceLabels(), PodSelector: s.podLabels()}
}

func (s *Stream) clusterAction() cnpv1alpha2.ClusterNetworkPolicyRuleAction {
	if s.invalid() {
		return pick(s, "", cnpv1alpha2.ClusterNetworkPolicyRuleAction("Allow"))
	}
	return pick(s, cnpv1alpha2.ClusterNetworkPolicyRuleActionAccept, cnpv1alpha2.ClusterNetworkPolicyRuleActionDeny,
		cnpv1alpha2.ClusterNetworkPolicyRuleActionPass)
}

func (s *Stream) clusterPeer(wide bool) cnpv1alpha2.ClusterNetworkPolicyEgressPeer {
	var p cnpv1alpha2.ClusterNetworkPolicyEgressPeer
	if s.invalid() {
		if wide && s.chance(0.5) {
			p.DomainNames = []cnpv1alpha2.DomainName{"example.org"}
		}
		return p
	}
	switch s.rng.IntN(4) {
	case 0:
		p.Namespaces = ptr(s.spaceLabels())
	case 1:
		p.Pods = s.namespacedPod()
	case 2:
		if !wide {
			p.Pods = s.namespacedPod()
			break
		}
		p.Nodes = ptr(s.podLabels())
	default:
		if !wide {
			p.Namespaces = ptr(s.spaceLabels())
			break
		}
		// Both families in one peer are allowed here.
		for _, n := range append(some(s, 2, slices.Concat(nets4, nets6)...), pick(s, slices.Concat(nets4, nets6)...)) {
			p.Networks = append(p.Networks, cnpv1alpha2.CIDR(n))
		}
		if s.invalid() {
			p.Networks = append(p.Networks, cnpv1alpha2.CIDR(strings.Repeat("1", 3)+"/8"))
		}
	}
	return p
}

func (s *Stream) clusterProtocols(named bool) []cnpv1alpha2.ClusterNetworkPolicyProtocol {
	var out []cnpv1alpha2.ClusterNetworkPolicyProtocol
	for range pick(s, 0, 1, 1, 2) {
		port := &cnpv1alpha2.Port{Number: pick(s, int32(80), 53)}
		if s.chance(0.4) {
			port = &cnpv1alpha2.Port{Range: &cnpv1alpha2.PortRange{Start: 80, End: 443}}
		}
		if s.invalid() {
			port = pick(s, nil, &cnpv1alpha2.Port{}, &cnpv1alpha2.Port{Range: &cnpv1alpha2.PortRange{Start: 90, End: 80}}, &cnpv1alpha2.Port{Number: 70000})
		}
		var p cnpv1alpha2.ClusterNetworkPolicyProtocol
		switch s.rng.IntN(4) {
		case 0:
			p.TCP = &cnpv1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}
		case 1:
			p.UDP = &cnpv1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}
		case 2:
			p.SCTP = &cnpv1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: port}
		default:
			if !named {
				p.TCP = &cnpv1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}
				break
			}
			p.DestinationNamedPort = pick(s, "http", "dns", "gone")
		}
		if s.invalid() {
			p = cnpv1alpha2.ClusterNetworkPolicyProtocol{}
		}
		out = append(out, p)
	}
	return out
}
