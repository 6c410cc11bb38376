package convert

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/tierwall/tierwall/api/selector"
	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/model"
)

// owner builds what the index gives a selector to see of an owner.
func owner(kind, namespace, account string, own, namespaceLabels, accountLabels map[string]string) selector.MapLabels {
	m := selector.MapLabels{}
	maps.Copy(m, own)
	m[model.LabelKind] = kind
	if kind == model.OwnerPod {
		m[model.LabelOrchestrator] = model.OrchestratorKubernetes
	}
	if namespace != "" {
		m[model.LabelNamespace] = namespace
		m[model.PrefixNamespace+model.LabelName] = namespace
		m[model.PrefixNamespace+"kubernetes.io/metadata.name"] = namespace
		for k, v := range namespaceLabels {
			m[model.PrefixNamespace+k] = v
		}
	}
	if account != "" {
		m[model.LabelServiceAccount] = account
		m[model.PrefixServiceAccount+model.LabelName] = account
		for k, v := range accountLabels {
			m[model.PrefixServiceAccount+k] = v
		}
	}
	return m
}

type labels = map[string]string

// owners is a small world: namespaces shop (env=prod) and lab (env=dev), with
// pods, a network set, host endpoints, global network sets and nodes.
var owners = map[string]selector.MapLabels{
	"shop/web":    owner(model.OwnerPod, "shop", "robot", labels{"app": "web"}, labels{"env": "prod"}, labels{"team": "a"}),
	"shop/db":     owner(model.OwnerPod, "shop", "keeper", labels{"app": "db"}, labels{"env": "prod"}, labels{"team": "b"}),
	"shop/bare":   owner(model.OwnerPod, "shop", "", labels{"app": "web"}, labels{"env": "prod"}, nil),
	"lab/web":     owner(model.OwnerPod, "lab", "robot", labels{"app": "web"}, labels{"env": "dev"}, labels{"team": "b"}),
	"lab/none":    owner(model.OwnerPod, "lab", "", nil, labels{"env": "dev"}, nil),
	"shop/netset": owner(model.OwnerNetworkSet, "shop", "", labels{"app": "web"}, labels{"env": "prod"}, nil),
	"netset":      owner(model.OwnerNetworkSet, "", "", labels{"app": "web"}, nil, nil),
	"host":        owner(model.OwnerHostEndpoint, "", "", labels{"app": "web"}, nil, nil),
	"host2":       owner(model.OwnerHostEndpoint, "", "", labels{"env": "prod"}, nil, nil),
	"node":        owner(model.OwnerNode, "", "", labels{"app": "web"}, nil, nil),
}

