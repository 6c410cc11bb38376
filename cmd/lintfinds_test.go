package cmd

import (
	"strings"
	"testing"
)

// TestLintFinds holds the worst slips: with pods among the files, and without.
func TestLintFinds(t *testing.T) {
	const (
		head = "\n---\napiVersion: tierwall.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: g}\n"
		pods = `
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web, tier-of: front}}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: shop, labels: {app: db}}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.2}]}}`
		native = "\n---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny, namespace: shop}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}"
		nodes  = `
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {kubernetes.io/hostname: n1}}, status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2, labels: {kubernetes.io/hostname: n2}}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
---
{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {autoHostEndpoints: true}}`
		hosts = "selector: has(kubernetes.io/hostname), "
	)
	spec := func(s string) string { return head + "spec: {" + s + "}" }
	ingress := func(rule string) string { return spec("ingress: [" + rule + "], selector: app == 'web'") }
	tests := []struct {
		name, files string
		want        string // in the output; with "!" before it not in the output
	}{
		{"a final Pass before native policies", native + spec("order: 10, ingress: [{action: Pass}]"),
			"warning: GlobalNetworkPolicy/g: spec.ingress[0]: passes everything on to the next tier, so native policies, which are in this tier with order 1000, no longer apply to it (NetworkPolicy/shop/deny) (bypasses-native)"},
		{"the same with pods", native + pods + spec("order: 10, selector: app == 'web', egress: [{action: Pass}]"), "spec.egress[0]: passes everything on"},
		{"a Pass of some traffic", native + spec("order: 10, ingress: [{action: Pass, protocol: TCP}]"), "info: GlobalNetworkPolicy/g: spec.ingress[0]: passes what it matches on"},
		{"an Allow of everything", native + spec("order: 10, ingress: [{action: Allow}]"), "allows everything before native policies are evaluated"},
		{"an Allow of something", native + spec("order: 10, ingress: [{action: Allow, protocol: TCP}]"), "!bypasses-native"},
		{"after the native policies", native + spec("order: 2000, ingress: [{action: Pass}]"), "!bypasses-native"},
		{"in a tier of its own", native + "\n---\n{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: sec}, spec: {order: 1}}" + spec("tier: sec, order: 10, ingress: [{action: Pass}]"), "!bypasses-native"},
		{"of pods that no native policy selects", strings.Replace(native, "podSelector: {}", "podSelector: {matchLabels: {app: db}}", 1) + pods + spec("order: 10, selector: app == 'web', ingress: [{action: Pass}]"), "!bypasses-native"},
		{"only audited", native + spec("order: 10, enforcement: Audit, ingress: [{action: Pass}]"), "!bypasses-native"},

		{"an empty spec", spec(""), "warning: GlobalNetworkPolicy/g: spec: selects every pod and host endpoint, and nothing in tier default allows or passes any ingress"},
		{"both directions", pods + spec("selector: all(), types: [Ingress, Egress]"), "any ingress or egress: all of it is denied"},
		{"a Deny of all", spec("ingress: [{action: Deny}]"), "denies-everything"},
		{"a default deny beside what is allowed", spec("") + strings.Replace(ingress("{action: Allow, protocol: TCP}"), "name: g", "name: h", 1), "!denies-everything"},
		{"of a namespace", spec("namespaceSelector: tierwall.io/name == 'shop'"), "!denies-everything"},
		{"a namespaced default deny", native, "!denies-everything"},
		{"in a tier that passes", "\n---\n{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: sec}, spec: {order: 1, defaultAction: Pass}}" + spec("tier: sec"), "!denies-everything"},

		{"all of the hosts at a tier's end", nodes + spec(hosts+"ingress: [{action: Deny, protocol: UDP}]"),
			"warning: GlobalNetworkPolicy/g: tier default ends with Deny for HostEndpoint/n1-auto-hep, HostEndpoint/n2-auto-hep, and no policy allows or passes any ingress: only failsafe ports get to the host (host-denies-all)"},
		{"with an Allow", nodes + spec(hosts+"ingress: [{action: Allow, protocol: UDP}]"), "!host-denies-all"},
		{"with a Pass", nodes + spec(hosts+"ingress: [{action: Deny, protocol: UDP}, {action: Pass}]"), "!host-denies-all"},
		{"only audited hosts", nodes + spec(hosts+"enforcement: Audit, ingress: [{action: Deny, protocol: UDP}]"), "!host-denies-all"},

		{"a label of two values", spec("selector: app == 'a' && app == 'b'"), "selects no endpoint, whatever endpoints there are"},
		{"In and NotIn", "\n---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: n1, namespace: shop}, spec: {podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}, {key: a, operator: NotIn, values: [b]}]}}}", "selects no endpoint, whatever"},
		{"of a peer", ingress("{action: Allow, source: {selector: \"app in {'a'} && app not in {'a'}\"}}"), "never matches: the conditions of the source selectors contradict each other"},
		{"a selector that is fine", spec("selector: app == 'a' || app == 'b'"), "!whatever endpoints"},
		{"ICMP of IPv6", ingress("{action: Allow, protocol: ICMP, ipVersion: 6}"), "never matches: there is no ICMP in IPv6 (never-matches)"},
		{"ICMPv6 of IPv4", ingress("{action: Deny, protocol: ICMPv6, ipVersion: 4}"), "never matches: there is no ICMPv6 in IPv4 (never-matches)"},
		{"ICMP by number", ingress("{action: Deny, protocol: 58, ipVersion: 4}"), "never matches: there is no ICMPv6 in IPv4"},
		{"ICMP to blocks of IPv6", ingress("{action: Deny, protocol: ICMP, source: {nets: [\"fd00::/8\"]}}"), "never matches: there is no ICMP in IPv6"},
		{"ICMP of IPv4", ingress("{action: Allow, protocol: ICMP, ipVersion: 4}"), "!never-matches"},
		{"notNets of everything", ingress("{action: Allow, ipVersion: 4, source: {notNets: [0.0.0.0/0]}}"), "never matches: the source notNets are all addresses"},
		{"notNets of everything in two halves", ingress("{action: Allow, source: {notNets: [0.0.0.0/1, 128.0.0.0/1]}}"), "never matches: the source notNets are all addresses"},
		{"notNets of much", ingress("{action: Allow, source: {notNets: [0.0.0.0/1]}}"), "!never-matches"},
		{"what a translation leaves", "\n---\n{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: g}, spec: {ingress: [{action: Allow, protocol: TCP, http: {methods: [GET]}}]}}", "!never-matches"},

		{"a slip in a value", pods + spec("selector: app == 'wbe'"), `selects no endpoint: none has the label app 'wbe'; did you mean "web"? (selects-nothing)`},
		{"a slip in a key", pods + spec("selector: ap == 'web'"), `selects no endpoint: none has the label ap; did you mean "app"? (selects-nothing)`},
		{"values of which none is there", pods + spec("selector: \"app in {'x1', 'x2'}\""), "selects no endpoint: none has the label app 'x1' or 'x2' (selects-nothing)"},
		{"a namespace that is not there", pods + "\n---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: n1, namespace: shpo}, spec: {podSelector: {}}}", `selects no endpoint: none has a namespace called 'shpo'; did you mean "shop"?`},
		{"labels that no one endpoint has together", pods + spec("selector: app == 'db' && tier-of == 'front'"), "selects no endpoint (selects-nothing)"},

		{"a slip in a tier", "\n---\n{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: security}, spec: {order: 1}}" + spec("tier: securty, order: 1"), `denies by default; did you mean "security"? (missing-tier)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := runMain(t, strings.TrimPrefix(tt.files, "\n---\n"), "lint", "-")
			want, absent := strings.CutPrefix(tt.want, "!")
			if got.status == exitUnusable || strings.Contains(got.out, want) == absent {
				t.Errorf("got status %d, want %q in\n%s%s", got.status, tt.want, got.out, got.errOut)
			}
		})
	}
}
