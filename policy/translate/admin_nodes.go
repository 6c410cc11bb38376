package translate

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// toClusterNetworkPolicy is for policies with peers that are nodes. The fields
// have equivalents one for one, but for comparisons of labels.
func (o *adminNetworkPolicy) toClusterNetworkPolicy(t *translation, meta metav1.ObjectMeta, baseline bool) error {
	p := &v1alpha2.ClusterNetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha2", Kind: "ClusterNetworkPolicy"},
		ObjectMeta: meta,
		Spec:       v1alpha2.ClusterNetworkPolicySpec{Tier: v1alpha2.AdminTier},
	}
	if baseline {
		p.Spec.Tier = v1alpha2.BaselineTier
	}
	if o.Spec.Priority != nil {
		p.Spec.Priority = *o.Spec.Priority
	}
	s := o.Spec.Subject
	if (s.Namespaces != nil) == (s.Pods != nil) {
		return fmt.Errorf("spec.subject: needs one of namespaces, pods")
	}
	p.Spec.Subject.Namespaces = s.Namespaces.DeepCopy()
	if s.Pods != nil {
		pods, same := s.Pods.convert()
		if same != "" {
			return fmt.Errorf("spec.subject.pods.%s: a subject cannot be compared with itself", same)
		}
		p.Spec.Subject.Pods = pods
	}
	for i := range o.Spec.Ingress {
		path := fmt.Sprintf("spec.ingress[%d]", i)
		r, err := t.clusterRule(path, &o.Spec.Ingress[i], true)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		in := v1alpha2.ClusterNetworkPolicyIngressRule{Name: r.Name, Action: r.Action, Protocols: r.Protocols}
		for _, e := range r.To {
			in.From = append(in.From, v1alpha2.ClusterNetworkPolicyIngressPeer{Namespaces: e.Namespaces, Pods: e.Pods})
		}
		p.Spec.Ingress = append(p.Spec.Ingress, in)
	}
	for i := range o.Spec.Egress {
		path := fmt.Sprintf("spec.egress[%d]", i)
		r, err := t.clusterRule(path, &o.Spec.Egress[i], false)
		if err != nil {
			return err
		}
		if r != nil {
			p.Spec.Egress = append(p.Spec.Egress, splitNamedPorts(*r)...)
		}
	}
	t.explain("spec.egress", "the policy becomes a ClusterNetworkPolicy: a GlobalNetworkPolicy cannot name nodes as peers")
	t.add(p)
	return nil
}

// clusterRule translates a rule of either direction; nil if nothing is left of it.
func (t *translation) clusterRule(path string, r *adminRule, ingress bool) (*v1alpha2.ClusterNetworkPolicyEgressRule, error) {
	// The checks and the notes are those of the ordinary way.
	dry := &translation{object: t.object}
	withoutNodes := *r
	withoutNodes.To = nil
	for i, p := range r.To {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("%s.to[%d].%w", path, i, err)
		}
		if p.Nodes == nil {
			withoutNodes.To = append(withoutNodes.To, p)
			continue
		}
		if _, err := labelTerms(p.Nodes); err != nil {
			return nil, fmt.Errorf("%s.to[%d].nodes.%w", path, i, err)
		}
	}
	if len(withoutNodes.To) > 0 || len(r.To) == 0 {
		if _, err := dry.adminRule(path, &withoutNodes, ingress); err != nil {
			return nil, err
		}
	}
	out := &v1alpha2.ClusterNetworkPolicyEgressRule{Name: r.Name}
	peers, name := r.To, "to"
	if ingress {
		peers, name = r.From, "from"
	}
	action, lost := v1alpha1.Action(r.Action), false
	for i := range peers {
		e, missing := peers[i].convert(!ingress && action == v1alpha1.Allow)
		if missing != "" {
			at := fmt.Sprintf("%s[%d].%s", name, i, missing)
			rule := v1alpha1.Rule{Action: action}
			t.failClosed(path, &rule, at)
			if action == v1alpha1.Allow {
				continue
			}
			lost = lost || action == v1alpha1.Pass
		}
		out.To = append(out.To, e)
	}
	switch {
	case len(out.To) == 0:
		return nil, nil
	case action == v1alpha1.Allow:
		out.Action = v1alpha2.ClusterNetworkPolicyRuleActionAccept
	case action == v1alpha1.Deny || lost:
		out.Action = v1alpha2.ClusterNetworkPolicyRuleActionDeny
	case action == v1alpha1.Pass:
		out.Action = v1alpha2.ClusterNetworkPolicyRuleActionPass
	default:
		return nil, fmt.Errorf("%s.action: %q is not one of Allow, Deny, Pass", path, r.Action)
	}
	out.Protocols = clusterProtocols(r.Ports)
	return out, nil
}