// matched names the owners that a selector matches.
func matched(s *selector.Selector) string {
	if s == nil {
		return "unset"
	}
	var out []string
	for name, l := range owners {
		if s.Evaluate(l) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

const (
	allPods      = "lab/none lab/web shop/bare shop/db shop/web"
	allEndpoints = "host host2 lab/none lab/web shop/bare shop/db shop/web"
	allOwners    = "host host2 lab/none lab/web netset shop/bare shop/db shop/netset shop/web"
)

// What a policy selects.
func TestPolicyScope(t *testing.T) {
	for _, c := range []struct {
		spec   v1alpha1.GlobalNetworkPolicySpec
		global string // selected by a GlobalNetworkPolicy
		local  string // by a NetworkPolicy in shop; "-" where the spec is not one of it
	}{
		{v1alpha1.GlobalNetworkPolicySpec{}, allEndpoints, "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "all()"}, allEndpoints, "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: " "}, allEndpoints, "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app == 'web'"}, "host lab/web shop/bare shop/web", "shop/bare shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app != 'web'"}, "host2 lab/none shop/db", "shop/db"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app == 'web' || app == 'db'"}, "host lab/web shop/bare shop/db shop/web", "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "global()"}, "host host2", ""},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "!global()"}, allPods, "shop/bare shop/db shop/web"},
		// Implicit labels in both spellings.
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "projectcalico.org/namespace == 'lab'"}, "lab/none lab/web", ""},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "tierwall.io/namespace == 'lab'"}, "lab/none lab/web", ""},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "projectcalico.org/orchestrator == 'k8s'"}, allPods, "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "projectcalico.org/serviceaccount in {'robot'}"}, "lab/web shop/web", "shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "tierwall.io/serviceaccount != 'robot'"}, "host host2 lab/none shop/bare shop/db", "shop/bare shop/db"},
		// Service accounts: pods that have one, even for negative terms.
		{v1alpha1.GlobalNetworkPolicySpec{ServiceAccountSelector: "team == 'b'"}, "lab/web shop/db", "shop/db"},
		{v1alpha1.GlobalNetworkPolicySpec{ServiceAccountSelector: "team != 'a'"}, "lab/web shop/db", "shop/db"},
		{v1alpha1.GlobalNetworkPolicySpec{ServiceAccountSelector: "all()"}, "lab/web shop/db shop/web", "shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{ServiceAccountSelector: "global()"}, "", ""},
		{v1alpha1.GlobalNetworkPolicySpec{ServiceAccountSelector: "projectcalico.org/name == 'robot'"}, "lab/web shop/web", "shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{ServiceAccountSelector: "tierwall.io/name == 'robot'", Selector: "app == 'web'"}, "lab/web shop/web", "shop/web"},
		// Namespaces: owners in one, even for negative terms.
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "env == 'prod'"}, "shop/bare shop/db shop/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "env != 'prod'"}, "lab/none lab/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "!has(env)"}, "", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "all()"}, allPods, "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "env == 'prod' || env == 'dev'"}, allPods, "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "global()"}, "host host2", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "global() || env == 'dev'"}, "host host2 lab/none lab/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "!global()"}, allPods, "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "!global() && env == 'dev'"}, "lab/none lab/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "projectcalico.org/name == 'shop'"}, "shop/bare shop/db shop/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "tierwall.io/name == 'shop'"}, "shop/bare shop/db shop/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "kubernetes.io/metadata.name == 'lab'"}, "lab/none lab/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "env == 'prod'", Selector: "app == 'web'"}, "shop/bare shop/web", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{NamespaceSelector: "env == 'prod'", Selector: "app == 'web'", ServiceAccountSelector: "has(team)"}, "shop/web", "-"},
		// Policies that only host endpoints can have.
		{v1alpha1.GlobalNetworkPolicySpec{DoNotTrack: true}, "host host2", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{PreDNAT: true, Selector: "app == 'web'"}, "host", "-"},
		{v1alpha1.GlobalNetworkPolicySpec{PreDNAT: true, NamespaceSelector: "all()"}, "", "-"},
		// Invalid parts leave the others.
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app ="}, allEndpoints, "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app =", ServiceAccountSelector: "team == 'a'"}, "shop/web", "shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app == 'db'", ServiceAccountSelector: "team ="}, "shop/db", "shop/db"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app ="}, allEndpoints, "shop/bare shop/db shop/web"},
		{v1alpha1.GlobalNetworkPolicySpec{Selector: "app == 'web'", NamespaceSelector: "env ="}, "host lab/web shop/bare shop/web", "-"},
	} {
		name := fmt.Sprintf("%q %q %q %v%v", c.spec.Selector, c.spec.NamespaceSelector, c.spec.ServiceAccountSelector, c.spec.DoNotTrack, c.spec.PreDNAT)
		r := &report{ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "x"}}
		if got := matched(r.policyScope(field.NewPath("spec"), &c.spec, false)); got != c.global {
			t.Errorf("%s: GlobalNetworkPolicy selects %q, want %q", name, got, c.global)
		}
		if c.local == "-" {
			continue
		}
		r = &report{ref: model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: "shop", Name: "x"}}
		if got := matched(r.policyScope(field.NewPath("spec"), &c.spec, true)); got != c.local {
			t.Errorf("%s: NetworkPolicy in shop selects %q, want %q", name, got, c.local)
		}
	}
}

