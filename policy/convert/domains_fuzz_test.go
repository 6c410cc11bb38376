package convert

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
	"github.com/tierwall/tierwall/policy/names"
)

// meaning is what is meant by a name in a rule, as a regular expression: * stands for one
// or more whole labels. Only texts in ASCII have one here.
func meaning(text string) *regexp.Regexp {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(text, ".")), ".")
	for i, l := range labels {
		if l == "*" {
			labels[i] = `[^.]+(\.[^.]+)*`
		} else {
			labels[i] = regexp.QuoteMeta(l)
		}
	}
	return regexp.MustCompile(`\A` + strings.Join(labels, `\.`) + `\z`)
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// sameShape reports whether a pattern has the labels of a text: a * where that has one, and
// the same label, in whatever case, where that is ASCII.
func sameShape(text string, p names.Pattern) bool {
	want, got := strings.Split(strings.TrimSuffix(text, "."), "."), strings.Split(p.String(), ".")
	return slices.EqualFunc(want, got, func(w, g string) bool {
		return (w == "*") == (g == "*") && (!isASCII(w) || strings.EqualFold(w, g))
	})
}

// FuzzDomains: whatever is written as names, what comes of it matches no name that is not
// meant by one of them, and all that are meant if nothing is reported. One name to a line.
func FuzzDomains(f *testing.F) {
	for _, list := range []string{
		"api.example.com", "*.example.com\nexample.com", "a.*.b.example.", "*.*.example", "WWW.Example.Com.", "bücher.example\n*.bücher.example",
		"*", "*.", ".", "", "a*.example", "example.*", "192.0.2.1", "*.1", "xn--bcher-kva.example", "＊.example", "a。example", "a..b", "_x.example", "a\n\nb",
	} {
		for _, name := range []string{"api.example.com", "example.com", "a.b.example", "x.y.z.example", "xn--bcher-kva.example"} {
			f.Add(list, name)
		}
	}
	f.Fuzz(func(t *testing.T, list, asked string) {
		texts := strings.Split(list, "\n")
		name, ok := names.Canonical(asked)
		if !ok {
			name = ""
		}
		domains := make([]clusterv1alpha2.DomainName, len(texts))
		for i, text := range texts {
			domains[i] = clusterv1alpha2.DomainName(text)
		}
		meta := metav1.ObjectMeta{Name: "x"}
		for _, action := range []v1alpha1.Action{v1alpha1.Allow, v1alpha1.Log, v1alpha1.Deny, v1alpha1.Pass} {
			checkNamed(t, &v1alpha1.GlobalNetworkPolicy{ObjectMeta: meta, Spec: v1alpha1.GlobalNetworkPolicySpec{
				Types:  []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress},
				Egress: []v1alpha1.Rule{{Action: action, Destination: v1alpha1.EntityRule{Domains: texts}}},
			}}, texts, name)
		}
		for _, action := range []clusterv1alpha2.ClusterNetworkPolicyRuleAction{"Accept", "Deny", "Pass"} {
			p := &clusterv1alpha2.ClusterNetworkPolicy{ObjectMeta: meta}
			p.Spec.Tier = clusterv1alpha2.AdminTier
			p.Spec.Subject.Namespaces = &metav1.LabelSelector{}
			p.Spec.Egress = []clusterv1alpha2.ClusterNetworkPolicyEgressRule{
				{Action: action, To: []clusterv1alpha2.ClusterNetworkPolicyEgressPeer{{DomainNames: domains}}},
			}
			checkNamed(t, p, texts, name)
		}
		set, problems, _ := Object(&v1alpha1.GlobalNetworkSet{ObjectMeta: meta, Spec: v1alpha1.NetworkSetSpec{AllowedEgressDomains: texts}})
		if s, ok := set.(*model.NetworkSet); ok {
			checkPatterns(t, "set", s.Domains, texts, name, reported(problems))
		}
	})
}

func reported(problems []model.Problem) bool {
	return slices.ContainsFunc(problems, func(p model.Problem) bool { return !p.Warning })
}

// checkNamed converts a policy with one egress rule to some names.
func checkNamed(t *testing.T, o runtime.Object, texts []string, name string) {
	t.Helper()
	obj, problems, _ := Object(o)
	p, ok := obj.(*model.Policy)
	if !ok || len(p.EgressRules) != 1 {
		t.Fatalf("%T: %v, %v", o, obj, problems)
	}
	r, wrong := p.EgressRules[0], reported(problems)
	to := r.Match.Destination.Domains
	switch r.Action {
	case model.Deny:
		if to != nil || r.Match.Never || !wrong {
			t.Errorf("%q: a rule that denies by name is %+v, problems %v", texts, r, problems)
		}
	case model.Allow, model.Log:
		if r.Match.Never != wrong || wrong && to != nil || !wrong && to == nil {
			t.Errorf("%q: a rule is %+v, problems %v", texts, r, problems)
		}
		checkPatterns(t, "rule", to, texts, name, wrong)
	default:
		t.Errorf("%q: a rule has become %+v", texts, r)
	}
}

// checkPatterns holds patterns to the texts of which they are made. some: not all texts could be read.
func checkPatterns(t *testing.T, what string, list []names.Pattern, texts []string, name string, some bool) {
	t.Helper()
	for _, p := range list {
		if !slices.ContainsFunc(texts, func(text string) bool { return sameShape(text, p) }) {
			t.Errorf("%s: %q has become %s", what, texts, p)
		}
	}
	if name == "" || slices.ContainsFunc(texts, func(text string) bool { return !isASCII(text) }) {
		return
	}
	matched := slices.ContainsFunc(list, func(p names.Pattern) bool { return p.Matches(name) })
	meant := slices.ContainsFunc(texts, func(text string) bool { return meaning(text).MatchString(name) })
	if matched && !meant {
		t.Errorf("%s: %q matches %s, which is not meant", what, texts, name)
	}
	if meant && !matched && !some {
		t.Errorf("%s: %q does not match %s, and nothing is reported", what, texts, name)
	}
}
