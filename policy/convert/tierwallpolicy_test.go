package convert

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

// head is the start of what describe says of a GlobalNetworkPolicy with an
// empty selector.
func head(variant string) string {
	return "default +Inf " + variant + "\nselects :kind in {'hostendpoint', 'pod'}\n"
}

func TestGlobalNetworkPolicy(t *testing.T) {
	const hosts = "selects :kind == 'hostendpoint'\n"
	runExamples(t, model.KindGlobalNetworkPolicy, []example{
		{name: "defaults", in: `spec: {}`, want: head("ingress")},
		{
			name: "all fields of the policy",
			in: `
metadata: {name: deny-all, generation: 7}
spec: {tier: security, order: 10.5, enforcement: Audit, types: [Egress, Ingress], applyOnForward: true, performanceHints: [AssumeNeededOnEveryNode]}`,
			want: `
security 10.5 ingress egress audit applyOnForward generation 7
selects :kind in {'hostendpoint', 'pod'}`,
		},
		{name: "enforced", in: `spec: {enforcement: Enforced}`, want: head("ingress")},

		// Directions.
		{name: "types empty", in: `spec: {types: []}`, want: head("ingress")},
		{name: "ingress rules", in: `spec: {ingress: [{action: Deny}]}`, want: head("ingress") + "ingress 0 Deny"},
		{name: "egress rules", in: `spec: {egress: [{action: Deny}]}`, want: head("egress") + "egress 0 Deny"},
		{
			name: "rules of both directions",
			in:   `spec: {ingress: [{action: Deny}], egress: [{action: Deny}, {action: Pass}]}`,
			want: head("ingress egress") + "ingress 0 Deny\negress 0 Deny\negress 1 Pass",
		},
		{
			name: "rules that the types leave out",
			in:   `spec: {types: [Egress], ingress: [{action: Allow}], egress: [{action: Allow}]}`,
			want: head("egress") + "egress 0 Allow",
			problems: []string{
				`warning: spec.ingress: has no effect: types does not have Ingress`,
			},
		},
		{
			name:     "egress rules that the types leave out",
			in:       `spec: {types: [Ingress], egress: [{action: Allow}]}`,
			want:     head("ingress"),
			problems: []string{`warning: spec.egress: has no effect: types does not have Egress`},
		},
		{
			name: "types that are none",
			in:   `spec: {types: [Ingress, ingress, Ingress], ingress: [{action: Allow}], egress: [{action: Allow}]}`,
			want: head("ingress egress") + "ingress 0 Allow\negress 0 Allow",
			problems: []string{
				`warning: spec.types[2]: duplicate value "Ingress"`,
				`spec.types[1]: unsupported value "ingress": want Ingress or Egress; the policy governs both directions`,
			},
		},

		// Policies that fail closed as a whole.
		{
			name: "invalid selector",
			in: `
spec:
  selector: app = 'web'
  ingress: [{action: Allow}, {action: Deny, protocol: TCP}, {action: Log}, {action: Pass, protocol: UDP}]
  egress: [{action: Allow, protocol: UDP}]`,
			want: head("ingress egress") + `
ingress 0 Allow never
ingress 1 Deny TCP
ingress 2 Log
ingress 3 Deny
egress 0 Allow never`,
			problems: []string{`spec.selector: invalid selector "app = 'web'": ` + parseError(t, "app = 'web'")},
		},
		{
			name:     "enforcement that is none",
			in:       `spec: {enforcement: audit, ingress: [{action: Allow}, {action: Deny, protocol: TCP}]}`,
			want:     head("ingress") + "ingress 0 Allow never\ningress 1 Deny TCP",
			problems: []string{`spec.enforcement: unsupported value "audit": want Enforced or Audit; the policy is enforced and allows nothing`},
		},
		{
			name:     "invalid tier",
			in:       `spec: {tier: My Tier, ingress: [{action: Allow}]}`,
			want:     "My Tier +Inf ingress\nselects :kind in {'hostendpoint', 'pod'}\ningress 0 Allow",
			problems: []string{`spec.tier: invalid value "My Tier": want the name of a tier`},
		},
		{
			name:     "a tier's name that would break lines",
			in:       `spec: {tier: "a\nb"}`,
			want:     "a\\nb +Inf ingress\nselects :kind in {'hostendpoint', 'pod'}",
			problems: []string{`spec.tier: invalid value "a\nb": want the name of a tier`},
		},
		{
			name:     "the annotation of native policies",
			in:       `metadata: {name: x, annotations: {tierwall.io/enforcement: Audit}}`,
			want:     head("ingress"),
			problems: []string{`warning: metadata.annotations[tierwall.io/enforcement]: has no effect on this kind: want spec.enforcement`},
		},

		// Variants for host endpoints.
		{
			name: "doNotTrack",
			in:   `spec: {doNotTrack: true, applyOnForward: true, ingress: [{action: Allow}], egress: [{action: Allow}]}`,
			want: "default +Inf ingress egress doNotTrack applyOnForward\n" + hosts + "ingress 0 Allow\negress 0 Allow",
		},
		{
			name: "preDNAT",
			in:   `spec: {preDNAT: true, applyOnForward: true, ingress: [{action: Deny}]}`,
			want: "default +Inf ingress preDNAT applyOnForward\n" + hosts + "ingress 0 Deny",
		},
		{
			name:     "doNotTrack without applyOnForward",
			in:       `spec: {doNotTrack: true, ingress: [{action: Allow}]}`,
			want:     "default +Inf ingress doNotTrack applyOnForward\n" + hosts + "ingress 0 Allow",
			problems: []string{`spec.applyOnForward: is missing: doNotTrack requires it, because such a policy also applies to forwarded traffic; it is read as set`},
		},
		{
			name:     "preDNAT without applyOnForward",
			in:       `spec: {preDNAT: true, ingress: [{action: Allow}]}`,
			want:     "default +Inf ingress preDNAT applyOnForward\n" + hosts + "ingress 0 Allow",
			problems: []string{`spec.applyOnForward: is missing: preDNAT requires it, because such a policy also applies to forwarded traffic; it is read as set`},
		},
		{
			name: "preDNAT with egress",
			in:   `spec: {preDNAT: true, applyOnForward: true, types: [Ingress, Egress], ingress: [{action: Deny}], egress: [{action: Allow}]}`,
			want: "default +Inf ingress preDNAT applyOnForward\n" + hosts + "ingress 0 Deny",
			problems: []string{
				`spec.types: has Egress: a preDNAT policy governs ingress only`,
				`spec.egress: is ignored: a preDNAT policy governs ingress only`,
			},
		},
		{
			name:     "preDNAT with egress rules alone",
			in:       `spec: {preDNAT: true, applyOnForward: true, egress: [{action: Allow}]}`,
			want:     "default +Inf ingress preDNAT applyOnForward\n" + hosts,
			problems: []string{`spec.egress: is ignored: a preDNAT policy governs ingress only`},
		},
		{
			name:     "both variants",
			in:       `spec: {doNotTrack: true, preDNAT: true, applyOnForward: true, ingress: [{action: Allow}], egress: [{action: Pass}]}`,
			want:     "default +Inf ingress egress doNotTrack applyOnForward\n" + hosts + "ingress 0 Allow never\negress 0 Deny",
			problems: []string{`spec.preDNAT: cannot be combined with doNotTrack: want one of the two; the policy applies before connection tracking and allows nothing`},
		},
		{
			name:     "doNotTrack with a namespaceSelector",
			in:       `spec: {doNotTrack: true, applyOnForward: true, namespaceSelector: a == 'b'}`,
			want:     "default +Inf ingress doNotTrack applyOnForward\nselects :kind == 'hostendpoint' && ns:a == 'b' && has(tierwall.io/namespace)",
			problems: []string{`warning: spec.namespaceSelector: selects pods only, and a doNotTrack or preDNAT policy applies to host endpoints only`},
		},
		{
			name:     "preDNAT with a serviceAccountSelector",
			in:       `spec: {preDNAT: true, applyOnForward: true, serviceAccountSelector: a == 'b'}`,
			want:     "default +Inf ingress preDNAT applyOnForward\nselects !all()",
			problems: []string{`warning: spec.serviceAccountSelector: selects pods only, and a doNotTrack or preDNAT policy applies to host endpoints only`},
		},
	})
}

