package translate

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/names"
)

// ruleNameAnnotation is on rules that come from a kind whose rules have names.
const ruleNameAnnotation = "tierwall.io/rule-name"

// An AdminNetworkPolicy becomes a GlobalNetworkPolicy of tier kube-admin with
// its priority as order, a BaselineAdminNetworkPolicy one of kube-baseline. The
// one thing that a GlobalNetworkPolicy cannot say is a peer that is a node; a
// policy with such peers becomes a ClusterNetworkPolicy.
func (o *adminNetworkPolicy) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	baseline := o.Kind == "BaselineAdminNetworkPolicy"
	if o.hasNodes() {
		return o.toClusterNetworkPolicy(t, meta, baseline)
	}
	p := &v1alpha1.GlobalNetworkPolicy{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "GlobalNetworkPolicy"),
		ObjectMeta: meta,
		Spec:       v1alpha1.GlobalNetworkPolicySpec{Tier: builtin.KubeAdmin},
	}
	if baseline {
		p.Spec.Tier = builtin.KubeBaseline
	}
	if o.Spec.Priority != nil {
		order := float64(*o.Spec.Priority)
		p.Spec.Order = &order
	}
	if p.Spec.NamespaceSelector, p.Spec.Selector, err = o.subject(); err != nil {
		return err
	}
	if p.Spec.Ingress, err = t.adminRules("spec.ingress", o.Spec.Ingress, true); err != nil {
		return err
	}
	if p.Spec.Egress, err = t.adminRules("spec.egress", o.Spec.Egress, false); err != nil {
		return err
	}
	if len(o.Spec.Ingress) == 0 && len(o.Spec.Egress) == 0 {
		t.explain("spec", "left out: it has no rules")
		return nil
	}
	if len(o.Spec.Ingress) > 0 {
		p.Spec.Types = append(p.Spec.Types, v1alpha1.PolicyTypeIngress)
	}
	if len(o.Spec.Egress) > 0 {
		p.Spec.Types = append(p.Spec.Types, v1alpha1.PolicyTypeEgress)
	}
	t.add(p)
	return nil
}

// subject is the policy's namespaceSelector and selector; the latter is empty if it
// would match all pods.
func (o *adminNetworkPolicy) subject() (namespaces, pods string, err error) {
	switch s := o.Spec.Subject; {
	case s.Namespaces != nil && s.Pods == nil:
		terms, err := labelTerms(s.Namespaces)
		if err != nil {
			return "", "", fmt.Errorf("spec.subject.namespaces.%w", err)
		}
		return join(terms), "", nil
	case s.Pods != nil && s.Namespaces == nil:
		namespaces, pods, same, err := s.Pods.selectors()
		switch {
		case err != nil:
			return "", "", fmt.Errorf("spec.subject.pods.%w", err)
		case same != "":
			return "", "", fmt.Errorf("spec.subject.pods.%s: a subject cannot be compared with itself", same)
		case pods == "all()":
			pods = ""
		}
		return namespaces, pods, nil
	}
	return "", "", fmt.Errorf("spec.subject: needs one of namespaces, pods")
}

// hasNodes reports whether any peer is a node.
func (o *adminNetworkPolicy) hasNodes() bool {
	for _, r := range o.Spec.Egress {
		for _, p := range r.To {
			if p.Nodes != nil {
				return true
			}
		}
	}
	return false
}

// selectors are the side's namespaceSelector and selector. same names a field
// that compares labels and has no equivalent; the selectors match more then.
func (p *adminPods) selectors() (namespaces, pods, same string, err error) {
	var terms []string
	if p.Namespaces != nil {
		if terms, same, err = p.Namespaces.terms(); err != nil {
			return "", "", "", fmt.Errorf("namespaces.%w", err)
		}
		if same != "" {
			same = "namespaces." + same
		}
	}
	more, err := labelTerms(&p.NamespaceSelector)
	if err != nil {
		return "", "", "", fmt.Errorf("namespaceSelector.%w", err)
	}
	namespaces = join(append(terms, more...))
	if terms, err = labelTerms(&p.PodSelector); err != nil {
		return "", "", "", fmt.Errorf("podSelector.%w", err)
	}
	return namespaces, join(terms), same, nil
}

