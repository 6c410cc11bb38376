package translate

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// stagedSuffix is appended to the names of staged policies. Calico keeps staged
// policies in kinds of their own, so that one often has the name of the policy
// that it is meant to replace; here both are of one kind.
const stagedSuffix = "-staged"

func typeMeta(gv schema.GroupVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: gv.String(), Kind: kind}
}

func (o *calicoGlobalNetworkPolicy) translate(t *translation) error {
	p, err := t.globalPolicy(&o.TypeMeta, &o.ObjectMeta, &o.Spec.calicoPolicySpec, &o.Spec.calicoGlobalSpec)
	if p != nil {
		t.add(p)
	}
	return err
}

func (o *calicoNetworkPolicy) translate(t *translation) error {
	p, err := t.namespacedPolicy(&o.TypeMeta, &o.ObjectMeta, &o.Spec.calicoPolicySpec)
	if p != nil {
		t.add(p)
	}
	return err
}

func (o *calicoStagedGlobalNetworkPolicy) translate(t *translation) error {
	if !t.staged(o.Spec.StagedAction) {
		return nil
	}
	p, err := t.globalPolicy(&o.TypeMeta, &o.ObjectMeta, &o.Spec.calicoPolicySpec, &o.Spec.calicoGlobalSpec)
	if p != nil {
		p.Name += stagedSuffix
		p.Spec.Enforcement = v1alpha1.Audit
		t.explainStaged(p.Name)
		t.add(p)
	}
	return err
}

func (o *calicoStagedNetworkPolicy) translate(t *translation) error {
	if !t.staged(o.Spec.StagedAction) {
		return nil
	}
	p, err := t.namespacedPolicy(&o.TypeMeta, &o.ObjectMeta, &o.Spec.calicoPolicySpec)
	if p != nil {
		p.Name += stagedSuffix
		p.Spec.Enforcement = v1alpha1.Audit
		t.explainStaged(p.Name)
		t.add(p)
	}
	return err
}

// staged reports whether a staged policy is one to be evaluated; for the other
// actions it notes what becomes of them.
func (t *translation) staged(action string) bool {
	switch stagedActions[strings.ToLower(action)] {
	case "Set", "Learn":
		return true
	case "Delete":
		t.lose("spec.stagedAction", "Delete previews the removal of the enforced policy of the same name, which has no equivalent; compare the manifests with and without that policy by `tierwall diff`")
	case "Ignore":
		t.explain("spec.stagedAction", "Ignore takes the staged policy out of evaluation; left out")
	default:
		t.lose("spec.stagedAction", "%q is not a known action; the staged policy is left out", action)
	}
	return false
}

// stagedActions are what a staged policy can be for, in any case; unset means Set.
var stagedActions = map[string]string{"": "Set", "set": "Set", "learn": "Learn", "delete": "Delete", "ignore": "Ignore"}

func (t *translation) explainStaged(name string) {
	t.explain("metadata.name", "becomes %s with enforcement Audit, since staged and enforced policies are of one kind", name)
}

// globalPolicy translates what the enforced and the staged global kind share.
// It returns nil for a policy that is not to be translated.
func (t *translation) globalPolicy(tm *metav1.TypeMeta, om *metav1.ObjectMeta, s *calicoPolicySpec, g *calicoGlobalSpec) (*v1alpha1.GlobalNetworkPolicy, error) {
	meta, err := t.policyMeta(tm, om)
	if meta == nil || err != nil {
		return nil, err
	}
	c := t.policySpec(s, false)
	c.Types = t.policyTypes(tm, s.Types, g.PreDNAT)
	p := &v1alpha1.GlobalNetworkPolicy{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "GlobalNetworkPolicy"),
		ObjectMeta: *meta,
		Spec: v1alpha1.GlobalNetworkPolicySpec{
			Tier: c.Tier, Order: c.Order, Selector: c.Selector, Types: c.Types,
			NamespaceSelector:      t.namespaceSelector("spec.namespaceSelector", g.NamespaceSelector),
			ServiceAccountSelector: c.ServiceAccountSelector,
			Ingress:                c.Ingress, Egress: c.Egress,
			DoNotTrack: g.DoNotTrack, PreDNAT: g.PreDNAT, ApplyOnForward: g.ApplyOnForward,
			PerformanceHints: c.PerformanceHints,
		},
	}
	if s.ServiceAccountSelector != "" && matchesUnlabelled(s.ServiceAccountSelector, "projectcalico.org/serviceaccount") {
		t.lose("spec.serviceAccountSelector", "in Calico it also selects host endpoints, because they lack the label; here it selects pods only, so the policy no longer applies to host endpoints")
	}
	return p, nil
}

