package convert

import (
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestDomains(t *testing.T) {
	const late = `a name that is learnt too late would let through what the rule should deny; the rule denies everything`
	egress := func(rules ...string) string { return "spec:\n  egress:\n  - " + strings.Join(rules, "\n  - ") }
	runExamples(t, model.KindGlobalNetworkPolicy, []example{
		{
			name: "allow and log",
			in: egress(`{action: Log, destination: {domains: [b.example, a.example]}}`,
				`{action: Allow, protocol: TCP, destination: {domains: ['*.a.example', 'a.*.example'], ports: [443], notNets: [10.0.0.0/8]}}`),
			want: head("egress") + `
egress 0 Log to[domains a.example,b.example]
egress 1 Allow ip 4 TCP to[notNets 10.0.0.0/8; domains *.a.example,a.*.example; ports 443]`,
		},
		{name: "an empty list is none", in: egress(`{action: Deny, destination: {domains: []}}`), want: head("egress") + "egress 0 Deny"},
		{
			name: "spellings",
			in:   egress(`{action: Allow, destination: {domains: [API.Example.com, api.example.com., straße.example]}}`),
			want: head("egress") + "egress 0 Allow to[domains api.example.com,xn--strae-oqa.example]",
			problems: []string{
				`warning: spec.egress[0].destination.domains[0]: "API.Example.com" is read as "api.example.com"`,
				`warning: spec.egress[0].destination.domains[1]: duplicate: "api.example.com" is there twice`,
				`warning: spec.egress[0].destination.domains[2]: "straße.example" is read as "xn--strae-oqa.example"`,
			},
		},
		{
			name: "deny and pass deny everything",
			in:   egress(`{action: Deny, destination: {domains: [a.example]}}`, `{action: Pass, protocol: TCP, destination: {domains: [a.example]}}`),
			want: head("egress") + "egress 0 Deny\negress 1 Deny",
			problems: []string{
				`spec.egress[0].destination.domains: needs action Allow or Log, the action is Deny: ` + late,
				`spec.egress[1].destination.domains: needs action Allow or Log, the action is Pass: ` + late,
			},
		},
		{
			name: "one name that cannot be read closes the rule",
			in:   egress(`{action: Allow, destination: {domains: [a.example, 'b*.example']}}`, `{action: Log, destination: {domains: ['*']}}`),
			want: head("egress") + "egress 0 Allow never\negress 1 Log never",
			problems: []string{
				`spec.egress[0].destination.domains[1]: "b*.example" is no DNS name: * stands for whole labels only`,
				`spec.egress[1].destination.domains[0]: "*" is no DNS name: the last label cannot be *`,
			},
		},
		{
			name:     "too many close the rule",
			in:       egress(`{action: Allow, destination: {domains: [` + strings.Repeat("a.example, ", 50) + `b.example]}}`),
			want:     head("egress") + "egress 0 Allow never",
			problems: []string{`spec.egress[0].destination.domains: too many: has 51 names, must have at most 50`},
		},
		{
			name: "beside other peers",
			in:   egress(`{action: Allow, destination: {domains: [a.example], nets: [10.0.0.0/8], selector: a == 'b', namespaceSelector: a == 'b', serviceAccounts: {names: [a]}}}`),
			want: head("egress") + "egress 0 Allow never",
			problems: []string{
				`spec.egress[0].destination.nets: cannot be combined with domains: want one or the other`,
				`spec.egress[0].destination.selector: cannot be combined with domains: want one or the other`,
				`spec.egress[0].destination.namespaceSelector: cannot be combined with domains: want one or the other`,
				`spec.egress[0].destination.serviceAccounts: cannot be combined with domains: want one or the other`,
			},
		},
		{
			name:     "beside a Service",
			in:       egress(`{action: Allow, destination: {domains: [a.example], services: {name: a, namespace: b}}}`),
			want:     head("egress") + "egress 0 Allow never",
			problems: []string{`spec.egress[0].destination.services: cannot be combined with domains: want one or the other`},
		},
		{
			name:     "of the sender",
			in:       egress(`{action: Allow, source: {domains: [a.example]}}`),
			want:     head("egress") + "egress 0 Allow never",
			problems: []string{`spec.egress[0].source.domains: has no meaning here: want it in the destination of an egress rule`},
		},
		{
			name:     "before connection tracking",
			in:       `spec: {doNotTrack: true, applyOnForward: true, egress: [{action: Allow, destination: {domains: [a.example]}}]}`,
			want:     "default +Inf egress doNotTrack applyOnForward\nselects :kind == 'hostendpoint'\negress 0 Allow never",
			problems: []string{`spec.egress[0].destination.domains: cannot be combined with doNotTrack and preDNAT: DNS answers are learnt as replies of tracked connections`},
		},
	})
}

func TestDomainNames(t *testing.T) {
	const egress = "kube-admin 0 egress\nselects :kind == 'pod'\n"
	spec := func(rules string) string {
		return "spec:\n  tier: Admin\n  subject: {namespaces: {}}\n  egress:\n" + rules
	}
	runExamples(t, model.KindClusterNetworkPolicy, []example{
		{
			name: "accepted",
			in:   spec(`  - {action: Accept, to: [{domainNames: ['*.a.example', b.example.]}, {networks: [10.0.0.0/8]}], protocols: [{tcp: {destinationPort: {number: 443}}}]}`),
			want: egress + "egress 0 Allow TCP to[domains *.a.example,b.example; ports 443]\negress 0 Allow TCP to[nets 10.0.0.0/8; ports 443]",
			problems: []string{
				`warning: spec.egress[0].to[0].domainNames[1]: "b.example." is read as "b.example"`,
			},
		},
		{
			name: "denied and passed: everything is denied",
			in:   spec("  - {action: Deny, to: [{domainNames: [a.example]}, {networks: [10.0.0.0/8]}]}\n  - {action: Pass, to: [{domainNames: [a.example]}]}"),
			want: egress + "egress 0 Deny\negress 1 Deny",
			problems: []string{
				`spec.egress[0].to[0].domainNames: needs action Accept, the action is Deny: a name that is learnt too late would let through what the rule should deny; the rule denies everything`,
				`spec.egress[1].to[0].domainNames: needs action Accept, the action is Pass: a name that is learnt too late would let through what the rule should deny; the rule denies everything`,
			},
		},
		{
			name: "what is none",
			in: spec("  - {action: Accept, to: [{domainNames: []}]}\n  - {action: Accept, to: [{domainNames: ['a.*.example']}]}\n" +
				"  - {action: Accept, to: [{domainNames: [a.example], networks: [10.0.0.0/8]}]}\n  - {action: Accept, to: [{domainNames: [a.example]}], protocols: [{destinationNamedPort: web}]}"),
			want: egress + "egress 0 Allow never\negress 1 Allow never\negress 2 Allow never\negress 3 Allow never",
			problems: []string{
				`spec.egress[0].to[0].domainNames: is empty: want at least one name`,
				`spec.egress[1].to[0].domainNames: "a.*.example" is not valid here: want * as the first label only`,
				`spec.egress[2].to[0]: has 2 kinds of peers: want one of namespaces, pods, nodes, networks and domainNames`,
				`spec.egress[3].protocols[0].destinationNamedPort: "web" cannot be combined with a peer of kind domainNames, which has no named ports: want a number, or a separate rule`,
			},
		},
	})
}

func TestDNSSettings(t *testing.T) {
	const meta = "metadata: {name: default}\n"
	defaults := describeSettings(model.DefaultSettings())
	runExamples(t, model.KindTierwall, []example{
		{name: "the defaults", in: meta + `spec: {dns: {extraTTL: 120s, minTTL: 10s, maxTTL: 1h, maxAddressesPerName: 1000, maxNamesPerWildcard: 1024, maxNames: 10000, hold: Always, refuseInternalAddresses: true}}`, want: defaults},
		{
			name: "all fields",
			in:   meta + `spec: {dns: {trustedServers: [10.0.0.53, '::ffff:10.0.0.1', 10.0.0.53], extraTTL: 0s, minTTL: 1s, maxTTL: 24h, maxAddressesPerName: 1, maxNamesPerWildcard: 2, maxNames: 3, hold: Never, refuseInternalAddresses: false}}`,
			want: defaults + ` dns [10.0.0.1 10.0.0.53] 0s 1s 24h0m0s 1 2 3 true true`,
		},
		{name: "no servers", in: meta + `spec: {dns: {trustedServers: []}}`, want: defaults + ` dns [] 2m0s 10s 1h0m0s 1000 1024 10000 false false`},
		{
			name: "what cannot be read",
			in:   meta + `spec: {dns: {trustedServers: [dns.example, 'fe80::1%eth0'], extraTTL: -1s, minTTL: 25h, maxTTL: 0s, maxAddressesPerName: 0, maxNamesPerWildcard: 65536, maxNames: -1, hold: Sometimes}}`,
			want: defaults + ` dns [] 2m0s 10s 1h0m0s 1000 1024 10000 false false`,
			problems: []string{
				`spec.dns.trustedServers[0]: "dns.example" is no IP address; it is left out`,
				`spec.dns.trustedServers[1]: "fe80::1%eth0" is no IP address; it is left out`,
				`spec.dns.extraTTL: -1s is out of range: want 0s to 24h0m0s`,
				`spec.dns.minTTL: 25h0m0s is out of range: want 0s to 24h0m0s`,
				`spec.dns.maxTTL: 0s is out of range: want 1s to 24h0m0s`,
				`spec.dns.maxAddressesPerName: 0 is out of range: want 1-10000`,
				`spec.dns.maxNamesPerWildcard: 65536 is out of range: want 1-65535`,
				`spec.dns.maxNames: -1 is out of range: want 1-1000000`,
				`spec.dns.hold: unsupported value "Sometimes": want Always or Never; it is read as Always`,
			},
		},
		{
			name:     "a shortest time that is longer than the longest",
			in:       meta + `spec: {dns: {minTTL: 2h}}`,
			want:     defaults + ` dns [] 2m0s 1h0m0s 1h0m0s 1000 1024 10000 false false`,
			problems: []string{`spec.dns.minTTL: 2h0m0s is longer than maxTTL, 1h0m0s; it is read as that`},
		},
	})
}
