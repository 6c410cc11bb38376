package convert

import (
	"testing"

	"github.com/tierwall/tierwall/policy/model"
)

func TestPod(t *testing.T) {
	runExamples(t, model.KindPod, []example{
		{
			name: "all fields",
			in: `
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, serviceAccountName: robot, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}`,
			want: `node n1 labels app=web account robot addrs 10.0.0.1,fd00::1 port http=TCP/8080`,
		},
		{
			name: "podIP alone",
			in:   `status: {podIP: 10.0.0.1}`,
			want: `addrs 10.0.0.1`,
		},
		{
			name: "podIP that podIPs does not have",
			in:   `status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.1}]}`,
			want: `addrs 10.0.0.1,10.0.0.2`,
		},
		{
			name: "IPv4-mapped address is the IPv4 address",
			in:   `status: {podIPs: [{ip: '::ffff:10.0.0.1'}, {ip: 10.0.0.1}]}`,
			want: `addrs 10.0.0.1`,
		},
		{
			name: "old field for the service account",
			in: `
spec: {serviceAccount: robot}
status: {podIP: 10.0.0.1}`,
			want: `account robot addrs 10.0.0.1`,
		},
		{
			name: "being deleted is still an endpoint",
			in: `
metadata: {name: web, namespace: shop, deletionTimestamp: "2026-01-01T00:00:00Z"}
status: {phase: Running, podIP: 10.0.0.1}`,
			want: `addrs 10.0.0.1`,
		},
		{name: "pending with an address", in: `status: {phase: Pending, podIP: 10.0.0.1}`, want: `addrs 10.0.0.1`},
		{name: "succeeded", in: `status: {phase: Succeeded, podIP: 10.0.0.1}`, want: `nothing`},
		{name: "failed", in: `status: {phase: Failed, podIP: 10.0.0.1}`, want: `nothing`},
		{name: "no address", in: `status: {phase: Running}`, want: `nothing`},
		{
			name: "host network",
			in: `
spec: {hostNetwork: true}
status: {podIP: 10.0.0.1}`,
			want: `nothing`,
		},
		{
			name: "bad addresses",
			in:   `status: {podIP: nonsense, podIPs: [{ip: nonsense}, {ip: 'fe80::1%eth0'}, {ip: 0.0.0.0}, {ip: 127.0.0.1}, {ip: 224.0.0.1}, {ip: 10.0.0.9}]}`,
			want: `addrs 10.0.0.9`,
			problems: []string{
				`status.podIPs[0].ip: invalid value "nonsense": want an IP address; the address is left out`,
				`status.podIPs[1].ip: "fe80::1%eth0" has a zone: want a plain IP address; the address is left out`,
				`status.podIPs[2].ip: invalid value "0.0.0.0": want the address of one endpoint, neither unspecified, loopback nor multicast; the address is left out`,
				`status.podIPs[3].ip: invalid value "127.0.0.1": want the address of one endpoint, neither unspecified, loopback nor multicast; the address is left out`,
				`status.podIPs[4].ip: invalid value "224.0.0.1": want the address of one endpoint, neither unspecified, loopback nor multicast; the address is left out`,
			},
		},
		{
			name:     "bad podIP alone",
			in:       `status: {podIP: 10.0.0.256}`,
			want:     `nothing`,
			problems: []string{`status.podIP: invalid value "10.0.0.256": want an IP address; the address is left out`},
		},
		{
			name: "named ports of all containers that stay",
			in: `
spec:
  initContainers:
  - {name: setup, ports: [{name: gone, containerPort: 1}]}
  - {name: sidecar, restartPolicy: Always, ports: [{name: mesh, containerPort: 15001}]}
  containers:
  - {name: a, ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns, containerPort: 53, protocol: TCP}, {containerPort: 99}]}
  - {name: b, ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns, containerPort: 54, protocol: UDP}, {name: sig, containerPort: 7, protocol: SCTP}]}
status: {podIP: 10.0.0.1}`,
			want: `addrs 10.0.0.1 port mesh=TCP/15001 port dns=UDP/53 port dns=TCP/53 port dns=UDP/54 port sig=SCTP/7`,
		},
		{
			name: "bad ports",
			in: `
spec:
  initContainers: [{name: s, restartPolicy: Always, ports: [{name: a, containerPort: 70000}]}]
  containers: [{name: c, ports: [{name: b, containerPort: 0}, {name: c, containerPort: 1, protocol: tcp}, {name: d, containerPort: 2}]}]
status: {podIP: 10.0.0.1}`,
			want: `addrs 10.0.0.1 port d=TCP/2`,
			problems: []string{
				`spec.initContainers[0].ports[0].containerPort: port 70000 is out of range: want 1-65535; the port is left out`,
				`spec.containers[0].ports[0].containerPort: port 0 is out of range: want 1-65535; the port is left out`,
				`spec.containers[0].ports[1].protocol: unsupported protocol "tcp": want TCP, UDP or SCTP; the port is left out`,
			},
		},
		{
			name: "labels that a pod cannot set",
			in: `
metadata:
  name: web
  namespace: shop
  labels: {app: web, tierwall.io/serviceaccount: admin, tierwall.io/namespace: kube-system, tierwall.io/orchestrator: x, ':kind': node, 'ns:team': a, bad: '-'}
status: {podIP: 10.0.0.1}`,
			want: `labels app=web,bad=- addrs 10.0.0.1`,
			problems: []string{
				`warning: metadata.labels[":kind"]: is ignored: invalid label key ":kind"`,
				`warning: metadata.labels[bad]: invalid label value "-": want at most 63 characters a-z, A-Z, 0-9, '-', '_' or '.', first and last a letter or digit`,
				`warning: metadata.labels["ns:team"]: is ignored: invalid label key "ns:team"`,
				`warning: metadata.labels[tierwall.io/namespace]: is ignored: Tierwall sets this label itself`,
				`warning: metadata.labels[tierwall.io/orchestrator]: is ignored: Tierwall sets this label itself`,
				`warning: metadata.labels[tierwall.io/serviceaccount]: is ignored: Tierwall sets this label itself`,
			},
		},
		{
			name: "bad names",
			in: `
metadata: {name: Web, namespace: 'my.shop'}
status: {podIP: 10.0.0.1}`,
			want: `addrs 10.0.0.1`,
			problems: []string{
				`metadata.name: invalid value "Web": want at most 253 characters a-z, 0-9, '-' or '.', each part between dots starting and ending with a letter or digit`,
				`metadata.namespace: invalid value "my.shop": want at most 63 characters a-z, 0-9 or '-', first and last a letter or digit`,
			},
		},
		{
			name:     "no names",
			in:       `metadata: {labels: {}}`,
			want:     `nothing`,
			problems: []string{`metadata.name: is missing`, `metadata.namespace: is missing`},
		},
	})
}
