package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestNativePolicy(t *testing.T) {
	const (
		all     = "selects :kind == 'pod' && tierwall.io/namespace == 'shop'\n"
		ingress = "default 1000 ingress\n" + all
		egress  = "default 1000 egress\n" + all
		both    = "default 1000 ingress egress\n" + all
	)
	runExamples(t, model.KindNetworkPolicy, []example{
		{name: "isolates for ingress", in: `spec: {podSelector: {}}`, want: ingress},
		{
			name: "selects pods by label",
			in: `
metadata: {name: web, namespace: shop, generation: 5}
spec:
  podSelector:
    matchLabels: {app: web, tier: front}
    matchExpressions: [{key: env, operator: NotIn, values: [dev]}]`,
			want: `
default 1000 ingress generation 5
selects :kind == 'pod' && app == 'web' && env != 'dev' && tier == 'front' && tierwall.io/namespace == 'shop'`,
		},

		// Directions.
		{name: "no types, egress rules", in: `spec: {egress: [{}]}`, want: both + "egress 0 Allow"},
		{name: "empty types", in: `spec: {policyTypes: []}`, want: ingress},
		{name: "types Egress", in: `spec: {policyTypes: [Egress]}`, want: egress},
		{name: "types both", in: `spec: {policyTypes: [Egress, Ingress]}`, want: both},
		{
			name: "rules that the types leave out",
			in:   `spec: {policyTypes: [Egress], ingress: [{}], egress: [{}]}`,
			want: egress + "egress 0 Allow",
			problems: []string{
				`warning: spec.ingress: has no effect: policyTypes does not have Ingress`,
			},
		},
		{
			name:     "egress rules that the types leave out",
			in:       `spec: {policyTypes: [Ingress, Ingress], ingress: [{}], egress: [{}]}`,
			want:     ingress + "ingress 0 Allow",
			problems: []string{`warning: spec.policyTypes[1]: duplicate value "Ingress"`, `warning: spec.egress: has no effect: policyTypes does not have Egress`},
		},
		{
			name:     "types that are none",
			in:       `spec: {policyTypes: [egress]}`,
			want:     both,
			problems: []string{`spec.policyTypes[0]: unsupported value "egress": want Ingress or Egress; the policy governs both directions`},
		},

		// Enforcement.
		{name: "audited", in: `metadata: {name: x, namespace: shop, annotations: {tierwall.io/enforcement: Audit}}`, want: "default 1000 ingress audit\n" + all},
		{name: "enforced", in: `metadata: {name: x, namespace: shop, annotations: {tierwall.io/enforcement: Enforced}}`, want: ingress},
		{
			name: "enforcement that is none",
			in: `
metadata: {name: x, namespace: shop, annotations: {tierwall.io/enforcement: audit}}
spec: {ingress: [{}]}`,
			want:     ingress + "ingress 0 Allow",
			problems: []string{`metadata.annotations[tierwall.io/enforcement]: unsupported value "audit": want Enforced or Audit; the policy is enforced`},
		},

		// Peers.
		{
			name: "any peer",
			in:   `spec: {policyTypes: [Ingress, Egress], ingress: [{}, {from: []}], egress: [{to: [], ports: []}]}`,
			want: both + "ingress 0 Allow\ningress 1 Allow\negress 0 Allow",
		},
		{
			name: "pods of the own namespace",
			in:   `spec: {ingress: [{from: [{podSelector: {matchLabels: {app: db}}}, {podSelector: {}}]}]}`,
			want: ingress + `
ingress 0 Allow from[:kind == 'pod' && app == 'db' && tierwall.io/namespace == 'shop']
ingress 0 Allow from[:kind == 'pod' && tierwall.io/namespace == 'shop']`,
		},
		{
			name: "pods of other namespaces",
			in: `
spec:
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {}
    - namespaceSelector: {matchLabels: {team: a}}
    - {namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [lab]}]}, podSelector: {matchLabels: {app: db}}}`,
			want: egress + `
egress 0 Allow to[:kind == 'pod']
egress 0 Allow to[:kind == 'pod' && ns:team == 'a']
egress 0 Allow to[:kind == 'pod' && app == 'db' && ns:kubernetes.io/metadata.name == 'lab']`,
		},
		{
			name: "address blocks",
			in: `
spec:
  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 192.168.0.0/16]}}, {ipBlock: {cidr: 'fd00::/8', except: ['fd01::/16']}}]
  - from: [{ipBlock: {cidr: 203.0.113.7/32}}]`,
			want: ingress + `
ingress 0 Allow from[nets 0.0.0.0/0; notNets 10.0.0.0/8,192.168.0.0/16]
ingress 0 Allow from[nets fd00::/8; notNets fd01::/16]
ingress 1 Allow from[nets 203.0.113.7/32]`,
		},
		{
			name: "address blocks with host bits",
			in:   `spec: {ingress: [{from: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.2.3.4/16, 10.2.0.0/16]}}]}]}`,
			want: ingress + `ingress 0 Allow from[nets 10.0.0.0/8; notNets 10.2.0.0/16]`,
			problems: []string{
				`warning: spec.ingress[0].from[0].ipBlock.cidr: "10.1.2.3/8" has bits beyond its prefix length: it is read as 10.0.0.0/8`,
				`warning: spec.ingress[0].from[0].ipBlock.except[0]: "10.2.3.4/16" has bits beyond its prefix length: it is read as 10.2.0.0/16`,
				`warning: spec.ingress[0].from[0].ipBlock.except[1]: duplicate value 10.2.0.0/16`,
			},
		},
		{
			name: "peers that are none, each in a rule that fails closed",
			in: `
spec:
  ingress:
  - from: [{podSelector: {}}, {}]
  - from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]
  - from: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]
  - from: [{ipBlock: {}}]
  - from: [{ipBlock: {cidr: 10.0.0.0}}, {ipBlock: {cidr: 10.0.0.0/8}}]
  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [nonsense]}}]
  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]
  - from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]
  - from: [{ipBlock: {cidr: 0.0.0.0/0, except: ['fd00::/8']}}]
  - from: [{podSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}]
  - from: [{namespaceSelector: {matchLabels: {'a b': c}}}]
  - from: [{podSelector: {}}]`,
			want: ingress + `
ingress 0 Allow never
ingress 1 Allow never
ingress 2 Allow never
ingress 3 Allow never
ingress 4 Allow never
ingress 5 Allow never
ingress 6 Allow never
ingress 7 Allow never
ingress 8 Allow never
ingress 9 Allow never
ingress 10 Allow never
ingress 11 Allow from[:kind == 'pod' && tierwall.io/namespace == 'shop']`,
			problems: []string{
				`spec.ingress[0].from[1]: is empty: want podSelector, namespaceSelector or ipBlock`,
				`spec.ingress[1].from[0]: ipBlock cannot be combined with a selector: want one or the other`,
				`spec.ingress[2].from[0]: ipBlock cannot be combined with a selector: want one or the other`,
				`spec.ingress[3].from[0].ipBlock.cidr: is missing: want an address block`,
				`spec.ingress[4].from[0].ipBlock.cidr: "10.0.0.0" is an address, not an address block: want CIDR form, here 10.0.0.0/32`,
				`spec.ingress[5].from[0].ipBlock.except[0]: invalid value "nonsense": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
				`spec.ingress[6].from[0].ipBlock.except: 10.0.0.0/8 is not a part of 10.0.0.0/8: want smaller blocks within cidr`,
				`spec.ingress[7].from[0].ipBlock.except: 11.0.0.0/16 is not a part of 10.0.0.0/8: want smaller blocks within cidr`,
				`spec.ingress[8].from[0].ipBlock.except: fd00::/8 is not a part of 0.0.0.0/0: want smaller blocks within cidr`,
				`spec.ingress[9].from[0].podSelector.matchExpressions[0].operator: unsupported value "Gt": want In, NotIn, Exists or DoesNotExist`,
				`spec.ingress[10].from[0].namespaceSelector.matchLabels["a b"]: invalid label key "a b"`,
			},
		},
		{
			name: "an invalid podSelector allows nothing to the whole namespace",
			in: `
spec:
  podSelector: {matchLabels: {app: web}, matchExpressions: [{key: a, operator: In}]}
  ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 80}, {port: 53, protocol: UDP}]}, {}]`,
			want:     ingress + "ingress 0 Allow never\ningress 1 Allow never",
			problems: []string{`spec.podSelector.matchExpressions[0].values: is empty: operator In requires at least one value`},
		},

		// Ports.
		{
			name: "ports of each protocol are one rule for each peer",
			in: `
spec:
  ingress:
  - from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}]
    ports: [{port: 80}, {port: 53, protocol: UDP}, {port: http}, {port: 8080, endPort: 8090}, {protocol: SCTP}]`,
			want: ingress + `
