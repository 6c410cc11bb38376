package oracle

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

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
			p+"/orchestrator == 'k8s'", p+"/name == 'a'", "has("+p+"/orchestrator)", p+"/orchestrator != 'k8s'", p+"/serviceaccount == 'web'", "!has("+p+"/serviceaccount)",
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
	if ingress && ports && r.Source.Services != nil && s.chance(0.5) {
		r.Source.Ports = s.ports()
	}
	if r.Protocol == nil && r.Destination.Services == nil && s.chance(0.15) {
		r.Destination.Ports = s.portNames()
		if s.chance(0.3) {
			r.Destination.NotPorts = s.portNames()
		}
		if s.chance(0.2) {
			r.Source.Ports = s.portNames()
		}
		if s.invalid() {
			r.Destination.Ports = nil
		}
	}
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

func (s *Stream) portNames() []intstr.IntOrString {
	return some(s, 2, intstr.FromString("http"), intstr.FromString("http"), intstr.FromString("dns"), intstr.FromString("gone"))
}
