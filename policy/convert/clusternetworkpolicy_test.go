package convert

import (
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestClusterNetworkPolicy(t *testing.T) {
	const (
		all     = "selects :kind == 'pod'\n"
		none    = "kube-admin 0\n" + all
		ingress = "kube-admin 0 ingress\n" + all
		egress  = "kube-admin 0 egress\n" + all
		both    = "kube-admin 0 ingress egress\n" + all
		want15  = `want at most 15 characters a-z, 0-9 or '-', at least one of them a letter, '-' neither first, last nor doubled`
	)
	// The spec that most examples go on from.
	spec := func(rest string) string { return "spec:\n  tier: Admin\n  subject: {namespaces: {}}\n" + rest }
	runExamples(t, model.KindClusterNetworkPolicy, []example{
		{name: "without rules it governs nothing", in: spec(``), want: none},
		{
			name: "baseline, priority, generation",
			in: `
metadata: {name: x, generation: 2}
spec: {tier: Baseline, priority: 1000, subject: {namespaces: {matchLabels: {team: a}}}}`,
			want: "kube-baseline 1000 generation 2\nselects :kind == 'pod' && ns:team == 'a'",
		},
		{
			name: "subject pods",
			in: `
spec:
  tier: Admin
  subject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}`,
			want: "kube-admin 0\nselects :kind == 'pod' && app == 'web' && ns:team == 'a'",
		},

		{
			name: "a rule's name that would break lines and steer terminals",
			in:   spec(`  ingress: [{name: "a\n\e[31mb", action: Deny, from: [{namespaces: {}}]}]`),
			want: ingress + `ingress 0 a\n\x1b[31mb Deny from[:kind == 'pod']`,
		},

		// Policies that fail closed as a whole.
		{
			name: "tier that is none",
			in: `
spec:
  tier: admin
  subject: {namespaces: {}}
  ingress: [{action: Accept, from: [{namespaces: {}}, {namespaces: {matchLabels: {a: b}}}]}, {action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}]`,
			want: ingress + `
ingress 0 Allow never
ingress 1 Deny
ingress 2 Deny from[:kind == 'pod']`,
			problems: []string{`spec.tier: unsupported value "admin": want Admin or Baseline; the policy is read as one in Admin, and allows and passes nothing`},
		},
		{
			name:     "no subject",
			in:       `spec: {tier: Admin, subject: {}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}`,
			want:     egress + "egress 0 Allow never",
			problems: []string{`spec.subject: has neither namespaces nor pods: want one of them; the policy selects all pods`},
		},
		{
			name: "two subjects",
			in:   `spec: {tier: Admin, subject: {namespaces: {matchLabels: {a: b}}, pods: {namespaceSelector: {}, podSelector: {}}}}`,
			want: none, problems: []string{`spec.subject: has both namespaces and pods: want one of them; the policy selects all pods`},
		},
		{
			name: "invalid subject leaves its valid part",
			in: `
spec:
  tier: Admin
  subject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchExpressions: [{key: a, operator: Near}]}}}
  ingress: [{action: Pass, from: [{namespaces: {}}]}]`,
			want:     "kube-admin 0 ingress\nselects :kind == 'pod' && ns:team == 'a'\ningress 0 Deny",
			problems: []string{`spec.subject.pods.podSelector.matchExpressions[0].operator: unsupported value "Near": want In, NotIn, Exists or DoesNotExist`},
		},
		{
			name:     "invalid subject namespaces",
			in:       `spec: {tier: Admin, subject: {namespaces: {matchLabels: {'': b}}}}`,
			want:     none,
			problems: []string{`spec.subject.namespaces.matchLabels[""]: invalid label key ""`},
		},
		{
			name:     "priority out of range",
			in:       spec("  priority: 1001"),
			want:     "kube-admin 1001\n" + all,
			problems: []string{`spec.priority: 1001 is out of range: want 0-1000`},
		},
		{
			name:     "negative priority",
			in:       spec("  priority: -1"),
			want:     "kube-admin -1\n" + all,
			problems: []string{`spec.priority: -1 is out of range: want 0-1000`},
		},
		{
			name: "the annotation of native policies",
			in: `
metadata: {name: x, annotations: {tierwall.io/enforcement: Audit}}
` + spec(""),
			want:     none,
			problems: []string{`warning: metadata.annotations[tierwall.io/enforcement]: has no effect on this kind: the policy is enforced`},
		},

		// Peers.
		{
			name: "ingress peers",
			in: spec(`
  ingress:
  - name: first
    action: Accept
    from: [{namespaces: {matchLabels: {team: a}}}, {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}]
  - {action: Deny, from: [{namespaces: {}}]}`),
			want: ingress + `
ingress 0 first Allow from[:kind == 'pod' && ns:team == 'a']
ingress 0 first Allow from[:kind == 'pod' && app == 'web']
ingress 1 Deny from[:kind == 'pod']`,
		},
		{
			name: "egress peers",
			in: spec(`
  egress:
  - {action: Pass, to: [{namespaces: {}}, {nodes: {matchLabels: {role: edge}}}, {nodes: {}}, {networks: [10.0.0.0/8, 'fd00::/8', 192.0.2.0/24, '2001:db8::/32']}, {networks: ['fd00::/8']}]}`),
			want: egress + `
egress 0 Pass to[:kind == 'pod']
egress 0 Pass to[:kind == 'node' && role == 'edge']
egress 0 Pass to[:kind == 'node']
egress 0 Pass to[nets 10.0.0.0/8,192.0.2.0/24]
egress 0 Pass to[nets fd00::/8,2001:db8::/32]
egress 0 Pass to[nets fd00::/8]`,
		},
		{
			name: "both directions",
			in: spec(`
  ingress: [{action: Pass, from: [{namespaces: {}}]}]
  egress: [{action: Pass, to: [{namespaces: {}}]}]`),
			want: both + "ingress 0 Pass from[:kind == 'pod']\negress 0 Pass to[:kind == 'pod']",
		},
		{
			name: "peers that are none, for each action",
			in: spec(`
  ingress:
  - {name: a, action: Accept, from: [{namespaces: {}}, {}]}
  - {name: b, action: Deny, from: [{namespaces: {matchLabels: {a: b}}}, {}]}
  - {name: c, action: Pass, from: [{}]}
  - {action: Accept, from: []}
  - {action: Accept, from: [{namespaces: {}, pods: {namespaceSelector: {}, podSelector: {}}}]}
  egress:
  - {action: Accept, to: [{}]}
  - {action: Accept, to: [{domainNames: [example.com]}]}
  - {action: Deny, to: [{domainNames: [example.com]}]}
  - {action: Accept, to: [{networks: []}]}
  - {action: Accept, to: [{networks: [10.0.0.0/8, 10.0.0.1]}]}
  - {action: Accept, to: [{networks: [10.0.0.0/8], nodes: {}}]}
  - {action: Accept, to: [{nodes: {matchExpressions: [{key: a, operator: In}]}}]}
  - {action: Accept, to: [{pods: {namespaceSelector: {matchLabels: {a: '-'}}, podSelector: {}}}]}`),
			want: both + `
ingress 0 a Allow never
ingress 1 b Deny
ingress 2 c Deny
ingress 3 Allow never
ingress 4 Allow never
egress 0 Allow never
egress 1 Allow never
egress 2 Deny
egress 3 Allow never
egress 4 Allow never
egress 5 Allow never
egress 6 Allow never
egress 7 Allow never`,
			problems: []string{
				`spec.ingress[0].from[1]: is empty or of an unknown kind: want namespaces or pods`,
				`spec.ingress[1].from[1]: is empty or of an unknown kind: want namespaces or pods`,
				`spec.ingress[2].from[0]: is empty or of an unknown kind: want namespaces or pods`,
				`spec.ingress[3].from: is empty: want at least one peer; an empty namespaces selector is all pods`,
				`spec.ingress[4].from[0]: has 2 kinds of peers: want namespaces or pods`,
				`spec.egress[0].to[0]: is empty or of an unknown kind: want one of namespaces, pods, nodes and networks`,
				`spec.egress[1].to[0].domainNames: is not supported: want addresses in networks`,
				`spec.egress[2].to[0].domainNames: is not supported: want addresses in networks`,
				`spec.egress[3].to[0].networks: is empty: want at least one address block`,
				`spec.egress[4].to[0].networks[1]: "10.0.0.1" is an address, not an address block: want CIDR form, here 10.0.0.1/32`,
				`spec.egress[5].to[0]: has 2 kinds of peers: want one of namespaces, pods, nodes and networks`,
				`spec.egress[6].to[0].nodes.matchExpressions[0].values: is empty: operator In requires at least one value`,
				`spec.egress[7].to[0].pods.namespaceSelector.matchLabels[a]: invalid label value "-": want at most 63 characters a-z, A-Z, 0-9, '-', '_' or '.', first and last a letter or digit`,
			},
		},
		{
			name: "actions that are none",
			in: spec(`
  ingress: [{action: Allow, from: [{namespaces: {matchLabels: {a: b}}}]}]
  egress: [{action: '', to: [{namespaces: {}}]}]`),
			want: both + "ingress 0 Deny\negress 0 Deny",
			problems: []string{
				`spec.ingress[0].action: unsupported value "Allow": want Accept, Deny or Pass`,
				`spec.egress[0].action: unsupported value "": want Accept, Deny or Pass`,
			},
		},

		// Protocols.
		{
			name: "protocols of each kind",
			in: spec(`
  ingress:
  - action: Accept
    from: [{namespaces: {}}]
    protocols:
    - {tcp: {destinationPort: {number: 80}}}
    - {udp: {destinationPort: {range: {start: 5000, end: 6000}}}}
    - {sctp: {destinationPort: {number: 9}}}
    - {tcp: {destinationPort: {number: 443}}}`),
			want: ingress + `
ingress 0 Allow TCP from[:kind == 'pod'] to[ports 80,443]
ingress 0 Allow UDP from[:kind == 'pod'] to[ports 5000:6000]
ingress 0 Allow SCTP from[:kind == 'pod'] to[ports 9]`,
		},
		{
			name: "a named port has the protocol of its container",
			in: spec(`
  egress:
  - action: Deny
    to: [{namespaces: {}}]
    protocols: [{udp: {destinationPort: {number: 53}}}, {destinationNamedPort: http}, {destinationNamedPort: http}]`),
			want: egress + `
egress 0 Deny UDP to[:kind == 'pod'; ports 53,http]
egress 0 Deny TCP to[:kind == 'pod'; ports http]
egress 0 Deny SCTP to[:kind == 'pod'; ports http]`,
		},
		{
			name: "odd protocols",
			in: spec(`
  ingress:
  - action: Accept
    from: [{namespaces: {}}]
    protocols: [{tcp: {destinationPort: {number: 80}}}, {tcp: {destinationPort: {range: {start: 80, end: 80}}}}]`),
			want: ingress + `ingress 0 Allow TCP from[:kind == 'pod'] to[ports 80]`,
			problems: []string{
				`warning: spec.ingress[0].protocols[1].tcp.destinationPort.range.end: is equal to start: want number for a single port; an API server refuses this`,
				`warning: spec.ingress[0].protocols[1]: duplicate value`,
			},
		},
		{
			name: "protocols that are none",
			in: spec(`
  ingress:
  - {action: Accept, from: [{namespaces: {}}], protocols: []}
  - {action: Deny, from: [{namespaces: {}}], protocols: [{}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}, udp: {destinationPort: {number: 80}}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{udp: {destinationPort: {}}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{sctp: {destinationPort: {number: 1, range: {start: 1, end: 2}}}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 70000}}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 0, end: 65536}}}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 2, end: 1}}}}]}
  - {action: Accept, from: [{namespaces: {}}], protocols: [{destinationNamedPort: HTTP}]}`),
			want: ingress + `
ingress 0 Allow never
ingress 1 Deny
ingress 2 Allow never
ingress 3 Allow never
ingress 4 Allow never
ingress 5 Allow never
ingress 6 Allow never
ingress 7 Allow never
ingress 8 Allow never
ingress 9 Allow never`,
			problems: []string{
				`spec.ingress[0].protocols: is empty: want at least one entry, or omit the field for all protocols`,
				`spec.ingress[1].protocols[0]: is empty or of an unknown kind: want one of tcp, udp, sctp and destinationNamedPort`,
				`spec.ingress[2].protocols[0]: has more than one protocol: want one of tcp, udp, sctp and destinationNamedPort`,
				`spec.ingress[3].protocols[0].tcp.destinationPort: is missing: want a port number or range`,
				`spec.ingress[4].protocols[0].udp.destinationPort: has neither number nor range: want one of them, with ports 1-65535`,
				`spec.ingress[5].protocols[0].sctp.destinationPort: has both number and range: want one of them, with ports 1-65535`,
				`spec.ingress[6].protocols[0].tcp.destinationPort.number: port 70000 is out of range: want 1-65535`,
				`spec.ingress[7].protocols[0].tcp.destinationPort.range.start: port 0 is out of range: want 1-65535`,
				`spec.ingress[7].protocols[0].tcp.destinationPort.range.end: port 65536 is out of range: want 1-65535`,
				`spec.ingress[8].protocols[0].tcp.destinationPort.range.end: 1 is below start 2: want an ascending range`,
				`spec.ingress[9].protocols[0].destinationNamedPort: invalid value "HTTP": ` + want15,
			},
		},
		{
			name: "named ports of peers that have none",
			in: spec(`
  egress:
  - {action: Accept, to: [{namespaces: {}}, {networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]}
  - {action: Accept, to: [{nodes: {}}], protocols: [{destinationNamedPort: http}]}`),
			want: egress + "egress 0 Allow never\negress 1 Allow never",
			problems: []string{
				`spec.egress[0].protocols[0].destinationNamedPort: "http" cannot be combined with a peer of kind networks, which has no named ports: want a number, or a separate rule`,
				`spec.egress[1].protocols[0].destinationNamedPort: "http" cannot be combined with a peer of kind nodes, which has no named ports: want a number, or a separate rule`,
			},
		},
		{
			name: "too long",
			in: spec(`
  ingress: [{name: ` + strings.Repeat("n", 101) + `, action: Deny, from: [` + strings.Repeat("{namespaces: {}},", 26) + `]}]`),
			want: ingress + strings.Repeat("ingress 0 "+strings.Repeat("n", 101)+" Deny from[:kind == 'pod']\n", 26),
			problems: []string{
				`warning: spec.ingress[0].name: has 101 characters; an API server accepts at most 100`,
				`warning: spec.ingress[0].from: has 26 entries; an API server accepts at most 25`,
			},
		},
	})
}