ingress 0 Allow TCP from[:kind == 'pod' && tierwall.io/namespace == 'shop'] to[ports 80,http,8080:8090]
ingress 0 Allow UDP from[:kind == 'pod' && tierwall.io/namespace == 'shop'] to[ports 53]
ingress 0 Allow SCTP from[:kind == 'pod' && tierwall.io/namespace == 'shop']
ingress 0 Allow TCP from[nets 10.0.0.0/8] to[ports 80,http,8080:8090]
ingress 0 Allow UDP from[nets 10.0.0.0/8] to[ports 53]
ingress 0 Allow SCTP from[nets 10.0.0.0/8]`,
		},
		{
			name: "ports of egress rules",
			in:   `spec: {policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 1, endPort: 1}, {port: 65535}]}]}`,
			want: egress + `
egress 0 Allow UDP to[ports 53]
egress 1 Allow TCP to[nets 10.0.0.0/8; ports 1,65535]`,
		},
		{
			name: "an entry without a port is every port of its protocol",
			in:   `spec: {ingress: [{ports: [{}]}, {ports: [{port: 80}, {protocol: TCP}, {port: 81}]}, {ports: [{protocol: UDP}, {port: 80}]}]}`,
			want: ingress + `
ingress 0 Allow TCP
ingress 1 Allow TCP
ingress 2 Allow UDP
ingress 2 Allow TCP to[ports 80]`,
		},
		{
			name:     "ports twice",
			in:       `spec: {ingress: [{ports: [{port: 80}, {port: 80, protocol: TCP}]}]}`,
			want:     ingress + `ingress 0 Allow TCP to[ports 80]`,
			problems: []string{`warning: spec.ingress[0].ports[1]: duplicate value`},
		},
		{
			name: "ports that are none",
			in: `
