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

// selector writes a random expression over a small alphabet, of any shape that
// the grammar allows.
func (s *Stream) selector(keys []string, depth int) string {
	if s.invalid() {
		return pick(s, "app ==", "app = 'x'", "(app == 'x'", "has(app", "app in {'x'", "&& app == 'x'", "app == 'x' role",
			"app == 'x", "some(app)", "app in 'x'", "!", "app == x")
	}
	if depth > 0 && s.chance(0.5) {
		a, b := s.selector(keys, depth-1), s.selector(keys, depth-1)
		return pick(s, a+" && "+b, a+"||"+b, "("+a+") && "+b, "!("+a+" || "+b+")", "! ( "+a+" )", "("+a+" || "+b+")")
	}
	k, v, quote := pick(s, keys...), pick(s, "x", "y", "xy"), pick(s, "'", `"`)
	v = quote + v + quote
	return pick(s,
		k+" == "+v, k+"=="+v, k+" != "+v, k+"!="+v, "has("+k+")", "!has("+k+")", "has( "+k+" )",
		k+" in {"+v+", 'y'}", k+" not in { "+v+" }", k+" not in {'x','y'}",
		k+" contains "+v, k+" starts with "+v, k+"  ends with\t"+v, "all()", "!"+k+" == "+v, "!!has("+k+")",
	)
}

var ownKeys = []string{"app", "app", "role", "role", "none"}

// ownSelector is a selector of endpoints or peers, now and then by implicit labels.
func (s *Stream) ownSelector() string {
	sel := s.selector(ownKeys, 2)
	if s.chance(0.15) {
		p := pick(s, "tierwall.io", "projectcalico.org")
		sel = pick(s,
			p+"/namespace == 'a'", p+"/namespace in {'a', 'c'}", "has("+p+"/namespace)", p+"/namespace != 'b'",
			p+"/orchestrator == 'k8s'", p+"/orchestrator != 'k8s'", p+"/serviceaccount == 'web'", "!has("+p+"/serviceaccount)",
			"global()", "!global()", "global() || "+sel, sel+" && !global()", p+"/namespace starts with 'a' && "+sel,
		)
	}
	return sel
}

func (s *Stream) namespaceSelector() string {
	sel := s.selector([]string{"env", "env", "app", "none"}, 1)
	if s.chance(0.35) {
		sel = pick(s, "all()", "global()", "global() || "+sel, "!global() && "+sel, "kubernetes.io/metadata.name == 'c'",
			"kubernetes.io/metadata.name != 'a'", "projectcalico.org/name == 'a'", "tierwall.io/name in {'a','c'}",
			"has(tierwall.io/name)", "!global()")
	}
	return sel
}

func (s *Stream) accountSelector() string {
	sel := s.selector([]string{"env", "app", "none"}, 1)
	if s.chance(0.3) {
		sel = pick(s, "all()", "projectcalico.org/name == 'web'", "tierwall.io/name != 'web'", "tierwall.io/name == 'db' || "+sel)
	}
	return sel
}

func (s *Stream) tierName() string {
	return pick(s, "", "default", "t1", "t1", "t2", "gone", "kube-admin")
}

func (s *Stream) types() []v1alpha1.PolicyType {
	t := pick(s, nil, nil, []v1alpha1.PolicyType{}, []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress},
		[]v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress}, []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress, v1alpha1.PolicyTypeIngress})
	if s.invalid() {
		t = append(slices.Clone(t), "Sideways")
	}
	return t
}

func (s *Stream) enforcement() v1alpha1.Enforcement {
	return pick(s, "", "", "", v1alpha1.Enforced, v1alpha1.Audit)
}

