package convert

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

func globalNetworkPolicy(o *v1alpha1.GlobalNetworkPolicy, r *report) model.Object {
	return tierwallPolicy(&o.ObjectMeta, &o.Spec, false, r)
}

func networkPolicy(o *v1alpha1.NetworkPolicy, r *report) model.Object {
	return tierwallPolicy(&o.ObjectMeta, &v1alpha1.GlobalNetworkPolicySpec{
		Tier:                   o.Spec.Tier,
		Order:                  o.Spec.Order,
		Selector:               o.Spec.Selector,
		ServiceAccountSelector: o.Spec.ServiceAccountSelector,
		Types:                  o.Spec.Types,
		Ingress:                o.Spec.Ingress,
		Egress:                 o.Spec.Egress,
		Enforcement:            o.Spec.Enforcement,
	}, true, r)
}

// tierwallPolicy converts a policy of either Tierwall kind; the namespaced one
// has a part of the cluster-wide one's fields.
func tierwallPolicy(meta *metav1.ObjectMeta, spec *v1alpha1.GlobalNetworkPolicySpec, namespaced bool, r *report) model.Object {
	path := field.NewPath("spec")
	p := &model.Policy{
		Ref:            r.ref,
		Tier:           tierOf(spec.Tier),
		Generation:     meta.Generation,
		Audit:          spec.Enforcement == v1alpha1.Audit,
		DoNotTrack:     spec.DoNotTrack,
		PreDNAT:        spec.PreDNAT,
		ApplyOnForward: spec.ApplyOnForward,
	}
	if !isDNSSubdomain(p.Tier) {
		r.errorf(path.Child("tier"), "invalid value %s: want the name of a tier", quote(p.Tier))
		p.Tier = oneLine(p.Tier)
	}
	p.Order = order(path.Child("order"), spec.Order, r)

	// From here to the rules, what cannot be understood makes the whole policy
	// fail closed.
	before := r.errors
	p.Selector = r.policyScope(path, spec, namespaced)
	switch spec.Enforcement {
	case "", v1alpha1.Enforced, v1alpha1.Audit:
	default:
		r.errorf(path.Child("enforcement"), "unsupported value %s: want %s; the policy is enforced and allows nothing", quote(string(spec.Enforcement)), list(v1alpha1.Enforced, v1alpha1.Audit))
	}
	if spec.DoNotTrack && spec.PreDNAT {
		r.errorf(path.Child("preDNAT"), "cannot be combined with doNotTrack: want one of the two; the policy applies before connection tracking and allows nothing")
		p.PreDNAT = false
	}
	closed := r.errors > before

	r.variant(p, path, spec)
	p.Ingress, p.Egress = r.directions(path, spec)
	p.IngressRules = r.rules(path, spec.Ingress, model.Ingress, namespaced)
	p.EgressRules = r.rules(path, spec.Egress, model.Egress, namespaced)
	r.dropUngoverned(p, path, len(spec.Types) > 0)
	if closed {
		p.IngressRules, p.EgressRules = distrust(p.IngressRules), distrust(p.EgressRules)
	}
	if meta.Annotations[v1alpha1.EnforcementAnnotation] != "" {
		r.warnf(metadataPath.Child("annotations").Key(v1alpha1.EnforcementAnnotation), "has no effect on this kind: want spec.enforcement")
	}
	return p
}

// variant checks what doNotTrack and preDNAT ask of the rest of a policy.
func (r *report) variant(p *model.Policy, path *field.Path, spec *v1alpha1.GlobalNetworkPolicySpec) {
	if !spec.DoNotTrack && !spec.PreDNAT {
		return
	}
	if !spec.ApplyOnForward {
		name := "doNotTrack"
		if !spec.DoNotTrack {
			name = "preDNAT"
		}
		r.errorf(path.Child("applyOnForward"), "is missing: %s requires it, because such a policy also applies to forwarded traffic; it is read as set", name)
		p.ApplyOnForward = true
	}
	if spec.NamespaceSelector+spec.ServiceAccountSelector != "" {
		name := "namespaceSelector"
		if spec.NamespaceSelector == "" {
			name = "serviceAccountSelector"
		}
		r.warnf(path.Child(name), "selects pods only, and a doNotTrack or preDNAT policy applies to host endpoints only")
	}
}

// directions says which directions a Tierwall policy governs.
func (r *report) directions(path *field.Path, spec *v1alpha1.GlobalNetworkPolicySpec) (ingress, egress bool) {
	types := path.Child("types")
	for i, t := range spec.Types {
		switch {
		case slices.Contains(spec.Types[:i], t):
			r.warnf(types.Index(i), "duplicate value %s", quote(string(t)))
		case t == v1alpha1.PolicyTypeIngress:
			ingress = true
		case t == v1alpha1.PolicyTypeEgress:
			egress = true
		}
	}
	for i, t := range spec.Types {
		if t != v1alpha1.PolicyTypeIngress && t != v1alpha1.PolicyTypeEgress {
			r.errorf(types.Index(i), "unsupported value %s: want %s; the policy governs both directions", quote(string(t)), list(v1alpha1.PolicyTypeIngress, v1alpha1.PolicyTypeEgress))
			ingress, egress = true, true
		}
	}
	if len(spec.Types) == 0 {
		egress = len(spec.Egress) > 0
		ingress = len(spec.Ingress) > 0 || !egress
	}
	if spec.PreDNAT && !spec.DoNotTrack {
		if slices.Contains(spec.Types, v1alpha1.PolicyTypeEgress) {
			r.errorf(types, "has Egress: a preDNAT policy governs ingress only")
		}
		if len(spec.Egress) > 0 {
			r.errorf(path.Child("egress"), "is ignored: a preDNAT policy governs ingress only")
		}
		ingress, egress = true, false
	}
	return ingress, egress
}

// dropUngoverned drops the rules of a direction that the policy does not
// govern, and warns if its types say so and not its variant.
func (r *report) dropUngoverned(p *model.Policy, path *field.Path, explicit bool) {
	if !p.Ingress && len(p.IngressRules) > 0 {
		if explicit {
			r.warnf(path.Child("ingress"), "has no effect: types does not have Ingress")
		}
		p.IngressRules = nil
	}
	if !p.Egress && len(p.EgressRules) > 0 {
		if explicit && !p.PreDNAT {
			r.warnf(path.Child("egress"), "has no effect: types does not have Egress")
		}
		p.EgressRules = nil
	}
}