// splitNamedPorts splits a rule with names of ports: only pods have those, so
// peers of other kinds go into a rule without them.
func splitNamedPorts(r v1alpha2.ClusterNetworkPolicyEgressRule) []v1alpha2.ClusterNetworkPolicyEgressRule {
	pods, others := r, r
	pods.To, others.To, others.Protocols = nil, nil, nil
	for _, p := range r.To {
		if p.Namespaces != nil || p.Pods != nil {
			pods.To = append(pods.To, p)
		} else {
			others.To = append(others.To, p)
		}
	}
	for _, p := range r.Protocols {
		if p.DestinationNamedPort == "" {
			others.Protocols = append(others.Protocols, p)
		}
	}
	if len(others.Protocols) == len(r.Protocols) {
		return []v1alpha2.ClusterNetworkPolicyEgressRule{r}
	}
	var out []v1alpha2.ClusterNetworkPolicyEgressRule
	if len(pods.To) > 0 {
		out = append(out, pods)
	}
	if len(others.To) > 0 && len(others.Protocols) > 0 {
		out = append(out, others)
	}
	return out
}

// convert copies the peer, which has been checked. byName reports whether names may stand
// there. missing names a field without equivalent, and the result matches more than the
// peer then.
func (p *adminPeer) convert(byName bool) (out v1alpha2.ClusterNetworkPolicyEgressPeer, missing string) {
	switch {
	case p.Namespaces != nil:
		ls, same := p.Namespaces.convert()
		if same != "" {
			missing = "namespaces." + same
		}
		out.Namespaces = &ls
	case p.Pods != nil:
		pods, same := p.Pods.convert()
		if same != "" {
			missing = "pods." + same
		}
		out.Pods = pods
	case p.Nodes != nil:
		out.Nodes = p.Nodes.DeepCopy()
	case p.Networks != nil:
		for _, n := range p.Networks {
			out.Networks = append(out.Networks, v1alpha2.CIDR(cidr(n)))
		}
	case byName:
		domains, _ := p.domains()
		for _, d := range domains {
			out.DomainNames = append(out.DomainNames, v1alpha2.DomainName(d))
		}
	default:
		out.Networks, missing = []v1alpha2.CIDR{"0.0.0.0/0", "::/0"}, "domainNames"
	}
	return out, missing
}

func (p *adminPods) convert() (*v1alpha2.NamespacedPod, string) {
	out := &v1alpha2.NamespacedPod{
		NamespaceSelector: *p.NamespaceSelector.DeepCopy(),
		PodSelector:       *p.PodSelector.DeepCopy(),
	}
	if p.Namespaces == nil {
		return out, ""
	}
	ls, same := p.Namespaces.convert()
	addRequirements(&out.NamespaceSelector, &ls)
	if same != "" {
		same = "namespaces." + same
	}
	return out, same
}

func (n *adminNamespaces) convert() (metav1.LabelSelector, string) {
	out := *n.LabelSelector.DeepCopy()
	if n.NamespaceSelector != nil {
		addRequirements(&out, n.NamespaceSelector)
	}
	switch {
	case n.SameLabels != nil:
		return out, "sameLabels"
	case n.NotSameLabels != nil:
		return out, "notSameLabels"
	}
	return out, ""
}

// addRequirements makes a match only what b matches too.
func addRequirements(a, b *metav1.LabelSelector) {
	for _, k := range slices.Sorted(maps.Keys(b.MatchLabels)) {
		v := b.MatchLabels[k]
		if old, ok := a.MatchLabels[k]; ok && old != v {
			a.MatchExpressions = append(a.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: k, Operator: metav1.LabelSelectorOpIn, Values: []string{v}})
			continue
		}
		a.MatchLabels = merged(a.MatchLabels, map[string]string{k: v})
	}
	a.MatchExpressions = append(a.MatchExpressions, b.DeepCopy().MatchExpressions...)
}

// clusterProtocols copies ports, which have been checked.
func clusterProtocols(in *[]adminPort) []v1alpha2.ClusterNetworkPolicyProtocol {
	if in == nil {
		return nil
	}
	var out []v1alpha2.ClusterNetworkPolicyProtocol
	for _, p := range *in {
		var c v1alpha2.ClusterNetworkPolicyProtocol
		var proto string
		var port v1alpha2.Port
		switch {
		case p.NamedPort != nil:
			c.DestinationNamedPort = *p.NamedPort
		case p.PortNumber != nil:
			proto, port.Number = p.protocol(), p.PortNumber.Port
		case p.PortRange != nil:
			proto, port.Range = p.protocol(), &v1alpha2.PortRange{Start: p.PortRange.Start, End: p.PortRange.End}
		}
		switch proto {
		case "TCP":
			c.TCP = &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: &port}
		case "UDP":
			c.UDP = &v1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: &port}
		case "SCTP":
			c.SCTP = &v1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: &port}
		}
		out = append(out, c)
	}
	return out
}
