package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestNamespace(t *testing.T) {
	runExamples(t, model.KindNamespace, []example{
		{
			name: "its name is a label",
			in:   `metadata: {name: shop, labels: {team: a}}`,
			want: `labels kubernetes.io/metadata.name=shop,team=a`,
		},
		{
			name: "no labels",
			in:   `metadata: {name: shop}`,
			want: `labels kubernetes.io/metadata.name=shop`,
		},
		{
			name: "label there already",
			in:   `metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}`,
			want: `labels kubernetes.io/metadata.name=shop`,
		},
		{
			name:     "label with another name",
			in:       `metadata: {name: shop, labels: {kubernetes.io/metadata.name: kube-system}}`,
			want:     `labels kubernetes.io/metadata.name=shop`,
			problems: []string{`warning: metadata.labels[kubernetes.io/metadata.name]: "kube-system" is ignored: this label is the namespace's name`},
		},
		{
			name: "bad name",
			in:   `metadata: {name: my.shop, namespace: x}`,
			want: `labels kubernetes.io/metadata.name=my.shop`,
			problems: []string{
				`metadata.name: invalid value "my.shop": want at most 63 characters a-z, 0-9 or '-', first and last a letter or digit`,
				`warning: metadata.namespace: "x" is ignored: Namespace is not namespaced`,
			},
		},
	})
}

// The caller's object must not change: it may be shared with a cache.
func TestNamespaceLeavesItsInputAlone(t *testing.T) {
	o := read(t, model.KindNamespace, `metadata: {name: shop, labels: {team: a}}`)
	before := o.DeepCopyObject()
	Object(o)
	if got, want := mustYAML(t, o), mustYAML(t, before); got != want {
		t.Errorf("the object changed to\n%s\nfrom\n%s", got, want)
	}
}

func TestServiceAccount(t *testing.T) {
	runExamples(t, model.KindServiceAccount, []example{
		{name: "labels", in: `metadata: {name: robot, namespace: shop, labels: {team: a}}`, want: `labels team=a`},
		{
			name: "a name of 63 characters",
			in:   `metadata: {name: a23456789012345678901234567890123456789012345678901234567890123, namespace: shop}`,
			want: ``,
		},
	})
}

func TestNode(t *testing.T) {
	runExamples(t, model.KindNode, []example{
		{
			name: "all fields",
			in: `
metadata: {name: n1, labels: {role: edge}}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd01::/64']}
status:
  addresses:
  - {type: Hostname, address: n1}
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: 'fd02::1'}
  - {type: ExternalIP, address: 198.51.100.1}
  - {type: ExternalIP, address: 192.0.2.1}
  - {type: ExternalDNS, address: n1.example.com}`,
			want: `labels role=edge addrs 192.0.2.1,fd02::1,198.51.100.1 podCIDRs 10.244.1.0/24,fd01::/64`,
		},
		{
			name: "podCIDR alone",
			in:   `spec: {podCIDR: 10.244.1.0/24}`,
			want: `podCIDRs 10.244.1.0/24`,
		},
		{
			name: "what does not parse",
			in: `
spec: {podCIDRs: [10.244.1.0, 10.244.2.0/24, 10.244.2.1/24]}
status: {addresses: [{type: InternalIP, address: n1}, {type: ExternalIP, address: 127.0.0.1}]}`,
			want: `podCIDRs 10.244.2.0/24`,
			problems: []string{
				`warning: status.addresses[0].address: invalid value "n1": want an IP address; the address is left out`,
				`warning: status.addresses[1].address: invalid value "127.0.0.1": want the address of one endpoint, neither unspecified, loopback nor multicast; the address is left out`,
				`spec.podCIDRs[0]: "10.244.1.0" is an address, not an address block: want CIDR form, here 10.244.1.0/32; the block is left out`,
			},
		},
		{
			name: "annotations of pod networks, behind the addresses of the status",
			in: `
metadata:
  name: n1
  annotations:
    projectcalico.org/IPv4Address: 192.0.2.1/24
    projectcalico.org/IPv6Address: 2001:db8::1/64
    projectcalico.org/IPv4IPIPTunnelAddr: 10.244.1.1
    projectcalico.org/IPv4VXLANTunnelAddr: 10.244.1.2
    projectcalico.org/IPv6VXLANTunnelAddr: fd00::2
    projectcalico.org/IPv4WireguardInterfaceAddr: 10.244.1.3
    projectcalico.org/IPv6WireguardInterfaceAddr: fd00::3
    network.cilium.io/ipv4-cilium-host: 10.244.1.4
    network.cilium.io/ipv6-cilium-host: fd00::4
    network.cilium.io/ipv4-health-ip: 10.244.1.5
    network.cilium.io/ipv6-health-ip: fd00::5
    flannel.alpha.coreos.com/public-ip: 198.51.100.1
    flannel.alpha.coreos.com/public-ipv6: 2001:db8:1::1
    example.com/address: 203.0.113.1
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}`,
			want: `addrs 192.0.2.1,198.51.100.1,2001:db8:1::1,10.244.1.4,10.244.1.5,fd00::4,fd00::5,10.244.1.1,10.244.1.2,10.244.1.3,2001:db8::1,fd00::2,fd00::3`,
		},
		{
			name: "annotations that do not parse",
			in: `
metadata:
  name: n1
  annotations:
    projectcalico.org/IPv4Address: 192.0.2.1/33
    projectcalico.org/IPv4IPIPTunnelAddr: ""
    network.cilium.io/ipv4-cilium-host: 127.0.0.1
    flannel.alpha.coreos.com/public-ip: none`,
			want: ``,
			problems: []string{
				`warning: metadata.annotations[flannel.alpha.coreos.com/public-ip]: invalid value "none": want an IP address; the annotation is ignored`,
				`warning: metadata.annotations[network.cilium.io/ipv4-cilium-host]: invalid value "127.0.0.1": want the address of one endpoint, neither unspecified, loopback nor multicast; the annotation is ignored`,
				`warning: metadata.annotations[projectcalico.org/IPv4Address]: invalid value "192.0.2.1/33": want an IP address; the annotation is ignored`,
			},
		},
		{
			name:     "bad podCIDR",
			in:       `spec: {podCIDR: 10.244.1.0/33}`,
			want:     ``,
			problems: []string{`spec.podCIDR: invalid value "10.244.1.0/33": want an IPv4 or IPv6 address block in CIDR form, such as 10.0.0.0/8 or fd00::/8; the block is left out`},
		},
	})
}

