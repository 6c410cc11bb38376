package cmd

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tierwall/tierwall/controllers/manifests"
	"github.com/tierwall/tierwall/policy/diff"
)

var update = flag.Bool("update", false, "write the expected output of golden tests anew")

// golden compares a text with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// diffBase is a cluster of two nodes, with a shop on both of them.
const diffBase = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.1.0/24, "fd00:1:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.1.2.0/24, "fd00:1:2::/64"]}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.1.1.1}, {ip: "fd00:1:1::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop, labels: {app: api}}
spec: {nodeName: n2, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8081}]}]}
status: {podIPs: [{ip: 10.1.2.1}, {ip: "fd00:1:2::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.1.2.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: ops, labels: {app: probe}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.1.1.2}, {ip: "fd00:1:1::2"}]}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkSet
metadata: {name: partners, labels: {who: partner}}
spec: {nets: [203.0.113.0/24, "2001:db8:5::/48"]}
---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 100}
`

// diffServices adds to diffBase the cluster's DNS, Services, and a host endpoint "*"
// whose policy closes node ports.
const diffServices = `
apiVersion: v1
kind: Pod
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {nodeName: n2, containers: [{name: c, image: i, ports: [{name: dns, protocol: UDP, containerPort: 8053}, {name: dns-tcp, containerPort: 8053}]}]}
status: {podIPs: [{ip: 10.1.2.53}, {ip: "fd00:1:2::53"}]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, protocol: UDP, port: 53, targetPort: dns}, {name: dns-tcp, port: 53, targetPort: dns-tcp}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {clusterIP: 10.96.0.21, selector: {app: api}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: inside, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: sealed, namespace: shop}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress]}
---
apiVersion: tierwall.io/v1alpha1
kind: HostEndpoint
metadata: {name: n1-all, labels: {host: "1"}}
spec: {node: n1, interfaceName: "*", defaultAction: Allow}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: node-ports}
spec:
  tier: security
  selector: has(host)
  preDNAT: true
  applyOnForward: true
  ingress:
  - {action: Allow, destination: {selector: has(app) || has(k8s-app), namespaceSelector: all()}}
  - {action: Allow, source: {nets: [192.168.0.0/16]}}
  - {action: Deny}