// What the selectors of a rule's side mean.
func TestSideScope(t *testing.T) {
	accounts := func(names []string, sel string) *v1alpha1.ServiceAccountMatch {
		return &v1alpha1.ServiceAccountMatch{Names: names, Selector: sel}
	}
	type both struct{ in, notIn string }
	for _, c := range []struct {
		side          v1alpha1.EntityRule
		global, local both // in a GlobalNetworkPolicy, and in a NetworkPolicy of shop
	}{
		{v1alpha1.EntityRule{}, both{"unset", "unset"}, both{"unset", "unset"}},
		{v1alpha1.EntityRule{Nets: []string{"10.0.0.0/8"}, Domains: []string{"x"}}, both{"unset", "unset"}, both{"unset", "unset"}},
		{
			v1alpha1.EntityRule{Selector: "all()"},
			both{allOwners, "unset"},
			both{"shop/bare shop/db shop/netset shop/web", "unset"},
		},
		{
			v1alpha1.EntityRule{Selector: "app == 'web'"},
			both{"host lab/web netset shop/bare shop/netset shop/web", "unset"},
			both{"shop/bare shop/netset shop/web", "unset"},
		},
		{
			v1alpha1.EntityRule{Selector: "app != 'web'"},
			both{"host2 lab/none shop/db", "unset"},
			both{"shop/db", "unset"},
		},
		{
			v1alpha1.EntityRule{Selector: "global()"},
			both{"host host2 netset", "unset"},
			both{"", "unset"},
		},
		{
			v1alpha1.EntityRule{NotSelector: "app == 'web'"},
			both{"unset", "host lab/web netset shop/bare shop/netset shop/web"},
			both{"unset", "shop/bare shop/netset shop/web"},
		},
		{
			v1alpha1.EntityRule{Selector: "has(app)", NotSelector: "app == 'web'"},
			both{"host lab/web netset shop/bare shop/db shop/netset shop/web", "host lab/web netset shop/bare shop/netset shop/web"},
			both{"shop/bare shop/db shop/netset shop/web", "shop/bare shop/netset shop/web"},
		},
		// A namespaceSelector takes the place of the policy's own namespace.
		{
			v1alpha1.EntityRule{NamespaceSelector: "env == 'dev'"},
			both{"lab/none lab/web", "unset"},
			both{"lab/none lab/web", "unset"},
		},
		{
			v1alpha1.EntityRule{NamespaceSelector: "all()"},
			both{"lab/none lab/web shop/bare shop/db shop/netset shop/web", "unset"},
			both{"lab/none lab/web shop/bare shop/db shop/netset shop/web", "unset"},
		},
		{
			v1alpha1.EntityRule{NamespaceSelector: "env != 'prod'"},
			both{"lab/none lab/web", "unset"},
			both{"lab/none lab/web", "unset"},
		},
		{
			v1alpha1.EntityRule{NamespaceSelector: "global()"},
			both{"host host2 netset", "unset"},
			both{"host host2 netset", "unset"},
		},
		{
			v1alpha1.EntityRule{NamespaceSelector: "global() || projectcalico.org/name == 'lab'", Selector: "app == 'web'"},
			both{"host lab/web netset", "unset"},
			both{"host lab/web netset", "unset"},
		},
		{
			v1alpha1.EntityRule{NamespaceSelector: "global()", NotSelector: "app == 'web'"},
			both{"host host2 netset", "host netset"},
			both{"host host2 netset", "host netset"},
		},
		{
			v1alpha1.EntityRule{NamespaceSelector: "env == 'dev'", NotSelector: "app == 'web'"},
			both{"lab/none lab/web", "lab/web"},
			both{"lab/none lab/web", "lab/web"},
		},
		// Service accounts.
		{
			v1alpha1.EntityRule{ServiceAccounts: accounts([]string{"robot", "keeper"}, "")},
			both{"lab/web shop/db shop/web", "unset"},
			both{"shop/db shop/web", "unset"},
		},
		{
			v1alpha1.EntityRule{ServiceAccounts: accounts(nil, "team != 'a'")},
			both{"lab/web shop/db", "unset"},
			both{"shop/db", "unset"},
		},
		{
			v1alpha1.EntityRule{ServiceAccounts: accounts([]string{"robot"}, "team == 'b'")},
			both{"lab/web", "unset"},
			both{"", "unset"},
		},
		{
			v1alpha1.EntityRule{ServiceAccounts: accounts([]string{"robot"}, ""), NamespaceSelector: "env == 'dev'"},
			both{"lab/web", "unset"},
			both{"lab/web", "unset"},
		},
		{
			v1alpha1.EntityRule{ServiceAccounts: accounts([]string{"robot", "keeper"}, ""), Selector: "app == 'db'"},
			both{"shop/db", "unset"},
			both{"shop/db", "unset"},
		},
		{
			v1alpha1.EntityRule{ServiceAccounts: accounts([]string{"robot"}, ""), NotSelector: "app == 'web'"},
			both{"lab/web shop/web", "host lab/web netset shop/bare shop/netset shop/web"},
			both{"shop/web", "shop/bare shop/netset shop/web"},
		},
	} {
		name := fmt.Sprintf("%+v accounts %+v", c.side, c.side.ServiceAccounts)
		for _, namespaced := range []bool{false, true} {
			want := c.global
			r := &report{ref: model.Ref{Kind: model.KindGlobalNetworkPolicy, Name: "x"}}
			if namespaced {
				want = c.local
				r.ref = model.Ref{Kind: model.KindTierwallNetworkPolicy, Namespace: "shop", Name: "x"}
			}
			in, notIn := r.sideScope(field.NewPath("side"), &c.side, namespaced)
			if got := (both{matched(in), matched(notIn)}); got != want {
				t.Errorf("namespaced %v, %s:\n got %q\nwant %q", namespaced, name, got, want)
			}
			if r.list != nil {
				t.Errorf("namespaced %v, %s: problems %v", namespaced, name, r.list)
			}
		}
	}
}