func TestNetworkPolicy(t *testing.T) {
	const shop = "selects :kind == 'pod' && tierwall.io/namespace == 'shop'\n"
	runExamples(t, model.KindTierwallNetworkPolicy, []example{
		{name: "defaults", in: `spec: {}`, want: "default +Inf ingress\n" + shop},
		{
			name: "all fields of the policy",
			in: `
metadata: {name: x, namespace: shop, generation: 3}
spec:
  tier: app
  order: 1
  selector: app == 'web'
  serviceAccountSelector: team == 'a'
  types: [Ingress, Egress]
  enforcement: Audit
  performanceHints: [x]
  ingress: [{action: Allow}]
  egress: [{action: Deny}]`,
			want: `
app 1 ingress egress audit generation 3
selects :kind == 'pod' && app == 'web' && sa:team == 'a' && tierwall.io/namespace == 'shop' && has(tierwall.io/serviceaccount)
ingress 0 Allow
egress 0 Deny`,
		},
		{
			name: "peers are of the same namespace unless the rule says otherwise",
			in: `
spec:
  ingress:
  - {action: Allow, source: {selector: app == 'db'}}
  - {action: Allow, source: {notSelector: app == 'db'}}
  - {action: Allow, source: {selector: app == 'db', namespaceSelector: env == 'dev'}}
  - {action: Allow, source: {nets: [10.0.0.0/8]}, destination: {selector: app == 'web'}}`,
			want: "default +Inf ingress\n" + shop + `
ingress 0 Allow from[:kind != 'node' && app == 'db' && tierwall.io/namespace == 'shop']
ingress 1 Allow from[not (:kind != 'node' && app == 'db' && tierwall.io/namespace == 'shop')]
ingress 2 Allow from[:kind != 'node' && app == 'db' && ns:env == 'dev' && has(tierwall.io/namespace)]
ingress 3 Allow from[nets 10.0.0.0/8] to[:kind != 'node' && app == 'web' && tierwall.io/namespace == 'shop']`,
		},
		{
			name: "services of the same namespace unless the rule says otherwise",
			in: `
spec:
  ingress: [{action: Allow, source: {services: {name: web}}}]
  egress: [{action: Allow, destination: {services: {name: db, namespace: lab}}}]`,
			want: "default +Inf ingress egress\n" + shop + `
ingress 0 Allow from[service shop/web]
egress 0 Allow to[service lab/db; with ports]`,
		},
		{
			name:     "no namespace selects nothing",
			in:       `metadata: {name: x}`,
			want:     "default +Inf ingress\nselects :kind == 'pod' && tierwall.io/namespace == ''",
			problems: []string{`metadata.namespace: is missing`},
		},
	})
}

