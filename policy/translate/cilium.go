package translate

import (
	"fmt"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// In Cilium a Deny of any policy comes before every Allow, an Allow of any
// policy is enough, and an endpoint that a policy puts into default deny allows
// nothing else. Tiers say the same: Deny rules stand in a tier of their own,
// which is left to the next tier where none matches, and Allow rules in tier
// default, which ends in Deny for the endpoints that it selects. An Allow of a
// policy that does not put endpoints into default deny stands in the first of
// the two, after the Deny rules.
const (
	ciliumTier      = "cilium"
	ciliumTierOrder = 900_000
	denyOrder       = 500
	allowOrder      = 1000
)

func (o *ciliumPolicy) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	clusterwide := o.Kind == "CiliumClusterwideNetworkPolicy"
	if clusterwide {
		meta.Namespace = ""
	} else if meta.Namespace == "" {
		meta.Namespace = "default"
	}
	var b ciliumBuilder
	b.translation = t
	if o.Spec != nil {
		if err := b.spec("spec", o.Spec, meta, clusterwide); err != nil {
			return err
		}
	}
	for i, s := range o.Specs {
		if s == nil {
			continue
		}
		m := *meta.DeepCopy()
		if o.Spec != nil || len(o.Specs) > 1 {
			m.Name = fmt.Sprintf("%s-%d", meta.Name, i)
		}
		if err := b.spec(fmt.Sprintf("specs[%d]", i), s, m, clusterwide); err != nil {
			return err
		}
	}
	if o.Spec == nil && len(o.Specs) == 0 {
		t.explain("spec", "left out: it is empty")
	}
	b.finish()
	return nil
}

// ciliumBuilder collects the policies of one object.
type ciliumBuilder struct {
	*translation
	policies []*v1alpha1.GlobalNetworkPolicy
	tier     bool // tier cilium is needed
	nodes    bool // host endpoints must stand for nodes
}

// finish adds the policies, after what they need.
func (b *ciliumBuilder) finish() {
	if b.tier {
		order, pass := float64(ciliumTierOrder), v1alpha1.Pass
		b.add(&v1alpha1.Tier{
			TypeMeta:   typeMeta(v1alpha1.GroupVersion, "Tier"),
			ObjectMeta: metav1.ObjectMeta{Name: ciliumTier},
			Spec:       v1alpha1.TierSpec{Order: &order, DefaultAction: &pass},
		})
	}
	if b.nodes {
		b.explain("", "requires autoHostEndpoints, which creates host endpoints with their nodes' labels, by which rules know nodes; your policies that select all host endpoints also apply to these")
		b.addSettings(v1alpha1.TierwallSpec{AutoHostEndpoints: true})
	}
	for _, p := range b.policies {
		if p.Namespace == "" {
			b.add(p)
			continue
		}
		b.add(&v1alpha1.NetworkPolicy{
			TypeMeta:   typeMeta(v1alpha1.GroupVersion, "NetworkPolicy"),
			ObjectMeta: p.ObjectMeta,
			Spec: v1alpha1.NetworkPolicySpec{
				Tier: p.Spec.Tier, Order: p.Spec.Order, Selector: p.Spec.Selector, Types: p.Spec.Types,
				Ingress: p.Spec.Ingress, Egress: p.Spec.Egress,
			},
		})
	}
}