func (s *Stream) globalPolicy(i int) runtime.Object {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: meta("", fmt.Sprintf("gnp%d", i), nil)}
	p.Spec.Tier, p.Spec.Order, p.Spec.Types, p.Spec.Enforcement = s.tierName(), s.order(1, 10, 1000, 2000), s.types(), s.enforcement()
	if s.chance(0.7) {
		p.Spec.Selector = s.ownSelector()
	}
	if s.chance(0.2) {
		p.Spec.NamespaceSelector = s.namespaceSelector()
	}
	if s.chance(0.15) {
		p.Spec.ServiceAccountSelector = s.accountSelector()
	}
	p.Spec.Ingress, p.Spec.Egress = s.rules("", true), s.rules("", false)
	switch s.rng.IntN(8) {
	case 0:
		p.Spec.DoNotTrack, p.Spec.ApplyOnForward = true, !s.invalid()
	case 1:
		p.Spec.PreDNAT, p.Spec.ApplyOnForward = true, !s.invalid()
		if !s.invalid() {
			p.Spec.Egress = nil
			if len(p.Spec.Types) > 0 {
				p.Spec.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress}
			}
		}
	case 2, 3:
		p.Spec.ApplyOnForward = true
	}
	if s.invalid() {
		p.Spec.DoNotTrack, p.Spec.PreDNAT = true, true
	}
	return p
}

func (s *Stream) namespacedPolicy(i int) runtime.Object {
	ns := namespaces[i%len(namespaces)]
	p := &v1alpha1.NetworkPolicy{ObjectMeta: meta(ns, fmt.Sprintf("tnp%d", i), nil)}
	p.Spec.Tier, p.Spec.Order, p.Spec.Types, p.Spec.Enforcement = s.tierName(), s.order(1, 10, 1000, 2000), s.types(), s.enforcement()
	if s.chance(0.6) {
		p.Spec.Selector = s.ownSelector()
	}
	if s.chance(0.2) {
		p.Spec.ServiceAccountSelector = s.accountSelector()
	}
	p.Spec.Ingress, p.Spec.Egress = s.rules(ns, true), s.rules(ns, false)
	return p
}

func (s *Stream) rules(ns string, ingress bool) []v1alpha1.Rule {
	var rules []v1alpha1.Rule
	for range pick(s, 0, 0, 1, 2, 2, 3) {
		rules = append(rules, s.rule(ns, ingress))
	}
	return rules
}

func (s *Stream) rule(ns string, ingress bool) v1alpha1.Rule {
	r := v1alpha1.Rule{Action: pick(s, v1alpha1.Allow, v1alpha1.Allow, v1alpha1.Allow, v1alpha1.Deny, v1alpha1.Deny, v1alpha1.Pass, v1alpha1.Log)}
	// One family a rule: it decides which nets may be named.
	nets := pick(s, nets4, nets4, nets6)
	if s.invalid() {
		nets = slices.Concat(nets4, nets6)
	}
	if s.chance(0.1) {
		r.IPVersion = ptr(4)
		if nets[0] == nets6[0] {
			*r.IPVersion = 6
		}
		if s.invalid() {
			*r.IPVersion = pick(s, 0, 4, 6, 5)
		}
	}
	ports := false
	switch s.rng.IntN(8) {
	case 0, 1, 2:
		r.Protocol = ptr(pick(s, intstr.FromString("TCP"), intstr.FromString("TCP"), intstr.FromString("UDP"),
			intstr.FromString("SCTP"), intstr.FromInt32(6), intstr.FromString("udp"), intstr.FromString("UDPLite")))
		ports = true
	case 3:
		r.Protocol = ptr(pick(s, intstr.FromString("ICMP"), intstr.FromString("ICMPv6"), intstr.FromInt32(1), intstr.FromInt32(47)))
		if r.Protocol.String() != "47" {
			if s.chance(0.5) {
				r.ICMP = s.icmp()
			}
			if s.chance(0.3) {
				r.NotICMP = s.icmp()
			}
		}
	case 4:
		r.NotProtocol = ptr(pick(s, intstr.FromString("TCP"), intstr.FromString("ICMP"), intstr.FromInt32(47)))
	}
	if s.invalid() {
		s.breakRule(&r)
	}
	r.Source = s.side(ns, nets, ports && s.chance(0.3), ingress)
	r.Destination = s.side(ns, nets, ports, !ingress)
	if s.invalid() {
		ports := []intstr.IntOrString{pick(s, intstr.FromInt32(0), intstr.FromInt32(70000), intstr.FromString("90:80"),
			intstr.FromString(""), intstr.FromString("80:"), intstr.FromInt32(-1), intstr.FromInt32(80))}
		if s.chance(0.5) {
			r.Destination.Ports = ports
		} else {
			r.Source.NotPorts = ports
		}
	}
	return r
}