// terms are those of the selector of namespaces. same names a field that
// compares labels and has no equivalent; the terms match more then.
func (n *adminNamespaces) terms() (terms []string, same string, err error) {
	if terms, err = labelTerms(&n.LabelSelector); err != nil {
		return nil, "", err
	}
	more, err := labelTerms(n.NamespaceSelector)
	if err != nil {
		return nil, "", fmt.Errorf("namespaceSelector.%w", err)
	}
	switch {
	case n.SameLabels != nil:
		same = "sameLabels"
	case n.NotSameLabels != nil:
		same = "notSameLabels"
	}
	return append(terms, more...), same, nil
}

// adminRules makes rules of each pair of peer and protocol, in order.
func (t *translation) adminRules(field string, rules []adminRule, ingress bool) ([]v1alpha1.Rule, error) {
	var out []v1alpha1.Rule
	for i := range rules {
		path := fmt.Sprintf("%s[%d]", field, i)
		made, err := t.adminRule(path, &rules[i], ingress)
		if err != nil {
			return nil, err
		}
		out = append(out, made...)
	}
	return withinLimits(out), nil
}

func (t *translation) adminRule(path string, r *adminRule, ingress bool) ([]v1alpha1.Rule, error) {
	peers, name, wrong := r.From, "from", "to"
	if !ingress {
		peers, name, wrong = r.To, "to", "from"
	}
	if other := len(r.From) + len(r.To) - len(peers); other > 0 {
		return nil, fmt.Errorf("%s.%s: is only allowed in rules of the other direction", path, wrong)
	}
	action := v1alpha1.Action(r.Action)
	switch action {
	case v1alpha1.Allow, v1alpha1.Deny, v1alpha1.Pass:
	default:
		return nil, fmt.Errorf("%s.action: %q is not one of Allow, Deny, Pass", path, r.Action)
	}
	if len(peers) == 0 {
		return nil, fmt.Errorf("%s.%s: needs at least one peer", path, name)
	}
	groups, err := adminPorts(path+".ports", r.Ports)
	if err != nil {
		return nil, err
	}
	var out []v1alpha1.Rule
	for i := range peers {
		at := fmt.Sprintf("%s[%d]", name, i)
		entities, missing, err := peers[i].entities(!ingress && action == v1alpha1.Allow)
		groupsOfPeer := groups
		if err != nil {
			return nil, fmt.Errorf("%s.%s.%w", path, at, err)
		}
		if missing != "" && action == v1alpha1.Allow {
			entities, groupsOfPeer = entities[:1], groups[:1] // which match nothing
		}
		for j, e := range entities {
			for k, g := range groupsOfPeer {
				rule := v1alpha1.Rule{Action: action, Protocol: g.protocol}
				if r.Name != "" {
					rule.Metadata = &v1alpha1.RuleMetadata{Annotations: map[string]string{ruleNameAnnotation: r.Name}}
				}
				if ingress {
					rule.Source = *e.DeepCopy()
				} else {
					rule.Destination = *e.DeepCopy()
				}
				rule.Destination.Ports = append([]intstr.IntOrString(nil), g.ports...)
				if missing != "" {
					into := t
					if j+k > 0 {
						into = &translation{} // one note a peer
					}
					into.failClosed(path, &rule, at+"."+missing)
				}
				out = append(out, rule)
			}
		}
	}
	return out, nil
}

// check reports whether exactly one field is set.
func (p *adminPeer) check() error {
	set := 0
	for _, is := range []bool{p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, p.Networks != nil, p.DomainNames != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("peer: needs one of namespaces, pods, nodes, networks, domainNames")
	}
	return nil
}