// spec translates one spec into up to three policies.
func (b *ciliumBuilder) spec(path string, s *ciliumSpec, meta metav1.ObjectMeta, clusterwide bool) error {
	if (s.EndpointSelector == nil) == (s.NodeSelector == nil) {
		return fmt.Errorf("%s: needs one of endpointSelector, nodeSelector", path)
	}
	if s.NodeSelector != nil && !clusterwide {
		return fmt.Errorf("%s.nodeSelector: is only allowed in a CiliumClusterwideNetworkPolicy", path)
	}
	if len(s.Labels) > 0 {
		b.explain(path+".labels", "left out: they only serve to find the policy")
	}
	if s.Log != nil {
		b.explain(path+".log", "has no equivalent; it does not change what is allowed")
	}
	if s.Description != "" {
		meta.Annotations = merged(maps.Clone(meta.Annotations), map[string]string{"tierwall.io/description": s.Description})
	}
	in, out := s.directions()
	namespace := meta.Namespace
	base := v1alpha1.GlobalNetworkPolicySpec{}
	reach, keep, err := b.subject(path, s, &base, &meta, needsGlobal(in, out))
	if err != nil || !keep {
		return err
	}
	var deny, open, main ciliumRules
	for _, d := range []*ciliumDirection{&in, &out} {
		sc := &ciliumScope{ciliumDirection: d, namespace: namespace, global: meta.Namespace == "",
			host: s.NodeSelector != nil, nodes: &b.nodes}
		rules, err := b.rules(path+"."+d.name()+"Deny", d.deny, sc)
		if err != nil {
			return err
		}
		if len(rules) > 0 {
			deny.add(d.ingress, rules)
		}
		sc.allow = true
		if rules, err = b.rules(path+"."+d.name(), d.allow, sc); err != nil {
			return err
		}
		if !reach {
			rules = nil
		}
		switch {
		case d.defaultDeny:
			main.add(d.ingress, rules)
		case len(rules) > 0:
			open.add(d.ingress, rules)
		}
	}
	b.policy(meta, base, "-deny", ciliumTier, denyOrder, deny)
	suffix := ""
	if len(main.types) > 0 {
		suffix = "-allow"
	}
	b.policy(meta, base, suffix, ciliumTier, allowOrder, open)
	b.policy(meta, base, "", v1alpha1.DefaultTier, allowOrder, main)
	if len(deny.types)+len(open.types)+len(main.types) == 0 {
		b.explain(path, "left out: it neither allows nor denies anything")
	}
	return nil
}

// needsGlobal reports whether any rule needs a global policy.
func needsGlobal(directions ...ciliumDirection) bool {
	for _, d := range directions {
		for _, rules := range [][]ciliumRule{d.allow, d.deny} {
			for i := range rules {
				if rules[i].needsGlobal() {
					return true
				}
			}
		}
	}
	return false
}

// subject fills in what the policy selects. reach is false if that is more than
// it should be, so that nothing may be allowed; keep is false if the policy is
// for nothing that exists here.
func (b *ciliumBuilder) subject(path string, s *ciliumSpec, base *v1alpha1.GlobalNetworkPolicySpec, meta *metav1.ObjectMeta, global bool) (reach, keep bool, err error) {
	field, sel := path+".endpointSelector", s.EndpointSelector
	if s.NodeSelector != nil {
		field, sel = path+".nodeSelector", s.NodeSelector
	}
	c, err := ciliumSelector(sel)
	switch {
	case err != nil:
		return false, false, fmt.Errorf("%s.%w", field, err)
	case c.reserved != "" || c.never:
		b.lose(field, "selects nothing that is an endpoint here; the policy is left out")
		return false, false, nil
	}
	for _, key := range c.missing {
		b.lose(field, "label %s has no equivalent; the policy selects whatever its other labels select, and allows nothing", key)
	}
	reach = len(c.missing) == 0
	if len(c.own) > 0 {
		base.Selector = join(c.own)
	}
	if s.NodeSelector != nil {
		base.NamespaceSelector = "global()"
		base.Selector = join(append(append(c.own, c.inNamespaces()...), "has("+labelOfNodeName+")"))
		b.nodes = true
		return reach, true, nil
	}
	if meta.Namespace == "" {
		base.NamespaceSelector = join(c.inNamespaces())
		return reach, true, nil
	}
	if len(c.namespaceName) > 0 {
		b.explain(field, "the label %s is left out: the policy applies in its own namespace", ciliumNamespaceKey)
	}
	if !global && len(c.namespaceLabels) == 0 {
		return reach, true, nil
	}
	own, err := inNamespace(meta.Namespace)
	if err != nil {
		return false, false, err
	}
	base.NamespaceSelector = join(append([]string{own}, c.namespaceLabels...))
	why := "only a global policy can tell addresses outside the cluster from those of pods"
	if !global {
		why = "only a global policy can select by labels of the namespace"
	}
	b.explain(path, "becomes GlobalNetworkPolicy %s.%s, which selects only in namespace %s: %s", meta.Namespace, meta.Name, meta.Namespace, why)
	meta.Name = meta.Namespace + "." + meta.Name
	meta.Namespace = ""
	return reach, true, nil
}

// ciliumRules are the rules of one policy to be.
type ciliumRules struct {
	types           []v1alpha1.PolicyType
	ingress, egress []v1alpha1.Rule
}