func (s *Stream) breakRule(r *v1alpha1.Rule) {
	switch s.rng.IntN(7) {
	case 0:
		r.Action = v1alpha1.Action(pick(s, "", "allow", "Reject"))
	case 1:
		r.HTTP = &v1alpha1.HTTPMatch{Methods: []string{"GET"}}
	case 2:
		r.Protocol = ptr(pick(s, intstr.FromString("QUIC"), intstr.FromInt32(0), intstr.FromInt32(256)))
	case 3:
		r.NotProtocol = ptr(intstr.FromString(""))
	case 4:
		r.ICMP = &v1alpha1.ICMPFields{Type: ptr(pick(s, 8, 255, -1))}
		r.Protocol = ptr(pick(s, intstr.FromString("TCP"), intstr.FromString("ICMP")))
	case 5:
		r.ICMP = &v1alpha1.ICMPFields{Code: ptr(0)}
		r.Protocol = ptr(intstr.FromString("ICMP"))
	default:
		r.Destination.Domains = []string{"example.org"}
	}
}

func (s *Stream) icmp() *v1alpha1.ICMPFields {
	f := &v1alpha1.ICMPFields{Type: ptr(pick(s, 0, 3, 8, 128))}
	if s.chance(0.4) {
		f.Code = ptr(pick(s, 0, 1, 255))
	}
	return f
}

// side is one side of a rule; peer says whether it is the far side of the policy's endpoint.
func (s *Stream) side(ns string, nets []string, ports, peer bool) v1alpha1.EntityRule {
	var e v1alpha1.EntityRule
	usual := 0.05
	if peer {
		usual = 0.7
	}
	if peer && s.chance(0.12) {
		e.Services = &v1alpha1.ServiceMatch{Name: pick(s, "svc", "svc", "other", "gone"), Namespace: pick(s, "a", "b")}
		if ns != "" && s.chance(0.5) || s.invalid() {
			e.Services.Namespace = ""
		}
		if s.invalid() {
			e.Selector = "all()"
		}
		if !s.invalid() {
			return e
		}
	}
	if s.invalid() && !peer {
		e.Services = &v1alpha1.ServiceMatch{Name: "svc", Namespace: "a"}
	}
	if s.chance(usual) {
		switch s.rng.IntN(6) {
		case 0:
			e.Nets = some(s, 3, nets...)
		case 1:
			e.NotNets = some(s, 2, nets...)
		case 2, 3:
			e.Selector = s.ownSelector()
		case 4:
			e.NotSelector = s.ownSelector()
		default:
			e.ServiceAccounts = &v1alpha1.ServiceAccountMatch{Names: []string{pick(s, "web", "db")}}
			if s.chance(0.4) {
				e.ServiceAccounts.Selector = s.accountSelector()
				if s.chance(0.5) {
					e.ServiceAccounts.Names = nil
				}
			}
		}
		if s.chance(0.25) {
			e.NamespaceSelector = s.namespaceSelector()
		}
		if s.chance(0.15) {
			e.NotNets = some(s, 2, nets...)
		}
		if s.chance(0.15) {
			e.NotSelector = s.ownSelector()
		}
		if s.chance(0.15) {
			e.Selector = s.ownSelector()
		}
	}
	if s.invalid() {
		bad := pick(s, "10.0.0.0/33", "10.0.0/24", "fd00::/129", "all", "", "10.0.0.300/32")
		if s.chance(0.5) {
			e.Nets = append(e.Nets, bad)
		} else {
			e.NotNets = append(e.NotNets, bad)
		}
	}
	if ports && s.chance(0.7) {
		e.Ports = s.ports()
	}
	if ports && s.chance(0.2) {
		e.NotPorts = s.ports()
	}
	return e
}

func (s *Stream) ports() []intstr.IntOrString {
	return some(s, 3, intstr.FromInt32(80), intstr.FromInt32(53), intstr.FromInt32(443), intstr.FromInt32(8080),
		intstr.FromString("80:443"), intstr.FromString("8080:8090"), intstr.FromString("1:65535"), intstr.FromString("81"),
		intstr.FromString("http"), intstr.FromString("http"), intstr.FromString("dns"), intstr.FromString("gone"))
}

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