---
`

// diffNodePorts adds to diffBase a node of both families without a pod, host endpoints of
// all nodes, and Services with node ports: any node answers for web, and only that of
// the pod for api.
const diffNodePorts = `
apiVersion: v1
kind: Node
metadata: {name: n3}
status: {addresses: [{type: InternalIP, address: 192.168.0.3}, {type: InternalIP, address: "fd00::3"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: api}, ports: [{port: 80, targetPort: http, nodePort: 30081}]}
status: {loadBalancer: {ingress: [{ip: 198.51.100.80}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: "2001:db8::/32"}}]}]}
---
{apiVersion: tierwall.io/v1alpha1, kind: HostEndpoint, metadata: {name: n1-all, labels: {host: "1"}}, spec: {node: n1, interfaceName: "*", defaultAction: Allow}}
---
{apiVersion: tierwall.io/v1alpha1, kind: HostEndpoint, metadata: {name: n2-all, labels: {host: "2"}}, spec: {node: n2, interfaceName: "*", defaultAction: Allow}}
---
{apiVersion: tierwall.io/v1alpha1, kind: HostEndpoint, metadata: {name: n3-all, labels: {host: "3"}}, spec: {node: n3, interfaceName: "*", defaultAction: Allow}}
---
`

// diffReports adds to diffBase what the nodes' kernels report.
const diffReports = `
{apiVersion: tierwall.io/v1alpha1, kind: NodeReport, metadata: {name: n1}, report: {links: {addresses: [{address: 192.168.0.1, interface: eth0}], tunnels: [{interface: vxlan.calico, protocol: UDP, port: 4789}]}}}
---
{apiVersion: tierwall.io/v1alpha1, kind: NodeReport, metadata: {name: n2}, report: {links: {addresses: [{address: 192.168.0.2, interface: eth0}], tunnels: [{interface: vxlan.calico, protocol: UDP, port: 4789}]}}}
---
`

var diffCases = []struct {
	name, a, b string
	args       []string
	status     int
}{
	{name: "equal", status: exitOK,
		a: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: shop}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}, {port: 81}]}]}}`,
		b: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: shop}, spec: {podSelector: {}, ingress: [{ports: [{port: 80, endPort: 81}]}]}}`},
	{name: "first-policy", status: exitNegative, a: `{apiVersion: v1, kind: Namespace, metadata: {name: shop}}`,
		b: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: fence, namespace: shop}, spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}], ports: [{port: 5432}]}]}}`},
	{name: "ports", status: exitNegative,
		a: `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {tier: security, selector: "app == 'web'", ingress: [{action: Allow, protocol: TCP, destination: {ports: [80, "8000:8999", http]}}, {action: Deny}]}}`,
		b: `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {tier: security, selector: "app == 'web'", ingress: [{action: Allow, protocol: TCP, source: {selector: who == 'partner'}, destination: {ports: [443, "8000:8500"]}}, {action: Allow, protocol: ICMP, icmp: {type: 8}}, {action: Deny}]}}`},
	{name: "renamed", status: exitOK,
		a: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: old, namespace: shop}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}}`,
		b: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: new, namespace: shop}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}}`},
	{name: "renamed-decisions", status: exitNegative, args: []string{"--decisions"},
		a: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: old, namespace: shop}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}}`,
		b: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: new, namespace: shop}, spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}}`},
	{name: "endpoints", status: exitNegative,
		a: `{apiVersion: v1, kind: Pod, metadata: {name: old, namespace: shop}, spec: {nodeName: n1, containers: []}, status: {podIPs: [{ip: 10.1.1.9}]}}`,
		b: `{apiVersion: v1, kind: Pod, metadata: {name: new, namespace: shop}, spec: {nodeName: n1, containers: []}, status: {podIPs: [{ip: 10.1.1.9}]}}`},
	{name: "own-node", status: exitNegative,
		a: `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {endpointToHostAction: Accept}}`,
		b: `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {endpointToHostAction: Drop}}`},
	{name: "one-family", status: exitNegative,
		a: `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {tier: security, selector: "app in {'web', 'api'}", egress: [{action: Allow}]}}`,
		b: `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {tier: security, selector: "app in {'web', 'api'}", egress: [{action: Deny, ipVersion: 6}, {action: Allow}]}}`},
	{name: "net", status: exitNegative,
		a: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: shop}, spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.2.0/24]}}]}]}}`,
		b: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: shop}, spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/9]}}]}]}}`},
	{name: "wildcard-guard", status: exitNegative,
		a: diffServices + `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {wildcardGuard: "Off"}}`,
		b: diffServices + `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {wildcardGuard: Enforce}}`},
	{name: "node-ports-closed", status: exitNegative, a: diffNodePorts,
		b: diffNodePorts + `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: no-node-ports}, spec: {tier: security, selector: has(host), preDNAT: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, destination: {ports: ["30000:32767"]}}]}}`},
	// n1 has no endpoint of api, and host policies see no node ports.
	{name: "node-ports-where-none-answers", status: exitOK, a: diffNodePorts,
		b: diffNodePorts + `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: no-api}, spec: {tier: security, selector: "host in {'1', '3'}", preDNAT: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, source: {nets: [203.0.113.0/24]}, destination: {nets: [192.168.0.1/32, 192.168.0.3/32], ports: [30081]}}, {action: Deny, protocol: TCP, source: {nets: ["2001:db8::/32"]}, destination: {nets: ["fd00::3/128"], ports: [30081]}}]}}
---
{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: hosts}, spec: {tier: security, selector: has(host), ingress: [{action: Deny, protocol: TCP, destination: {ports: ["30080:30081"]}}, {action: Allow}]}}`},
	// Of a Service's external address, pods reach nothing but its ports, and those as what they are translated to.
	{name: "external-addresses", status: exitNegative, a: diffNodePorts,
		b: diffNodePorts + `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: x, namespace: ops}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [198.51.100.80/32]}}, {ipBlock: {cidr: "::/0"}}]}]}}
---
{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: no-api}, spec: {tier: security, selector: host == '2', preDNAT: true, applyOnForward: true, ingress: [{action: Deny, protocol: TCP, source: {nets: [203.0.113.0/24]}, destination: {nets: [198.51.100.80/32], ports: [80]}}]}}`},
	{name: "node-ports-forwarded", status: exitNegative, a: diffNodePorts,
		b: diffNodePorts + `{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: not-by-n3}, spec: {tier: security, selector: "host == '3'", applyOnForward: true, ingress: [{action: Deny, protocol: TCP, source: {nets: [203.0.113.0/24]}, destination: {ports: [8080]}}, {action: Deny, protocol: TCP, source: {nets: ["2001:db8::/32"]}, destination: {ports: [8080]}}]}}`},
	{name: "guards", status: exitNegative,
		a: `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {sourceGuard: Count, linkGuard: Enforce}, status: {guards: Count}}`,
		b: `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {linkGuard: "Off", encapsulationGuard: Enforce, failsafe: {tunnels: false}}, status: {guards: Enforce}}`},
	{name: "encapsulation-guard", status: exitNegative,
		a: diffReports + `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {encapsulationGuard: Count}}`,
		b: diffReports + `{apiVersion: tierwall.io/v1alpha1, kind: Tierwall, metadata: {name: default}, spec: {encapsulationGuard: Enforce}}`},
	{name: "itself", status: exitNegative,
		a: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: shop}, spec: {podSelector: {}}}`,
		b: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: shop}, spec: {podSelector: {}}}
---
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: no-pods}, spec: {tier: Admin, priority: 5, subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}, ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 8000, end: 9000}}}}]}]}}`},
}