spec:
  ingress:
  - ports: [{port: 0}, {port: 70000}, {port: 80}]
  - ports: [{port: 80, endPort: 70000}]
  - ports: [{port: 80, endPort: 79}]
  - ports: [{endPort: 80}]
  - ports: [{port: http, endPort: 80}]
  - ports: [{port: '80'}]
  - ports: [{port: HTTP}]
  - ports: [{port: 80, protocol: ICMP}]
  - ports: [{port: 80, protocol: tcp}]
  - ports: [{port: 0, endPort: 0}]
  - ports: [{port: ''}]`,
			want: ingress + `
ingress 0 Allow never
ingress 1 Allow never
ingress 2 Allow never
ingress 3 Allow never
ingress 4 Allow never
ingress 5 Allow never
ingress 6 Allow never
ingress 7 Allow never
ingress 8 Allow never
ingress 9 Allow never
ingress 10 Allow never`,
			problems: []string{
				`spec.ingress[0].ports[0].port: port 0 is out of range: want 1-65535`,
				`spec.ingress[0].ports[1].port: port 70000 is out of range: want 1-65535`,
				`spec.ingress[1].ports[0].endPort: port 70000 is out of range: want 1-65535`,
				`spec.ingress[2].ports[0].endPort: 79 is below port 80: want an ascending range`,
				`spec.ingress[3].ports[0].endPort: 80 requires port to be set`,
				`spec.ingress[4].ports[0].endPort: 80 requires port to be a number, not the name "http"`,
				`spec.ingress[5].ports[0].port: invalid value "80": want at most 15 characters a-z, 0-9 or '-', at least one of them a letter, '-' neither first, last nor doubled`,
				`spec.ingress[6].ports[0].port: invalid value "HTTP": want at most 15 characters a-z, 0-9 or '-', at least one of them a letter, '-' neither first, last nor doubled`,
				`spec.ingress[7].ports[0].protocol: unsupported protocol "ICMP": want TCP, UDP or SCTP`,
				`spec.ingress[8].ports[0].protocol: unsupported protocol "tcp": want TCP, UDP or SCTP`,
				`spec.ingress[9].ports[0].port: port 0 is out of range: want 1-65535`,
				`spec.ingress[9].ports[0].endPort: port 0 is out of range: want 1-65535`,
				`spec.ingress[10].ports[0].port: invalid value "": want at most 15 characters a-z, 0-9 or '-', at least one of them a letter, '-' neither first, last nor doubled`,
			},
		},
	})
}