// The core's own keys are out of reach of people's selectors.
func TestReservedKeysDoNotParse(t *testing.T) {
	for _, text := range []string{":kind == 'node'", "ns:env == 'prod'", "has(sa:team)"} {
		r := &report{}
		if s := r.parse(field.NewPath("spec", "selector"), text); s != nil || r.errors != 1 {
			t.Errorf("%s parses to %v", text, s)
		}
	}
}

func TestSelectorProblems(t *testing.T) {
	runExamples(t, model.KindGlobalNetworkPolicy, []example{
		{
			name: "every selector of a policy",
			in: `
spec:
  selector: app == web
  namespaceSelector: 'has('
  serviceAccountSelector: 'a = 1'
  ingress:
  - action: Allow
    source: {selector: 'a b', notSelector: '&&', namespaceSelector: ')', serviceAccounts: {selector: '!'}}`,
			want: `
default +Inf ingress
selects :kind in {'hostendpoint', 'pod'}
ingress 0 Allow never`,
			problems: []string{
				`spec.selector: invalid selector "app == web": ` + parseError(t, "app == web"),
				`spec.namespaceSelector: invalid selector "has(": ` + parseError(t, "has("),
				`spec.serviceAccountSelector: invalid selector "a = 1": ` + parseError(t, "a = 1"),
				`spec.ingress[0].source.namespaceSelector: invalid selector ")": ` + parseError(t, ")"),
				`spec.ingress[0].source.selector: invalid selector "a b": ` + parseError(t, "a b"),
				`spec.ingress[0].source.serviceAccounts.selector: invalid selector "!": ` + parseError(t, "!"),
				`spec.ingress[0].source.notSelector: invalid selector "&&": ` + parseError(t, "&&"),
			},
		},
		{
			name: "service accounts",
			in: `
spec:
  ingress:
  - {action: Allow, source: {serviceAccounts: {}}}
  - {action: Deny, source: {serviceAccounts: {names: [robot, Robot, robot]}}}
  - {action: Allow, source: {serviceAccounts: {names: [robot, robot]}}}`,
			want: `
default +Inf ingress
selects :kind in {'hostendpoint', 'pod'}
ingress 0 Allow never
ingress 1 Deny
ingress 2 Allow from[:kind == 'pod' && tierwall.io/serviceaccount == 'robot']`,
			problems: []string{
				`spec.ingress[0].source.serviceAccounts: is empty: want names or a selector`,
				`spec.ingress[1].source.serviceAccounts.names[1]: invalid value "Robot": want the name of a service account`,
				`warning: spec.ingress[1].source.serviceAccounts.names[2]: duplicate value robot`,
				`warning: spec.ingress[2].source.serviceAccounts.names[1]: duplicate value robot`,
			},
		},
		{
			name: "keys that no object has",
			in:   `spec: {selector: a/b/c == 'x', namespaceSelector: projectcalico.org/namespace == 'shop' && !has(-)}`,
			want: `
default +Inf ingress
selects :kind in {'hostendpoint', 'pod'} && a/b/c == 'x' && !has(ns:-) && ns:tierwall.io/namespace == 'shop' && has(tierwall.io/namespace)`,
			problems: []string{
				`warning: spec.selector: invalid label key "a/b/c": no object has it`,
				`warning: spec.namespaceSelector: invalid label key "-": no object has it`,
				`warning: spec.namespaceSelector: namespaces have no label projectcalico.org/namespace: their name is tierwall.io/name`,
			},
		},
		{
			name: "global() is no mistake",
			in:   `spec: {namespaceSelector: global()}`,
			want: `
default +Inf ingress
selects :kind in {'hostendpoint', 'pod'} && !has(tierwall.io/namespace)`,
		},
	})
}

