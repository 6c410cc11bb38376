package translate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tierwall/tierwall/api/builtin"
	"github.com/tierwall/tierwall/api/v1alpha1"
)

func (o *calicoTier) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	meta.Name = tierName(meta.Name)
	tiers := builtin.Tiers()
	if i := slices.IndexFunc(tiers, func(b builtin.Tier) bool { return b.Name == meta.Name }); i >= 0 {
		o.compareBuiltin(t, &tiers[i])
		return nil
	}
	spec := o.Spec.DeepCopy()
	if a := spec.DefaultAction; a != nil {
		*a = ruleAction(*a)
	}
	t.add(&v1alpha1.Tier{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "Tier"),
		ObjectMeta: meta,
		Spec:       *spec,
	})
	return nil
}

// compareBuiltin notes where a tier differs from the built-in one of its name.
func (o *calicoTier) compareBuiltin(t *translation, b *builtin.Tier) {
	t.explain("", "left out: tier %s is built in", b.Name)
	if o.Spec.Order != nil && *o.Spec.Order != b.Order {
		t.lose("spec.order", "the order of tier %s is always %s, not %s; compare it with the orders of your other tiers",
			b.Name, number(b.Order), number(*o.Spec.Order))
	}
	action := v1alpha1.Deny
	if b.Pass {
		action = v1alpha1.Pass
	}
	if a := o.Spec.DefaultAction; a != nil && ruleAction(*a) != action {
		t.lose("spec.defaultAction", "tier %s always ends with %s, not %s", b.Name, action, *a)
	}
}

// number prints an order without an exponent.
func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (o *calicoGlobalNetworkSet) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	t.add(&v1alpha1.GlobalNetworkSet{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "GlobalNetworkSet"),
		ObjectMeta: meta,
		Spec:       t.networkSetSpec(&o.Spec),
	})
	return nil
}

func (o *calicoNetworkSet) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	t.add(&v1alpha1.NetworkSet{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "NetworkSet"),
		ObjectMeta: meta,
		Spec:       t.networkSetSpec(&o.Spec),
	})
	return nil
}

func (t *translation) networkSetSpec(in *v1alpha1.NetworkSetSpec) v1alpha1.NetworkSetSpec {
	out := *in.DeepCopy()
	out.Nets = nets(out.Nets)
	if n := len(out.AllowedEgressDomains); n > 0 {
		t.lose("spec.allowedEgressDomains", "DNS names have no equivalent: the set does not contain the addresses of these %d, so Allow rules that name it allow less, and Deny rules deny less", n)
		out.AllowedEgressDomains = nil
	}
	return out
}

// calicoDefaultAllow is the profile that Calico puts on the host endpoints that
// it makes by itself.
const calicoDefaultAllow = "projectcalico-default-allow"

func (o *calicoHostEndpoint) translate(t *translation) error {
	meta, err := t.cleanMeta(&o.TypeMeta, &o.ObjectMeta)
	if err != nil {
		return err
	}
	h := &v1alpha1.HostEndpoint{
		TypeMeta:   typeMeta(v1alpha1.GroupVersion, "HostEndpoint"),
		ObjectMeta: meta,
		Spec: v1alpha1.HostEndpointSpec{
			Node:          o.Spec.Node,
			InterfaceName: o.Spec.InterfaceName,
			ExpectedIPs:   append([]string(nil), o.Spec.ExpectedIPs...),
			Ports:         append([]v1alpha1.EndpointPort(nil), o.Spec.Ports...),
		},
	}
	for i := range h.Spec.Ports {
		h.Spec.Ports[i].Protocol = protocolValue(h.Spec.Ports[i].Protocol)
	}
	for i, p := range o.Spec.Profiles {
		if p == calicoDefaultAllow {
			allow := v1alpha1.Allow
			h.Spec.DefaultAction = &allow
			continue
		}
		t.lose(fmt.Sprintf("spec.profiles[%d]", i), "profile %s has no equivalent: its rules and labels no longer apply to this host endpoint; write a GlobalNetworkPolicy that selects it", p)
	}
	t.add(h)
	return nil
}

func (o *calicoProfile) translate(t *translation) error {
	switch name := o.Name; {
	case name == calicoDefaultAllow:
		t.explain("", "left out: host endpoints that name it get defaultAction Allow")
	case strings.HasPrefix(name, "kns."):
		t.explain("", "left out: pods that no policy selects are allowed, and the labels of namespace %s are known without it", strings.TrimPrefix(name, "kns."))
	case strings.HasPrefix(name, "ksa."):
		t.explain("", "left out: the labels of service account %s are known without it", strings.TrimPrefix(name, "ksa."))
	default:
		t.lose("", "profiles have no equivalent: its rules and labels no longer apply; write policies in the last tier instead, and put the labels on the endpoints")
	}
	return nil
}
