package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/policy/convert"
)

// rulesOf prints the rules of a policy.
func rulesOf(o any) string {
	var in, out []v1alpha1.Rule
	switch o := o.(type) {
	case *v1alpha1.GlobalNetworkPolicy:
		in, out = o.Spec.Ingress, o.Spec.Egress
	case *v1alpha1.NetworkPolicy:
		in, out = o.Spec.Ingress, o.Spec.Egress
	}
	var text []string
	for _, r := range slices.Concat(in, out) {
		protocol := "any"
		if r.Protocol != nil {
			protocol = r.Protocol.String()
		}
		line := fmt.Sprintf("%s %s", r.Action, protocol)
		for _, e := range []v1alpha1.EntityRule{r.Source, r.Destination} {
			for _, p := range e.Ports {
				line += " " + p.String()
			}
			if e.Services != nil {
				line += " " + e.Services.Name
			}
			if e.Selector != "" {
				line += " " + e.Selector
			}
		}
		text = append(text, line)
	}
	return strings.Join(text, "; ")
}

// Rules on ports are taken as Calico has them.
func TestRulesOfCalico(t *testing.T) {
	tests := []struct{ name, rule, want string }{
		{"a named port of no protocol", "{action: Allow, destination: {ports: [web]}}", "Allow any web"},
		{"denied", "{action: Deny, destination: {ports: [web, admin]}}", "Deny any web admin"},
		{"of the source", "{action: Pass, source: {ports: [web]}}", "Pass any web"},
		{"but of one protocol", "{action: Allow, notProtocol: UDP, destination: {ports: [web]}}", "Allow any web"},
		{"but of one protocol by number", "{action: Allow, notProtocol: 132, destination: {ports: [web]}}", "Allow any web"},
		{"with a protocol", "{action: Allow, protocol: UDP, destination: {ports: [web]}}", "Allow UDP web"},
		{"Services beside ports", "{action: Deny, protocol: TCP, source: {services: {name: s, namespace: a}, ports: [80]}}", "Deny TCP 80 s"},
		{"Services beside ports, allowed", "{action: Allow, protocol: TCP, source: {services: {name: s, namespace: a}, ports: [80]}}", "Allow TCP 80 s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := LoadBytes("a.yaml", []byte("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\nspec:\n  ingress: ["+tt.rule+"]\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := rulesOf(r.Objects[0].Object); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if _, problems, _ := convert.Object(r.Objects[0].Object); len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
		})
	}
	for _, rule := range []string{"{action: Allow, destination: {ports: [80]}}", "{action: Allow, destination: {ports: [web, 80]}}", "{action: Deny, destination: {notPorts: [web]}}"} {
		r, err := LoadBytes("a.yaml", []byte("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\nspec:\n  ingress: ["+rule+"]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, problems, _ := convert.Object(r.Objects[0].Object); len(problems) == 0 {
			t.Errorf("%s: no problem", rule)
		}
	}
}

// A document may be a list of objects without a List around them.
func TestListOfObjects(t *testing.T) {
	const text = "- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n---\n- apiVersion: projectcalico.org/v3\n  kind: GlobalNetworkPolicy\n  metadata: {name: c}\n"
	r, err := LoadBytes("a.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := refs(r); got != "a.yaml:1 Namespace/a\na.yaml:4 Namespace/b\na.yaml:6 GlobalNetworkPolicy/c" {
		t.Errorf("got\n%s", got)
	}
	if r, err = LoadBytes("a.json", []byte(`[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}]`)); err != nil || refs(r) != "a.json:1 Namespace/a" {
		t.Errorf("JSON: %v", err)
	}
	m, err := ReadManifests([]string{"-"}, Options{Stdin: strings.NewReader(text)})
	if err != nil || len(m.Items) != 3 {
		t.Errorf("convert: got %v, %v", m, err)
	}
	write(t, map[string]string{"d/a.yaml": "- apiVersion: tierwall.io/v1alpha1\n  kind: PolicyTest\n  metadata: {name: t}\n  spec: {cases: [{from: {ip: \"::1\"}, to: {ip: \"::2\"}, expect: Allow}]}\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"})
	found, err := FindTests([]string{"d"}, Options{})
	if err != nil || len(found) != 1 || found[0].Beside() != 1 {
		t.Errorf("tests: %v, %v", found, err)
	}
	for _, bad := range []string{"- a\n- b\n", "- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- 5\n"} {
		if _, err := LoadBytes("a.yaml", []byte(bad)); err == nil || !strings.Contains(err.Error(), "not a Kubernetes object") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

// Names that conversion makes up give way to names that people have given.
func TestDerivedNames(t *testing.T) {
	cilium := func(kind, name, spec string) string {
		return "---\napiVersion: cilium.io/v2\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: shop}\n" + spec
	}
	const (
		denies = "spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{}]}], ingressDeny: [{fromEndpoints: [{matchLabels: {a: b}}]}]}\n"
		allows = "spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}\n"
		two    = "specs: [{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}, {endpointSelector: {matchLabels: {a: b}}, ingress: [{fromEndpoints: [{}]}]}]\n"
		world  = "spec: {endpointSelector: {}, egress: [{toCIDR: [203.0.113.0/24]}]}\n"
	)
	const ours = "---\napiVersion: tierwall.io/v1alpha1\nkind: NetworkPolicy\nmetadata: {name: web-deny, namespace: shop}\n"
	tests := []struct{ name, text, want string }{
		{"alone", cilium("CiliumNetworkPolicy", "web", denies), "web web-deny"},
		{"denies beside one of that name", cilium("CiliumNetworkPolicy", "web", denies) + cilium("CiliumNetworkPolicy", "web-deny", allows), "web web-deny web-deny-2"},
		{"the other way round", cilium("CiliumNetworkPolicy", "web-deny", denies) + cilium("CiliumNetworkPolicy", "web", denies), "web web-deny web-deny-2 web-deny-deny"},
		{"beside one of Tierwall's", cilium("CiliumNetworkPolicy", "web", denies) + ours, "web web-deny web-deny-2"},
		{"two specs", cilium("CiliumNetworkPolicy", "web", two) + cilium("CiliumNetworkPolicy", "web-0", allows), "web-0 web-0-2 web-1"},
		{"global for want of a namespaced form", cilium("CiliumNetworkPolicy", "out", world) + strings.Replace(cilium("CiliumClusterwideNetworkPolicy", "shop.out", world), ", namespace: shop", "", 1), "shop.out shop.out-2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ReadManifests([]string{"-"}, Options{Stdin: strings.NewReader(tt.text)})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, item := range m.Items {
				for _, o := range item.Objects {
					if _, isPolicy := convert.PolicyTier(o); isPolicy {
						r, _ := convert.RefOf(o)
						names = append(names, r.Name)
					}
				}
				if item.Objects == nil {
					names = append(names, "web-deny")
				}
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Converted manifests keep a generateName that they had, and translated ones a name.
func TestGenerateNameConverted(t *testing.T) {
	m, err := ReadManifests([]string{"-"}, Options{Stdin: strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {generateName: p-}\n---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {generateName: g-}\n")})
	if err != nil {
		t.Fatal(err)
	}
	fields, err := m.Items[0].Fields()
	if err != nil {
		t.Fatal(err)
	}
	if meta := fields["metadata"].(map[string]any); len(meta) != 1 || meta["generateName"] != "p-" {
		t.Errorf("got %v", meta)
	}
	if s := m.Items[1].Objects[0].(*v1alpha1.GlobalNetworkSet); s.Name != "g-00001" || s.GenerateName != "" {
		t.Errorf("got %+v", s.ObjectMeta)
	}
}