// add makes the policy govern a direction, with these rules.
func (r *ciliumRules) add(ingress bool, rules []v1alpha1.Rule) {
	if ingress {
		r.types = append(r.types, v1alpha1.PolicyTypeIngress)
		r.ingress = rules
		return
	}
	r.types = append(r.types, v1alpha1.PolicyTypeEgress)
	r.egress = rules
}

// policy adds a policy unless it would govern nothing.
func (b *ciliumBuilder) policy(meta metav1.ObjectMeta, spec v1alpha1.GlobalNetworkPolicySpec, suffix, tier string, order float64, r ciliumRules) {
	if len(r.types) == 0 {
		return
	}
	p := &v1alpha1.GlobalNetworkPolicy{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "GlobalNetworkPolicy"),
		ObjectMeta: *meta.DeepCopy(),
		Spec:       spec,
	}
	p.Name += suffix
	p.Spec.Tier, p.Spec.Order = tier, &order
	p.Spec.Types, p.Spec.Ingress, p.Spec.Egress = r.types, r.ingress, r.egress
	b.tier = b.tier || tier == ciliumTier
	b.policies = append(b.policies, p)
}

// rules translates the rules of one action and direction.
func (b *ciliumBuilder) rules(path string, rules []ciliumRule, sc *ciliumScope) ([]v1alpha1.Rule, error) {
	requires := false
	for i := range rules {
		if len(rules[i].requires) > 0 {
			requires = true
			at := fmt.Sprintf("%s[%d].%s", path, i, sc.peerField("Requires"))
			if sc.allow {
				b.lose(at, "has no equivalent; no endpoint is allowed by a rule of this list, and the requirement does not apply to other policies")
			} else {
				b.lose(at, "has no equivalent; the rule denies without it")
			}
		}
	}
	var out []v1alpha1.Rule
	for i := range rules {
		made, err := b.rule(fmt.Sprintf("%s[%d]", path, i), rules[i], sc, requires)
		if err != nil {
			return nil, err
		}
		out = append(out, made...)
	}
	return withinLimits(out), nil
}

func (b *ciliumBuilder) rule(path string, r ciliumRule, sc *ciliumScope, requires bool) ([]v1alpha1.Rule, error) {
	ways, limited, err := b.ciliumTraffic(path, &r, sc.allow)
	if err != nil {
		return nil, err
	}
	sc.limited = limited
	sides, err := b.ciliumPeers(path, &r, sc)
	if err != nil {
		return nil, err
	}
	if sc.allow {
		if requires && len(r.endpoints) > 0 {
			return nil, nil
		}
		if r.auth != nil && r.auth.Mode != "" && r.auth.Mode != "disabled" {
			b.lose(path+".authentication", "has no equivalent; what needs it is not allowed")
			return nil, nil
		}
	}
	var out []v1alpha1.Rule
	for _, side := range sides {
		fitting := ways
		if side.alone {
			fitting = []traffic{{}}
		}
		for _, way := range fitting {
			if way.contradicts(&side) {
				continue
			}
			rule := v1alpha1.Rule{Action: v1alpha1.Deny, Protocol: way.protocol}
			if sc.allow {
				rule.Action = v1alpha1.Allow
			}
			if side.ipVersion != 0 {
				v := side.ipVersion
				rule.IPVersion = &v
			}
			if way.icmp != nil {
				rule.ICMP = way.icmp.DeepCopy()
			}
			if sc.ingress {
				rule.Source = *side.entity.DeepCopy()
			} else {
				rule.Destination = *side.entity.DeepCopy()
			}
			rule.Destination.Ports = append([]intstr.IntOrString(nil), way.ports...)
			out = append(out, rule)
		}
	}
	return out, nil
}

func (o *ciliumCIDRGroup) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	meta.Namespace = ""
	if errs := validation.IsValidLabelValue(meta.Name); len(errs) > 0 {
		t.lose("metadata.name", "is not a valid label value, so rules cannot select the network set by it")
		meta.Labels = merged(meta.Labels, map[string]string{ciliumGroupLabel: ""})
	} else {
		meta.Labels = merged(meta.Labels, map[string]string{ciliumGroupLabel: meta.Name})
	}
	t.add(&v1alpha1.GlobalNetworkSet{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "GlobalNetworkSet"),
		ObjectMeta: meta,
		Spec:       v1alpha1.NetworkSetSpec{Nets: nets(append([]string(nil), o.Spec.ExternalCIDRs...))},
	})
	return nil
}
