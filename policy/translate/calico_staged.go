package translate

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// nativeOrder is the order of native policies in tier default.
const nativeOrder = 1000

// A staged native policy becomes a NetworkPolicy of Tierwall's own kind. The
// native kind with the annotation that stages it would do too, but any other
// policy engine in the cluster would enforce that one in full.
func (o *calicoStagedKubernetesNetworkPolicy) translate(t *translation) error {
	if !t.staged(o.Spec.StagedAction) {
		return nil
	}
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	meta.Name += stagedSuffix
	order := float64(nativeOrder)
	p := &v1alpha1.NetworkPolicy{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "NetworkPolicy"),
		ObjectMeta: meta,
		Spec: v1alpha1.NetworkPolicySpec{
			Tier: v1alpha1.DefaultTier, Order: &order, Enforcement: v1alpha1.Audit,
		},
	}
	terms, err := labelTerms(&o.Spec.PodSelector)
	if err != nil {
		return fmt.Errorf("spec.podSelector: %w", err)
	}
	if len(terms) > 0 {
		p.Spec.Selector = join(terms)
	}
	for i, r := range o.Spec.Ingress {
		rules, err := nativeRules(fmt.Sprintf("spec.ingress[%d].from", i), r.From, r.Ports, true)
		if err != nil {
			return err
		}
		p.Spec.Ingress = append(p.Spec.Ingress, rules...)
	}
	for i, r := range o.Spec.Egress {
		rules, err := nativeRules(fmt.Sprintf("spec.egress[%d].to", i), r.To, r.Ports, false)
		if err != nil {
			return err
		}
		p.Spec.Egress = append(p.Spec.Egress, rules...)
	}
	for _, ty := range o.Spec.PolicyTypes {
		p.Spec.Types = append(p.Spec.Types, v1alpha1.PolicyType(ty))
	}
	if len(p.Spec.Types) == 0 {
		p.Spec.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress}
		if len(o.Spec.Egress) > 0 {
			p.Spec.Types = append(p.Spec.Types, v1alpha1.PolicyTypeEgress)
		}
	}
	t.explainStaged(p.Name)
	t.add(p)
	return nil
}

// nativeRules makes one Allow rule of each pair of peer and protocol.
func nativeRules(field string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, ingress bool) ([]v1alpha1.Rule, error) {
	entities := []v1alpha1.EntityRule{{}}
	if len(peers) > 0 {
		entities = entities[:0]
	}
	for i, p := range peers {
		e, err := nativePeer(p)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		entities = append(entities, e)
	}
	groups := nativePorts(ports)
	var rules []v1alpha1.Rule
	for _, e := range entities {
		for _, g := range groups {
			r := v1alpha1.Rule{Action: v1alpha1.Allow, Protocol: g.protocol}
			peer := &r.Destination
			if ingress {
				peer = &r.Source
			}
			*peer = *e.DeepCopy()
			r.Destination.Ports = append([]intstr.IntOrString(nil), g.ports...)
			rules = append(rules, r)
		}
	}
	return withinLimits(rules), nil
}

func nativePeer(p networkingv1.NetworkPolicyPeer) (v1alpha1.EntityRule, error) {
	var e v1alpha1.EntityRule
	if b := p.IPBlock; b != nil {
		if p.PodSelector != nil || p.NamespaceSelector != nil {
			return e, fmt.Errorf("ipBlock cannot be combined with podSelector or namespaceSelector")
		}
		net, err := netip.ParsePrefix(b.CIDR)
		if err != nil {
			return e, fmt.Errorf("ipBlock.cidr: %w", err)
		}
		e.Nets = []string{net.Masked().String()}
		for _, x := range b.Except {
			e.NotNets = append(e.NotNets, cidr(x))
		}
		return e, nil
	}
	if p.PodSelector == nil && p.NamespaceSelector == nil {
		return e, fmt.Errorf("needs one of ipBlock, podSelector, namespaceSelector")
	}
	if p.NamespaceSelector != nil {
		terms, err := labelTerms(p.NamespaceSelector)
		if err != nil {
			return e, fmt.Errorf("namespaceSelector.%w", err)
		}
		e.NamespaceSelector = join(terms)
	}
	terms, err := labelTerms(p.PodSelector)
	if err != nil {
		return e, fmt.Errorf("podSelector.%w", err)
	}
	e.Selector = join(append(terms, podsOnly))
	return e, nil
}

// portGroup is the ports of one protocol that a rule names; without ports, all
// of them; without protocol, anything.
type portGroup struct {
	protocol *intstr.IntOrString
	ports    []intstr.IntOrString
}

// nativePorts groups ports by protocol, in the order in which protocols come.
func nativePorts(in []networkingv1.NetworkPolicyPort) []portGroup {
	if len(in) == 0 {
		return []portGroup{{}}
	}
	var g portGroups
	for _, p := range in {
		name := string(corev1.ProtocolTCP)
		if p.Protocol != nil {
			name = string(*p.Protocol)
		}
		switch {
		case p.Port == nil:
			g.add(name, nil)
		case p.EndPort != nil && p.Port.Type == intstr.Int:
			port := portRange(p.Port.IntVal, *p.EndPort)
			g.add(name, &port)
		default:
			port := *p.Port
			g.add(name, &port)
		}
	}
	return g.groups
}

// portGroups collects ports by protocol.
type portGroups struct{ groups []portGroup }

// add adds a port of a protocol; nil stands for all its ports.
func (g *portGroups) add(name string, port *intstr.IntOrString) {
	proto := protocolValue(intstr.FromString(name))
	for i := range g.groups {
		x := &g.groups[i]
		if *x.protocol != proto {
			continue
		}
		switch {
		case x.ports == nil: // all of them already
		case port == nil:
			x.ports = nil
		default:
			x.ports = append(x.ports, *port)
		}
		return
	}
	n := portGroup{protocol: &proto}
	if port != nil {
		n.ports = []intstr.IntOrString{*port}
	}
	g.groups = append(g.groups, n)
}

// portRange is the port or the range of ports from first to last.
func portRange(first, last int32) intstr.IntOrString {
	if first == last {
		return intstr.FromInt32(first)
	}
	return intstr.FromString(fmt.Sprintf("%d:%d", first, last))
}