// entities are the sides of rules that match the peer; several if its networks
// are of both families. byName reports whether names may stand there. missing names a
// field without equivalent; the entities match more than the peer then.
func (p *adminPeer) entities(byName bool) (out []v1alpha1.EntityRule, missing string, err error) {
	if err := p.check(); err != nil {
		return nil, "", err
	}
	switch {
	case p.Namespaces != nil:
		terms, same, err := p.Namespaces.terms()
		if err != nil {
			return nil, "", fmt.Errorf("namespaces.%w", err)
		}
		if same != "" {
			missing = "namespaces." + same
		}
		return []v1alpha1.EntityRule{{NamespaceSelector: join(terms), Selector: podsOnly}}, missing, nil
	case p.Pods != nil:
		namespaces, pods, same, err := p.Pods.selectors()
		if err != nil {
			return nil, "", fmt.Errorf("pods.%w", err)
		}
		if same != "" {
			missing = "pods." + same
		}
		if pods == "all()" {
			pods = podsOnly
		} else {
			pods += " && " + podsOnly
		}
		return []v1alpha1.EntityRule{{NamespaceSelector: namespaces, Selector: pods}}, missing, nil
	case p.Networks != nil:
		v4, v6, err := byFamily(p.Networks)
		if err != nil {
			return nil, "", err
		}
		for _, nets := range [][]string{v4, v6} {
			if len(nets) > 0 {
				out = append(out, v1alpha1.EntityRule{Nets: nets})
			}
		}
		return out, "", nil
	}
	domains, err := p.domains()
	switch {
	case err != nil:
		return nil, "", err
	case !byName:
		return []v1alpha1.EntityRule{{}}, "domainNames", nil
	}
	return []v1alpha1.EntityRule{{Domains: domains}}, "", nil
}

// domains are the peer's names in their one form. * stands for one or more labels in both
// APIs, here as the first label only.
func (p *adminPeer) domains() ([]string, error) {
	if len(p.DomainNames) == 0 {
		return nil, errors.New("domainNames: needs at least one name")
	}
	var out []string
	for i, s := range p.DomainNames {
		n, err := names.ParsePattern(s)
		if err == nil && n.InnerWildcard() {
			err = fmt.Errorf("domain %q: * is only allowed as the first label", s)
		}
		if err != nil {
			return nil, fmt.Errorf("domainNames[%d]: %w", i, err)
		}
		if !slices.Contains(out, n.String()) {
			out = append(out, n.String())
		}
	}
	return out, nil
}

// byFamily splits address blocks by IP family.
func byFamily(in []string) (v4, v6 []string, err error) {
	for i, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, nil, fmt.Errorf("networks[%d]: %w", i, err)
		}
		if s := p.Masked().String(); p.Addr().Is4() {
			v4 = append(v4, s)
		} else {
			v6 = append(v6, s)
		}
	}
	return v4, v6, nil
}

// adminPorts groups ports by protocol. Unset and empty both mean any traffic.
func adminPorts(field string, in *[]adminPort) ([]portGroup, error) {
	if in == nil || len(*in) == 0 {
		return []portGroup{{}}, nil
	}
	var g portGroups
	for i, p := range *in {
		if name := p.protocol(); !slices.Contains(transports, name) {
			return nil, fmt.Errorf("%s[%d].protocol: %q is not one of TCP, UDP, SCTP", field, i, name)
		}
		switch {
		case p.PortNumber != nil && p.NamedPort == nil && p.PortRange == nil:
			port := intstr.FromInt32(p.PortNumber.Port)
			g.add(p.protocol(), &port)
		case p.PortRange != nil && p.NamedPort == nil && p.PortNumber == nil:
			port := portRange(p.PortRange.Start, p.PortRange.End)
			g.add(p.protocol(), &port)
		case p.NamedPort != nil && p.PortNumber == nil && p.PortRange == nil:
			// The protocol is that of the pod's port of this name.
			for _, name := range transports {
				port := intstr.FromString(*p.NamedPort)
				g.add(name, &port)
			}
		default:
			return nil, fmt.Errorf("%s[%d]: needs one of portNumber, namedPort, portRange", field, i)
		}
	}
	return g.groups, nil
}

// transports are the protocols that have ports.
var transports = []string{"TCP", "UDP", "SCTP"}

// protocol of a port; TCP if unset.
func (p *adminPort) protocol() string {
	var name string
	switch {
	case p.PortNumber != nil:
		name = p.PortNumber.Protocol
	case p.PortRange != nil:
		name = p.PortRange.Protocol
	}
	if name == "" {
		return "TCP"
	}
	return name
}