func parseError(t *testing.T, text string) string {
	t.Helper()
	_, err := selector.Parse(text)
	if err == nil {
		t.Fatalf("%q parses", text)
	}
	return err.Error()
}

func TestLabelSelector(t *testing.T) {
	expr := func(key, op string, values ...string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOperator(op), Values: values}}}
	}
	for _, c := range []struct {
		in       metav1.LabelSelector
		want     string // "" for invalid
		problems []string
	}{
		{metav1.LabelSelector{}, "all()", nil},
		{metav1.LabelSelector{MatchLabels: labels{}}, "all()", nil},
		{metav1.LabelSelector{MatchLabels: labels{"b": "2", "a": ""}}, "ns:a == '' && ns:b == '2'", nil},
		{expr("a", "In", "x", "y"), "ns:a in {'x', 'y'}", nil},
		{expr("a", "NotIn", "x"), "ns:a != 'x'", nil},
		{expr("a", "Exists"), "has(ns:a)", nil},
		{expr("a", "DoesNotExist"), "!has(ns:a)", nil},
		{
			metav1.LabelSelector{MatchLabels: labels{"a": "x"}, MatchExpressions: expr("b", "Exists").MatchExpressions},
			"ns:a == 'x' && has(ns:b)", nil,
		},
		{expr("a", "In"), "", []string{"s.matchExpressions[0].values: is empty: operator In requires at least one value"}},
		{expr("a", "NotIn"), "", []string{"s.matchExpressions[0].values: is empty: operator NotIn requires at least one value"}},
		{expr("a", "Exists", "x"), "", []string{`s.matchExpressions[0].values: has "x": operator Exists allows none`}},
		{expr("a", "DoesNotExist", "x"), "", []string{`s.matchExpressions[0].values: has "x": operator DoesNotExist allows none`}},
		{expr("a", "Gt", "1"), "", []string{`s.matchExpressions[0].operator: unsupported value "Gt": want In, NotIn, Exists or DoesNotExist`}},
		{expr("a", ""), "", []string{`s.matchExpressions[0].operator: unsupported value "": want In, NotIn, Exists or DoesNotExist`}},
		{expr(":kind", "In", "node"), "", []string{`s.matchExpressions[0].key: invalid label key ":kind"`}},
		{
			metav1.LabelSelector{MatchLabels: labels{":kind": "node", "a": "x y"}, MatchExpressions: expr("", "In", "-").MatchExpressions},
			"",
			[]string{
				`s.matchLabels[":kind"]: invalid label key ":kind"`,
				`s.matchLabels[a]: invalid label value "x y": want at most 63 characters a-z, A-Z, 0-9, '-', '_' or '.', first and last a letter or digit`,
				`s.matchExpressions[0].key: invalid label key ""`,
				`s.matchExpressions[0].values[0]: invalid label value "-": want at most 63 characters a-z, A-Z, 0-9, '-', '_' or '.', first and last a letter or digit`,
			},
		},
	} {
		r := &report{}
		got := ""
		if s := r.labelSelector(field.NewPath("s"), &c.in, model.PrefixNamespace); s != nil {
			got = s.String()
		}
		if got != c.want {
			t.Errorf("%+v: got %q, want %q", c.in, got, c.want)
		}
		if p := describeProblems(r.list); !slices.Equal(p, c.problems) {
			t.Errorf("%+v: problems\n%s\nwant\n%s", c.in, indent(strings.Join(p, "\n")), indent(strings.Join(c.problems, "\n")))
		}
	}
}