func TestDiffGolden(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range diffCases {
		t.Run(tt.name, func(t *testing.T) {
			inFolder(t, map[string]string{"a/base.yaml": diffBase, "a/x.yaml": tt.a, "b/base.yaml": diffBase, "b/x.yaml": tt.b})
			got := runMain(t, "", append([]string{"diff", "a", "b"}, tt.args...)...)
			if got.status != tt.status || got.errOut != "" {
				t.Errorf("status %d, want %d; standard error %q", got.status, tt.status, got.errOut)
			}
			golden(t, filepath.Join(here, "testdata", "diff", tt.name+".txt"), got.out)

			again := runMain(t, "", append([]string{"diff", "b", "a", "-o", "json"}, tt.args...)...)
			var forth, back struct{ Summary diff.Summary }
			if err := json.Unmarshal([]byte(runMain(t, "", append([]string{"diff", "a", "b", "-o", "json"}, tt.args...)...).out), &forth); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(again.out), &back); err != nil {
				t.Fatal(err)
			}
			if (forth.Summary.Lost > 0) != (back.Summary.Gained > 0) || forth.Summary.Added != back.Summary.Removed {
				t.Errorf("there %+v, and back %+v", forth.Summary, back.Summary)
			}
		})
	}
}

func TestDiffUsage(t *testing.T) {
	inFolder(t, map[string]string{
		"a.yaml":   diffBase,
		"bad.yaml": "{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {selector: \"a ==\"}}",
	})
	tests := []struct {
		args   []string
		status int
		errOut string
	}{
		{[]string{"diff", "a.yaml"}, exitUnusable, "want two arguments"},
		{[]string{"diff"}, exitUnusable, "want two arguments"},
		{[]string{"diff", "-f", "a.yaml", "a.yaml"}, exitUnusable, "cannot be combined with -f"},
		{[]string{"diff", "-", "-"}, exitUnusable, "standard input"},
		{[]string{"diff", "a.yaml", "none.yaml"}, exitUnusable, "none.yaml: no such file or folder"},
		{[]string{"diff", "a.yaml", "bad.yaml"}, exitUnusable, "bad.yaml:1:91: GlobalNetworkPolicy/x: spec.selector: "},
		{[]string{"diff", "bad.yaml", "bad.yaml", "--allow-invalid"}, exitOK, "warning: bad.yaml:1"},
		{[]string{"diff", "-f", "a.yaml"}, exitUnusable, "error: "}, // no cluster
		{[]string{"diff", "a.yaml", "a.yaml"}, exitOK, ""},
	}
	for _, tt := range tests {
		got := runMain(t, "", tt.args...)
		if got.status != tt.status || !strings.Contains(got.errOut, tt.errOut) {
			t.Errorf("%v: got %+v", tt.args, got)
		}
	}
}

// What is applied over a cluster takes the cluster's word for all it leaves out.
func TestOverlayOfCluster(t *testing.T) {
	inFolder(t, map[string]string{
		"live.yaml": diffBase + `---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {env: prod}}}
---
{apiVersion: tierwall.io/v1alpha1, kind: GlobalNetworkPolicy, metadata: {name: prod}, spec: {tier: security, order: 5, namespaceSelector: "env == 'prod'", ingress: [{action: Allow}]}}`,
		"new.yaml": `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny, namespace: shop}, spec: {podSelector: {}}}`,
	})
	load := func(path string) *manifests.Result {
		r, err := manifests.Load([]string{path}, manifests.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var s streams
	before, after, err := overlayWorlds(s, load("live.yaml"), load("new.yaml"), false)
	if err != nil {
		t.Fatal(err)
	}
	// The namespace keeps its label, so the allow of the earlier tier still holds.
	if r := compare(before, after, diff.Options{}); r.Different() {
		t.Errorf("got %+v", r)
	}
	if r := compare(before, after, diff.Options{Decisions: true}); r.Different() {
		t.Errorf("got %+v", r)
	}
	if len(after.index.Policies()) != 2 || len(before.index.Policies()) != 1 {
		t.Errorf("policies before %d, after %d", len(before.index.Policies()), len(after.index.Policies()))
	}
}
