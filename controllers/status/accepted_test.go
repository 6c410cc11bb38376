package status

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
)

func gnp(name string, change func(*v1alpha1.GlobalNetworkPolicySpec)) *v1alpha1.GlobalNetworkPolicy {
	p := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	p.Spec.Tier = "default"
	p.Spec.Selector = "all()"
	p.Spec.Ingress = []v1alpha1.Rule{{Action: v1alpha1.Allow}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func TestAccepted(t *testing.T) {
	tiers := func(name string) bool { return name == "security" }
	for _, tc := range []struct {
		name    string
		object  runtime.Object
		status  metav1.ConditionStatus
		reason  string
		message string // a part of it
	}{
		{"good", gnp("p", nil), "True", ReasonAccepted, "as written"},
		{"no tier named", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "" }), "True", ReasonAccepted, ""},
		{"own tier", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "security" }), "True", ReasonAccepted, ""},
		{"tier that is always there", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "kube-admin" }), "True", ReasonAccepted, ""},
		{"no such tier", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "safety" }), "False", ReasonUnknownTier, `spec.tier: there is no tier "safety"`},
		{"bad block, bad tier: the field that is at fault comes first", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) {
			s.Tier, s.Ingress = "safety", []v1alpha1.Rule{{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{Nets: []string{"10.0.0.0/8", "10.0.0/8"}}}}
		}), "False", ReasonInvalid, "spec.ingress[0].source.nets[1]: "},
		{"the tier is named too", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier, s.Selector = "safety", "app ==" }), "False", ReasonInvalid, `; spec.tier: there is no tier "safety"`},
		{"what is not built", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) {
			s.Types = []v1alpha1.PolicyType{"Egress"}
			s.Ingress, s.Egress = nil, []v1alpha1.Rule{{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Domains: []string{"example.org"}}}}
		}), "False", ReasonInvalid, "spec.egress[0].destination.domains: is not supported"},
		{"only odd", gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Types = []v1alpha1.PolicyType{"Egress"} }), "True", ReasonWithWarnings, "spec.ingress: has no effect"},
		{"namespaced", &v1alpha1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: v1alpha1.NetworkPolicySpec{Tier: "default", Selector: "app == 'x"},
		}, "False", ReasonInvalid, "spec.selector: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := acceptedAs(tc.object, tiers)
			if c.Type != Accepted || c.Status != tc.status || c.Reason != tc.reason || !strings.Contains(c.Message, tc.message) {
				t.Errorf("got %+v, want %s %s …%s…", c, tc.status, tc.reason, tc.message)
			}
		})
	}
}

func acceptedAs(policy runtime.Object, tier func(string) bool) metav1.Condition {
	o, problems, _ := convert.Object(policy)
	return accepted(o, problems, tier)
}

func TestMessagesAreBounded(t *testing.T) {
	if got := enumerate([]string{"a", "b"}); got != "a; b" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("ö", 400)
	got := enumerate([]string{long, long, "c"})
	if len(got) > maxMessage || !strings.HasSuffix(got, "; and 2 more") {
		t.Errorf("got %d bytes, %q at the end", len(got), got[len(got)-20:])
	}
	got = enumerate([]string{strings.Repeat("ö", 2000), "b"})
	if len(got) > maxMessage || !strings.HasSuffix(got, "ö…") {
		t.Errorf("got %d bytes, %q at the end", len(got), got[len(got)-20:])
	}
	many := make([]v1alpha1.Rule, 1024)
	for i := range many {
		many[i] = v1alpha1.Rule{Action: "Perhaps"}
	}
	c := acceptedAs(gnp("p", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Ingress = many }), nil)
	if len(c.Message) > maxMessage || !strings.Contains(c.Message, "spec.ingress[0].action") || !strings.Contains(c.Message, " more") {
		t.Errorf("got %d bytes: %s", len(c.Message), c.Message)
	}
}
