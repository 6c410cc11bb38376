package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestHostEndpoint(t *testing.T) {
	runExamples(t, model.KindHostEndpoint, []example{
		{
			name: "all fields",
			in: `
metadata: {name: n1-eth0, labels: {role: edge}}
spec:
  node: n1
  interfaceName: eth0
  expectedIPs: [192.0.2.1, 'fd00::1']
  ports: [{name: ssh, protocol: TCP, port: 22}, {name: dns, protocol: 17, port: 53}]
  defaultAction: Allow`,
			want: `node n1 labels role=edge addrs 192.0.2.1,fd00::1 port ssh=TCP/22 port dns=UDP/53 interface eth0 default Allow`,
		},
		{name: "all interfaces", in: `spec: {node: n1, interfaceName: '*'}`, want: `node n1 interface * default Deny`},
		{name: "by address", in: `spec: {node: n1, expectedIPs: [192.0.2.1]}`, want: `node n1 addrs 192.0.2.1 default Deny`},
		{name: "default action Deny", in: `spec: {node: n1, interfaceName: '*', defaultAction: Deny}`, want: `node n1 interface * default Deny`},
		{
			name: "the profile that allows",
			in:   `spec: {node: n1, interfaceName: '*', profiles: [projectcalico-default-allow]}`,
			want: `node n1 interface * default Allow`,
		},
		{
			name:     "the profile that allows, overridden",
			in:       `spec: {node: n1, interfaceName: '*', profiles: [projectcalico-default-allow], defaultAction: Deny}`,
			want:     `node n1 interface * default Deny`,
			problems: []string{`warning: spec.defaultAction: Deny overrides the profile projectcalico-default-allow`},
		},
		{
			name:     "another profile",
			in:       `spec: {node: n1, interfaceName: '*', profiles: [kns.shop]}`,
			want:     `node n1 interface * default Deny`,
			problems: []string{`spec.profiles[0]: "kns.shop" is not supported: want projectcalico-default-allow, or a GlobalNetworkPolicy instead`},
		},
		{
			name: "nothing set",
			in:   `spec: {}`,
			want: `default Deny`,
			problems: []string{
				`spec.node: is missing: without it the host endpoint guards nothing`,
				`spec: has neither interfaceName nor expectedIPs: want one of them; interfaceName "*" is all interfaces of the node`,
			},
		},
		{
			name: "what is invalid",
			in: `
spec:
  node: N1
  interfaceName: a/b
  expectedIPs: [192.0.2.0/24, 192.0.2.1, 192.0.2.1]
  defaultAction: Pass
  profiles: [projectcalico-default-allow]
  ports:
  - {name: '80', protocol: TCP, port: 80}
  - {name: a, protocol: ICMP, port: 80}
  - {name: b, port: 80}
  - {name: c, protocol: UDP, port: 0}
  - {name: d, protocol: UDP, port: 1}
  - {name: d, protocol: UDP, port: 1}`,
			want: `node N1 addrs 192.0.2.1 port d=UDP/1 interface a/b default Deny`,
			problems: []string{
				`spec.node: invalid value "N1": want the name of a node`,
				`spec.interfaceName: invalid value "a/b": want the name of a Linux interface, at most 15 characters without '/', ':' and spaces, or "*"`,
				`spec.expectedIPs[0]: invalid value "192.0.2.0/24": want an IP address; the address is left out`,
				`warning: spec.expectedIPs[2]: duplicate value 192.0.2.1`,
				`spec.ports[0].name: invalid value "80": want at most 128 characters a-z, A-Z, 0-9, '-', '_' or '.', at least one of them a letter; the port is left out`,
				`spec.ports[1].protocol: unsupported protocol "ICMP": want TCP, UDP or SCTP; the port is left out`,
				`spec.ports[2].protocol: is missing: want TCP, UDP or SCTP; the port is left out`,
				`spec.ports[3].port: port 0 is out of range: want 1-65535; the port is left out`,
				`warning: spec.ports[5]: duplicate value d`,
				`spec.defaultAction: unsupported value "Pass": want Allow or Deny; it is read as Deny`,
			},
		},
	})
}