// ruleExample is a rule of a GlobalNetworkPolicy and what becomes of it; the
// action is Allow in the text and every action is tried.
type ruleExample struct {
	in       string // without the action
	want     string // of the match; "invalid" if the rule fails closed
	problems []string
}

func runRules(t *testing.T, direction string, examples []ruleExample) {
	t.Helper()
	closed := map[string]string{"Allow": "Allow never", "Log": "Log never", "Deny": "Deny", "Pass": "Deny"}
	for _, action := range []string{"Allow", "Deny", "Log", "Pass"} {
		var converted []example
		for i, ex := range examples {
			want := action
			if ex.want == "invalid" {
				want = closed[action]
			} else if ex.want != "" {
				// Alternatives of one rule stand on lines of their own.
				want += " " + strings.ReplaceAll(ex.want, " | ", "\n"+direction+" 0 "+action+" ")
			}
			e := example{
				name: fmt.Sprintf("%d %s", i, action),
				in:   fmt.Sprintf("spec: {%s: [{action: %s, %s}]}", direction, action, ex.in),
				want: head(direction) + direction + " 0 " + want,
			}
			for _, p := range ex.problems {
				path := "spec." + direction + "[0]."
				if w, ok := strings.CutPrefix(p, "warning: "); ok {
					e.problems = append(e.problems, "warning: "+path+w)
				} else {
					e.problems = append(e.problems, path+p)
				}
			}
			converted = append(converted, e)
		}
		runExamples(t, model.KindGlobalNetworkPolicy, converted)
	}
}