func TestNodeReport(t *testing.T) {
	runExamples(t, model.KindNodeLinks, []example{
		{
			name: "all fields",
			in: `
report:
  inSync: true
  counts: {endpoints: 1, policies: 2}
  links:
    addresses:
    - {address: 203.0.113.80, interface: eth0}
    - {address: 10.1.1.1, interface: cni0, leadsToPods: true}
    - {address: 192.0.2.1, interface: eth0}
    routes: [{net: 0.0.0.0/0, interface: eth0}, {net: 10.1.2.0/24, interface: flannel.1}]
    tunnels: [{interface: tunl0, protocol: "4"}, {interface: flannel.1, protocol: UDP, port: 8472}]`,
			want: `addr 10.1.1.1=lo addr 192.0.2.1=eth0 addr 203.0.113.80=eth0 route 10.1.2.0/24=flannel.1 route 0.0.0.0/0=eth0 tunnel flannel.1=UDP/8472 tunnel tunl0=4/0`,
		},
		{name: "of an agent that reports no links", in: `report: {inSync: true, counts: {endpoints: 1, policies: 2}}`, want: `nothing`},
		{
			name: "what does not parse",
			in: `
report:
  inSync: true
  counts: {endpoints: 1, policies: 2}
  links:
    addresses: [{address: x, interface: eth0}, {address: 192.0.2.1, interface: eth0}]
    routes: [{net: 10.0.0.0, interface: eth0}]
    tunnels: [{interface: a, protocol: x}, {interface: b, protocol: UDP, port: 70000}]`,
			want: `addr 192.0.2.1=eth0`,
			problems: []string{
				`warning: report.links.addresses[0].address: invalid value "x": want an IP address; the address is left out`,
				`warning: report.links.routes[0].net: "10.0.0.0" is an address, not an address block: want CIDR form, here 10.0.0.0/32; the route is left out`,
				`warning: report.links.tunnels[0]: unsupported protocol "x": want TCP, UDP, SCTP, ICMP, ICMPv6, UDPLite or a number 1-255; the tunnel is left out`,
				`warning: report.links.tunnels[1]: port 70000 is out of range: want 1-65535; the tunnel is left out`,
			},
		},
	})
}

func TestService(t *testing.T) {
	runExamples(t, model.KindService, []example{{name: "takes no part", in: `spec: {selector: {app: web}}`, want: `nothing`}})
}

func TestEndpointSlice(t *testing.T) {
	const meta = `
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}`
	runExamples(t, model.KindEndpointSlice, []example{
		{
			name: "endpoints count ready or not",
			in: meta + `
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1, 10.0.0.2], conditions: {ready: true}}
- {addresses: [10.0.0.3], conditions: {ready: false, serving: false, terminating: true}}
- {addresses: [10.0.0.1]}
ports: [{name: http, port: 8080, protocol: TCP}, {port: 53, protocol: UDP}, {name: again, port: 8080}]`,
			want: `service web addrs 10.0.0.1,10.0.0.2,10.0.0.3 port TCP/8080 port UDP/53`,
		},
		{
			name: "a port without a number is all ports",
			in: meta + `
addressType: IPv6
endpoints: [{addresses: ['fd00::1']}]
ports: [{protocol: SCTP}, {}]`,
			want: `service web addrs fd00::1 port SCTP/0 port TCP/0`,
		},
		{
			name: "no ports are no ports",
			in: meta + `
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}]`,
			want: `service web addrs 10.0.0.1`,
		},
		{name: "of no Service", in: `addressType: IPv4`, want: `nothing`},
		{
			name: "host names",
			in: meta + `
addressType: FQDN
endpoints: [{addresses: [example.com]}]`,
			want: `nothing`,
		},
		{
			name:     "unknown address type",
			in:       meta + "\naddressType: IPX\nendpoints: [{addresses: [10.0.0.1]}]",
			want:     `nothing`,
			problems: []string{`addressType: unsupported value "IPX": want IPv4, IPv6 or FQDN; the slice is left out`},
		},
		{
			name: "what does not parse",
			in: meta + `
addressType: IPv4
endpoints: [{addresses: [example.com, 'fd00::1', 10.0.0.1]}]
ports: [{port: 0}, {port: 70000}, {port: 80, protocol: ICMP}, {port: 81}]`,
			want: `service web addrs 10.0.0.1 port TCP/81`,
			problems: []string{
				`endpoints[0].addresses[0]: invalid value "example.com": want an IP address; the address is left out`,
				`endpoints[0].addresses[1]: "fd00::1" is not of the slice's addressType IPv4; the address is left out`,
				`ports[0].port: port 0 is out of range: want 1-65535; the port is left out`,
				`ports[1].port: port 70000 is out of range: want 1-65535; the port is left out`,
				`ports[2].protocol: unsupported protocol "ICMP": want TCP, UDP or SCTP; the port is left out`,
			},
		},
	})
}