// namespacedPolicy translates what the enforced and the staged namespaced kind
// share. It returns nil for a policy that is not to be translated.
func (t *translation) namespacedPolicy(tm *metav1.TypeMeta, om *metav1.ObjectMeta, s *calicoPolicySpec) (*v1alpha1.NetworkPolicy, error) {
	meta, err := t.policyMeta(tm, om)
	if meta == nil || err != nil {
		return nil, err
	}
	c := t.policySpec(s, true)
	c.Types = t.policyTypes(tm, s.Types, false)
	return &v1alpha1.NetworkPolicy{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "NetworkPolicy"),
		ObjectMeta: *meta,
		Spec: v1alpha1.NetworkPolicySpec{
			Tier: c.Tier, Order: c.Order, Selector: c.Selector, Types: c.Types,
			ServiceAccountSelector: c.ServiceAccountSelector,
			Ingress:                c.Ingress, Egress: c.Egress,
			PerformanceHints: c.PerformanceHints,
		},
	}, nil
}

// policySpec translates the fields that all policy kinds share.
func (t *translation) policySpec(s *calicoPolicySpec, namespaced bool) calicoPolicySpec {
	out := *s
	out.Tier = tierName(s.Tier)
	if s.Order != nil {
		order := *s.Order
		out.Order = &order
	}
	if out.Tier != s.Tier && s.Tier != "" {
		t.explain("spec.tier", "tier %s is called %s here", s.Tier, out.Tier)
	}
	t.checkSelector("spec.selector", s.Selector)
	t.checkSelector("spec.serviceAccountSelector", s.ServiceAccountSelector)
	out.PerformanceHints = append([]string(nil), s.PerformanceHints...)
	out.Ingress = t.calicoRules("spec.ingress", s.Ingress, namespaced)
	out.Egress = t.calicoRules("spec.egress", s.Egress, namespaced)
	return out
}

// policyTypes are the directions that a policy governs, in the case that Tierwall takes.
// Where they are unset, the v3 API fills them in from the rules, as Tierwall does. In
// the crd spelling they are as they were stored, and nobody has: then Calico has the
// policy govern both, whatever its rules. What happens before DNAT is ingress alone.
func (t *translation) policyTypes(tm *metav1.TypeMeta, in []v1alpha1.PolicyType, preDNAT bool) []v1alpha1.PolicyType {
	var out []v1alpha1.PolicyType
	for _, ty := range in {
		for _, known := range []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress, v1alpha1.PolicyTypeEgress} {
			if strings.EqualFold(string(ty), string(known)) {
				ty = known
			}
		}
		if !slices.Contains(out, ty) {
			out = append(out, ty)
		}
	}
	switch {
	case len(out) > 0 || tm.GroupVersionKind().Group != calicoCRDGroup:
		return out
	case preDNAT:
		return []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress}
	}
	t.spell("spec.types", "unset: in data stored by Calico, the policy governs Ingress and Egress, whatever its rules; `calicoctl` and the v3 API would have filled in fewer")
	return []v1alpha1.PolicyType{v1alpha1.PolicyTypeIngress, v1alpha1.PolicyTypeEgress}
}

// checkSelector notes labels in a selector that only Calico gives to endpoints.
// The implicit labels that Tierwall has too are understood in this spelling.
func (t *translation) checkSelector(field, s string) {
	for _, key := range calicoKeys(s) {
		t.lose(field, "no endpoint has Calico's own label %s here; whatever depends on it does not match unless objects have it themselves", key)
	}
}

// calicoKeys finds the keys in a selector that only Calico gives to endpoints,
// in order, each once.
func calicoKeys(s string) []string {
	var keys []string
	seen := map[string]bool{}
	for _, word := range strings.FieldsFunc(s, func(r rune) bool {
		return !(r == '.' || r == '/' || r == '-' || r == '_' ||
			'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
	}) {
		switch {
		case strings.HasPrefix(word, "pcns."), strings.HasPrefix(word, "pcsa."):
		case strings.HasPrefix(word, "projectcalico.org/"):
			switch strings.TrimPrefix(word, "projectcalico.org/") {
			case "namespace", "name", "orchestrator", "serviceaccount":
				continue
			}
		default:
			continue
		}
		if !seen[word] {
			seen[word] = true
			keys = append(keys, word)
		}
	}
	return keys
}