func TestRules(t *testing.T) {
	runRules(t, "ingress", []ruleExample{
		{in: ``, want: ``},
		{in: `metadata: {annotations: {why: because, a: b}}`, want: `annotated a=b,why=because`},

		// IP version.
		{in: `ipVersion: 4`, want: `ip 4`},
		{in: `ipVersion: 6`, want: `ip 6`},
		{in: `ipVersion: 5`, want: `invalid`, problems: []string{`ipVersion: unsupported value 5: want 4 or 6`}},
		{in: `ipVersion: 260`, want: `invalid`, problems: []string{`ipVersion: unsupported value 260: want 4 or 6`}},

		// Protocols.
		{in: `protocol: TCP`, want: `TCP`},
		{in: `protocol: udplite`, want: `UDPLite`},
		{in: `protocol: 47`, want: `47`},
		{in: `protocol: '6'`, want: `TCP`},
		{in: `notProtocol: ICMPv6`, want: `not ICMPv6`},
		{in: `protocol: 0`, want: `invalid`, problems: []string{`protocol: unsupported protocol "0": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255`}},
		{in: `protocol: 256`, want: `invalid`, problems: []string{`protocol: unsupported protocol "256": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255`}},
		{in: `notProtocol: QUIC`, want: `invalid`, problems: []string{`notProtocol: unsupported protocol "QUIC": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255`}},

		// ICMP.
		{in: `protocol: ICMP, icmp: {type: 8}`, want: `ICMP icmp 8`},
		{in: `protocol: ICMPv6, icmp: {type: 0, code: 255}, notICMP: {type: 254}`, want: `ICMPv6 icmp 0/255 not icmp 254`},
		{in: `protocol: 1, icmp: {}`, want: `ICMP`},
		{in: `protocol: ICMP, icmp: {type: 255}`, want: `invalid`, problems: []string{`icmp.type: invalid value 255: want 0-254`}},
		{in: `protocol: ICMP, icmp: {type: -1, code: 256}`, want: `invalid`, problems: []string{`icmp.type: invalid value -1: want 0-254`, `icmp.code: invalid value 256: want 0-255`}},
		{in: `protocol: ICMP, icmp: {code: 1}`, want: `invalid`, problems: []string{`icmp.code: requires a type, because the meaning of codes depends on it`}},
		{in: `protocol: ICMP, notICMP: {}`, want: `invalid`, problems: []string{`notICMP.type: is missing: notICMP requires the type that must not match`}},
		{in: `icmp: {type: 8}`, want: `invalid`, problems: []string{`icmp: requires protocol ICMP or ICMPv6, but the protocol is any`}},
		{in: `protocol: TCP, notICMP: {type: 8}`, want: `invalid`, problems: []string{`notICMP: requires protocol ICMP or ICMPv6, but the protocol is TCP`}},
		{in: `protocol: X, icmp: {type: 8}`, want: `invalid`, problems: []string{`protocol: unsupported protocol "X": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255`}},

		// Address blocks.
		{in: `source: {nets: [10.0.0.0/8, 192.0.2.1], notNets: [10.1.0.0/16]}`, want: `from[nets 10.0.0.0/8,192.0.2.1/32; notNets 10.1.0.0/16]`},
		{in: `source: {notNets: [10.0.0.0/8]}`, want: `ip 4 from[notNets 10.0.0.0/8]`},
		{in: `destination: {notNets: ['fd00::/8']}`, want: `ip 6 to[notNets fd00::/8]`},
		{in: `source: {nets: ['fd00::/8']}, destination: {notNets: ['2001:db8::/32']}`, want: `from[nets fd00::/8] to[notNets 2001:db8::/32]`},
		{in: `source: {nets: []}`, want: ``},
		{
			in: `source: {nets: [10.0.0.0/33, 10.0.0.0/8], notNets: [x]}`, want: `invalid`,
			problems: []string{
				`source.nets[0]: invalid value "10.0.0.0/33": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
				`source.notNets[0]: invalid value "x": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8`,
			},
		},
		{
			in: `source: {nets: [10.0.0.0/8, 'fd00::/8']}`, want: `invalid`,
			problems: []string{`source.nets: fd00::/8 is IPv6, but 10.0.0.0/8 of source.nets makes this a rule for IPv4: a rule applies to one IP version`},
		},
		{
			in: `source: {notNets: ['fd00::/8']}, destination: {notNets: [10.0.0.0/8]}`, want: `invalid`,
			problems: []string{`destination.notNets: 10.0.0.0/8 is IPv4, but fd00::/8 of source.notNets makes this a rule for IPv6: a rule applies to one IP version`},
		},
		{
			in: `ipVersion: 6, destination: {nets: [10.0.0.0/8]}`, want: `invalid`,
			problems: []string{`destination.nets: 10.0.0.0/8 is IPv4, but ipVersion makes this a rule for IPv6: a rule applies to one IP version`},
		},
		{
			in: `source: {nets: [10.1.2.3/8, 10.0.0.0/8]}`, want: `from[nets 10.0.0.0/8]`,
			problems: []string{
				`warning: source.nets[0]: "10.1.2.3/8" has bits beyond its prefix length: it is read as 10.0.0.0/8`,
				`warning: source.nets[1]: duplicate value 10.0.0.0/8`,
			},
		},

		// Ports.
		{
			in:   `protocol: TCP, source: {ports: [1], notPorts: ['2:3']}, destination: {ports: [80, '443', '8080:8090', http, '9:9', 65535], notPorts: [ssh]}`,
			want: `TCP from[ports 1; notPorts 2:3] to[ports 80,443,8080:8090,http,9,65535; notPorts ssh]`,
		},
		{in: `protocol: UDPLite, destination: {ports: [1]}`, want: `UDPLite to[ports 1]`},
		{in: `protocol: 132, destination: {ports: [1]}`, want: `SCTP to[ports 1]`},
		{
			in: `protocol: TCP, destination: {ports: [80, '80', http, http]}`, want: `TCP to[ports 80,http]`,
			problems: []string{`warning: destination.ports[1]: duplicate value 80`, `warning: destination.ports[3]: duplicate value http`},
		},
		{
			in:   `protocol: TCP, destination: {ports: [0, 70000, -1, '90:80', '0:80', '1:65536', 'a:b', '80-90', '', '1:2:3', 'a b'], notPorts: ['99999999999999999999']}`,
			want: `invalid`,
			problems: []string{
				`destination.ports[0]: port 0 is out of range: want 1-65535`,
				`destination.ports[1]: port 70000 is out of range: want 1-65535`,
				`destination.ports[2]: port -1 is out of range: want 1-65535`,
				`destination.ports[3]: range "90:80" runs backwards: want 80:90`,
				`destination.ports[4]: range "0:80": port 0 is out of range: want 1-65535`,
				`destination.ports[5]: range "1:65536": port 65536 is out of range: want 1-65535`,
				`destination.ports[6]: invalid value "a:b": want a number 1-65535, a range such as 8080:8090, or the name of a port`,
				`destination.ports[7]: invalid value "80-90": want a number 1-65535, a range such as 8080:8090, or the name of a port`,
				`destination.ports[8]: invalid value "": want a number 1-65535, a range such as 8080:8090, or the name of a port`,
				`destination.ports[9]: invalid value "1:2:3": want a number 1-65535, a range such as 8080:8090, or the name of a port`,
				`destination.ports[10]: invalid value "a b": want a number 1-65535, a range such as 8080:8090, or the name of a port`,
				`destination.notPorts[0]: invalid value "99999999999999999999": want a number 1-65535, a range such as 8080:8090, or the name of a port`,
			},
		},
		{
			in: `source: {ports: [1]}, destination: {notPorts: [1]}`, want: `invalid`,
			problems: []string{
				`source.ports: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`,
				`destination.notPorts: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`,
			},
		},
		// A name without a protocol: a port of the name, whatever its protocol.
		{in: `destination: {ports: [web, dns]}`, want: `TCP to[ports web,dns] | UDP to[ports web,dns] | SCTP to[ports web,dns]`},
		{in: `notProtocol: UDP, destination: {ports: [web]}`, want: `TCP to[ports web] | SCTP to[ports web]`},
		{in: `notProtocol: 6, source: {ports: [web]}, destination: {notPorts: [dns]}`, want: `UDP from[ports web] to[notPorts dns] | SCTP from[ports web] to[notPorts dns]`},
		{in: `notProtocol: ICMP, destination: {ports: [web]}`, want: `TCP to[ports web] | UDP to[ports web] | SCTP to[ports web]`},
		{
			in: `destination: {ports: [web, 80]}`, want: `invalid`,
			problems: []string{`destination.ports: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`},
		},
		{
			in: `destination: {ports: [web], notPorts: ['80:90']}`, want: `invalid`,
			problems: []string{
				`destination.ports: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`,
				`destination.notPorts: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`,
			},
		},
		{
			in: `destination: {notPorts: [web]}`, want: `invalid`,
			problems: []string{`destination.notPorts: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`},
		},
		{
			in: `protocol: 300, destination: {ports: [web]}`, want: `invalid`,
			problems: []string{`protocol: unsupported protocol "300": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255`},
		},
		{
			in: `protocol: ICMP, source: {notPorts: [1]}, destination: {ports: [1]}`, want: `invalid`,
			problems: []string{
				`source.notPorts: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is ICMP`,
				`destination.ports: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is ICMP`,
			},
		},

		// What is not built.
		{in: `http: {}`, want: `invalid`, problems: []string{`http: is not supported: rules match addresses, protocols and ports only`}},
		{in: `source: {domains: [example.com]}`, want: `invalid`, problems: []string{`source.domains: is not supported: want addresses in nets, or a network set and a selector`}},

		// Selectors (their meaning is tested in scope_test.go).
		{
			in:   `source: {selector: a == 'b'}, destination: {notSelector: c == 'd'}`,
			want: `from[:kind not in {'netset', 'node'} && a == 'b'] to[not (:kind not in {'netset', 'node'} && c == 'd')]`,
		},

		// Services of ingress rules.
		{in: `source: {services: {name: web, namespace: shop}}`, want: `from[service shop/web]`},
		{
			in: `source: {services: {name: web}}`, want: `invalid`,
			problems: []string{`source.services.namespace: is missing: a cluster-wide policy must name the Service's namespace`},
		},
		{
			in: `source: {services: {namespace: shop}}`, want: `invalid`,
			problems: []string{`source.services.name: is missing: want the name of a Service`},
		},
		{
			in: `source: {services: {name: Web, namespace: a.b}}`, want: `invalid`,
			problems: []string{`source.services.name: invalid value "Web": want the name of a Service`, `source.services.namespace: invalid value "a.b": want the name of a namespace`},
		},
		{
			in: `destination: {services: {name: web, namespace: shop}}`, want: `invalid`,
			problems: []string{`destination.services: is not allowed here: want it in the destination of an egress rule or the source of an ingress rule`},
		},
		{
			in:   `protocol: TCP, source: {services: {name: web, namespace: shop}, nets: [10.0.0.0/8], notNets: [10.0.0.0/8], selector: a == 'b', notSelector: a == 'b', namespaceSelector: a == 'b', serviceAccounts: {names: [a]}, ports: [1], notPorts: [1]}`,
			want: `invalid`,
			problems: []string{
				`source.nets: cannot be combined with services: want one or the other`,
				`source.notNets: cannot be combined with services: want one or the other`,
				`source.selector: cannot be combined with services: want one or the other`,
				`source.notSelector: cannot be combined with services: want one or the other`,
				`source.namespaceSelector: cannot be combined with services: want one or the other`,
				`source.serviceAccounts: cannot be combined with services: want one or the other`,
			},
		},
		// Of a source a Service says no ports.
		{in: `protocol: UDP, source: {services: {name: dns, namespace: shop}, ports: [53], notPorts: ['1:9']}`, want: `UDP from[service shop/dns; ports 53; notPorts 1:9]`},
		{
			in: `source: {services: {name: dns, namespace: shop}, ports: [53]}`, want: `invalid`,
			problems: []string{`source.ports: requires protocol TCP, UDP, SCTP or UDPLite, but the protocol is any`},
		},
	})
	runRules(t, "egress", []ruleExample{
		{in: `protocol: TCP, destination: {services: {name: web, namespace: shop}}, source: {ports: [1]}`, want: `TCP from[ports 1] to[service shop/web; with ports]`},
		{
			in: `source: {services: {name: web, namespace: shop}}`, want: `invalid`,
			problems: []string{`source.services: is not allowed here: want it in the destination of an egress rule or the source of an ingress rule`},
		},
	})
}

func TestUnknownActions(t *testing.T) {
	runExamples(t, model.KindGlobalNetworkPolicy, []example{{
		name: "denies everything",
		in:   `spec: {ingress: [{action: allow, protocol: TCP}, {action: '', protocol: TCP}, {protocol: TCP, action: Allow}]}`,
		want: head("ingress") + "ingress 0 Deny\ningress 1 Deny\ningress 2 Allow TCP",
		problems: []string{
			`spec.ingress[0].action: unsupported value "allow": want Allow, Deny, Log or Pass`,
			`spec.ingress[1].action: is missing: want Allow, Deny, Log or Pass`,
		},
	}})
}

func TestLengths(t *testing.T) {
	repeat := func(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	var ports, nets []string
	for i := range 51 {
		ports = append(ports, fmt.Sprint(i+1))
	}
	for i := range 257 {
		nets = append(nets, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))
	}
	o := read(t, model.KindGlobalNetworkPolicy, fmt.Sprintf(
		"spec: {ingress: [{action: Allow, protocol: TCP, source: {nets: [%s], notNets: [%s]}, destination: {ports: [%s], notPorts: [%s]}}, %s]}",
		strings.Join(nets, ","), strings.Join(nets, ","), strings.Join(ports, ","), strings.Join(ports, ","), repeat("{action: Deny}", 1024)))
	obj, problems, _ := Object(o)
	want := []string{
		`warning: spec.ingress: has 1025 entries; an API server accepts at most 1024`,
		`warning: spec.ingress[0].source.nets: has 257 entries; an API server accepts at most 256`,
		`warning: spec.ingress[0].source.notNets: has 257 entries; an API server accepts at most 256`,
		`warning: spec.ingress[0].destination.ports: has 51 entries; an API server accepts at most 50`,
		`warning: spec.ingress[0].destination.notPorts: has 51 entries; an API server accepts at most 50`,
	}
	if got := describeProblems(problems); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("problems\n%s\nwant\n%s", indent(strings.Join(got, "\n")), indent(strings.Join(want, "\n")))
	}
	rules := obj.(*model.Policy).IngressRules
	if len(rules) != 1025 || len(rules[0].Match.Source.Nets) != 257 || rules[1024].Index != 1024 {
		t.Error("what is too long was cut")
	}
}
