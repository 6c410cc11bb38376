package cmd

import (
	"strings"
	"testing"
)

const servicesWorld = `
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: q, labels: {app: a}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.1.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dns-1, namespace: q, labels: {app: dns}}
spec: {nodeName: n1, containers: [{name: c, image: i, ports: [{name: dns, containerPort: 5353, protocol: UDP}]}]}
status: {podIPs: [{ip: 10.1.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dns-2, namespace: q, labels: {app: dns, shut: "yes"}}
spec: {nodeName: n2, containers: [{name: c, image: i, ports: [{name: dns, containerPort: 5354, protocol: UDP}]}]}
status: {podIPs: [{ip: 10.2.0.2}]}
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: q}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  externalIPs: [198.51.100.9]
  selector: {app: dns}
  ports: [{name: dns, protocol: UDP, port: 53, targetPort: dns, nodePort: 30053}, {name: web, port: 80, targetPort: 8080}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.10}, {ip: 198.51.100.11, ipMode: Proxy}]}}
---
apiVersion: v1
kind: Service
metadata: {name: local, namespace: q}
spec: {clusterIP: 10.96.0.11, internalTrafficPolicy: Local, externalTrafficPolicy: Local, selector: {app: dns}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: remote, namespace: q}
spec: {clusterIP: 10.96.0.13, selector: {shut: "yes"}, ports: [{port: 80, targetPort: 8080, nodePort: 30082}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: q}
spec: {clusterIP: None, selector: {app: dns}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: unnumbered, namespace: q}
spec: {selector: {app: dns}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: q}
spec: {clusterIP: 10.96.0.12, selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut, namespace: q}
spec: {podSelector: {matchLabels: {shut: "yes"}}, policyTypes: [Ingress], ingress: [{ports: [{port: 5354, protocol: UDP}]}]}
`

// TestServiceTargets: what is sent to an address of a Service is judged as what it is
// translated to.
func TestServiceTargets(t *testing.T) {
	file := writeFiles(t, servicesWorld)[0]
	for _, test := range []struct {
		from, to, port string
		flags          []string
		status         int
		want           []string // in the output or the error
	}{
		{from: "q/a", to: "10.96.0.10", port: "53/UDP", status: exitOK, want: []string{"Service/q/dns port 53/UDP, sent to 10.96.0.10:53: 2 endpoints", "Pod/q/dns-1 (10.1.0.2)  UDP 5353", "Pod/q/dns-2 (10.2.0.2)  UDP 5354"}},
		{from: "q/a", to: "10.96.0.10", port: "80", status: exitNegative, want: []string{"2 endpoints, 1 of them denied", "Pod/q/dns-2 (10.2.0.2)  TCP 8080\nDENIED: ingress by the end of tier default"}},
		{from: "q/a", to: "svc:q/dns", port: "dns", status: exitOK, want: []string{"port 53/UDP, sent to 10.96.0.10:53: 2 endpoints"}},
		{from: "q/a", to: "svc/dns", port: "web", status: exitNegative, want: []string{"port 80/TCP"}},
		{from: "q/a", to: "Service/q/dns", port: "53/UDP", status: exitOK, want: []string{"2 endpoints"}},
		{from: "q/a", to: "svc:q/dns", port: "web", flags: []string{"--ip-version", "6"}, status: exitOK, want: []string{"sent to [fd00:96::10]:80: 1 endpoint\n", "Pod/q/dns-1 (fd00::2)"}},
		{from: "203.0.113.1", to: "198.51.100.9", port: "80", status: exitNegative, want: []string{"203.0.113.1 → Pod/q/dns-2 (10.2.0.2)  TCP 8080"}},
		{from: "203.0.113.1", to: "198.51.100.10", port: "80", status: exitNegative, want: []string{"2 endpoints"}},
		{from: "203.0.113.1", to: "198.51.100.11", port: "80", status: exitOK, want: []string{"no policy applies"}},
		{from: "203.0.113.1", to: "198.51.100.9", port: "81", status: exitOK, want: []string{"203.0.113.1 → 198.51.100.9"}},
		{from: "203.0.113.1", to: "192.168.0.2", port: "30053/UDP", status: exitOK, want: []string{"sent to 192.168.0.2:30053: 2 endpoints"}},
		{from: "203.0.113.1", to: "node:n2", port: "30080", status: exitNegative, want: []string{"Service/q/local port 80/TCP, sent to 192.168.0.2:30080: 1 endpoint", "dns-2"}},
		{from: "203.0.113.1", to: "node:n1", port: "30080", status: exitOK, want: []string{"1 endpoint\n", "dns-1"}},
		{from: "node:n2", to: "node:n1", port: "30080", status: exitOK, want: []string{"sent to 192.168.0.1:30080: 1 endpoint\n", "dns-1"}},
		{from: "node:n1", to: "node:n2", port: "30080", status: exitNegative, want: []string{"sent to 192.168.0.2:30080: 1 endpoint\n", "dns-2"}},
		{from: "node:n1", to: "node:n1", port: "30080", status: exitNegative, want: []string{"sent to 192.168.0.1:30080: 2 endpoints", "dns-2"}},
		// By way of another node a node is not the pod's own any more.
		{from: "node:n2", to: "node:n2", port: "30082", status: exitOK, want: []string{"Service/q/remote port 80/TCP, sent to 192.168.0.2:30082: 1 endpoint\n", "a node reaches its own pods always"}},
		{from: "node:n2", to: "node:n1", port: "30082", status: exitNegative, want: []string{"sent to 192.168.0.1:30082: 1 endpoint\n", "NetworkPolicy/q/shut"}},
		{from: "q/a", to: "node:n1", port: "30080", status: exitNegative, want: []string{"sent to 192.168.0.1:30080: 2 endpoints", "dns-2"}},
		{from: "203.0.113.1", to: "node:n1", port: "30081", status: exitOK, want: []string{"Node/n1 (192.168.0.1)  TCP 30081"}},
		{from: "q/a", to: "10.96.0.11", port: "80", status: exitOK, want: []string{"1 endpoint\n", "dns-1"}},
		{from: "q/a", to: "svc:q/headless", port: "80", status: exitNegative, want: []string{"2 endpoints, 1 of them denied"}},
		{from: "q/a", to: "svc:q/unnumbered", port: "80", status: exitNegative, want: []string{"2 endpoints, 1 of them denied"}},
		{from: "q/a", to: "10.96.0.12", port: "80", status: exitNegative, want: []string{"0 endpoints", "nothing takes what is sent there"}},
		{from: "q/a", to: "10.96.0.10", port: "81", status: exitNegative, want: []string{"nothing takes what is sent there"}},
		{from: "q/a", to: "10.96.0.10", port: "ICMP", status: exitOK, want: []string{"Pod/q/a (10.1.0.1) → 10.96.0.10"}},
		{from: "q/a", to: "svc:q/dns", port: "54/UDP", status: exitUnusable, want: []string{"--port: Service/q/dns has no such port; it has dns (53/UDP), web (80/TCP)"}},
		{from: "q/a", to: "svc:q/dsn", port: "53/UDP", status: exitUnusable, want: []string{"--to: q/dsn: there is no such Service; did you mean q/dns?"}},
		{from: "svc:q/dns", to: "q/a", port: "53/UDP", status: exitUnusable, want: []string{"--from: q/dns: a Service sends no traffic"}},
	} {
		args := append([]string{"explain", "-f", file, "--from", test.from, "--to", test.to, "--port", test.port}, test.flags...)
		got := runMain(t, "", args...)
		if got.status != test.status {
			t.Errorf("%v: status %d, want %d\n%s%s", args[2:], got.status, test.status, got.out, got.errOut)
		}
		for _, want := range test.want {
			if !strings.Contains(got.out+got.errOut, want) {
				t.Errorf("%v: no %q in\n%s%s", args[2:], want, got.out, got.errOut)
			}
		}
	}
}

// TestDiffOfServiceAddresses: a rule that names a Service's cluster address opens
// nothing, and one for its endpoints does.
func TestDiffOfServiceAddresses(t *testing.T) {
	policy := func(to string) string {
		return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: q}\nspec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [" + to + "]}\n"
	}
	files := writeFiles(t, servicesWorld+policy(""), servicesWorld+policy("{to: [{ipBlock: {cidr: 10.96.0.10/32}}]}"), servicesWorld+policy("{to: [{podSelector: {matchLabels: {app: dns}}}]}"))
	if got := runMain(t, "", "diff", files[0], files[1]); got.status != exitOK {
		t.Errorf("by the Service's address: status %d\n%s%s", got.status, got.out, got.errOut)
	}
	if got := runMain(t, "", "diff", files[0], files[2]); got.status != exitNegative || !strings.Contains(got.out, "Pod/q/dns") {
		t.Errorf("by its endpoints: status %d\n%s%s", got.status, got.out, got.errOut)
	}
	for i, want := range []int{exitNegative, exitNegative, exitOK} {
		if got := runMain(t, "", "explain", "-f", files[i], "--from", "q/a", "--to", "10.96.0.10", "--port", "53/UDP"); got.status != want {
			t.Errorf("explain: status %d, want %d\n%s%s", got.status, want, got.out, got.errOut)
		}
	}
}

// TestServiceInPolicyTest: a case that names a Service holds for all of its endpoints.
func TestServiceInPolicyTest(t *testing.T) {
	cases := `
---
apiVersion: tierwall.io/v1alpha1
kind: PolicyTest
metadata: {name: services}
spec:
  cases:
  - {name: by name, from: {pod: q/a}, to: {service: q/dns, port: dns}, expect: Allow}
  - {name: by address, from: {pod: q/a}, to: {ip: 10.96.0.10, protocol: UDP, port: 53}, expect: Allow}
  - {name: the only port, from: {pod: q/a}, to: {service: q/empty}, expect: Deny}
  - {name: one of two, from: {pod: q/a}, to: {service: q/dns, port: web}, expect: Allow}
`
	got := runMain(t, "", "test", writeFiles(t, servicesWorld+cases)[0])
	for _, want := range []string{"PASS", "by name", "10.2.0.2: expected Allow, got Deny", "3 passed, 1 failed"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in\n%s%s", want, got.out, got.errOut)
		}
	}
	if strings.Count(got.out, "FAIL") != 1 {
		t.Errorf("got\n%s", got.out)
	}
}

// TestLintOfServices: addresses and ports of Services where those of endpoints belong.
func TestLintOfServices(t *testing.T) {
	egress := func(to, ports string) string {
		return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: q}\nspec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [" + to + "], ports: [" + ports + "]}]}\n"
	}
	ingress := func(ports string) string {
		return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: q}\nspec: {podSelector: {matchLabels: {app: dns}}, policyTypes: [Ingress], ingress: [{ports: [" + ports + "]}]}\n"
	}
	const pods = "{podSelector: {matchLabels: {app: dns}}}"
	for _, test := range []struct{ name, policy, code string }{
		{"the address", egress("{ipBlock: {cidr: 10.96.0.10/32}}", "{port: 53, protocol: UDP}"), "service-address"},
		{"the block of all", egress("{ipBlock: {cidr: 10.96.0.0/12}}", "{port: 53, protocol: UDP}"), "service-address"},
		{"a block with pods", egress("{ipBlock: {cidr: 10.0.0.0/8}}", "{port: 53, protocol: UDP}"), ""},
		{"anything", egress("{ipBlock: {cidr: 0.0.0.0/0}}", "{port: 53, protocol: UDP}"), ""},
		{"the Service's port, going out", egress(pods, "{port: 53, protocol: UDP}"), "service-port"},
		{"the Service's port, coming in", ingress("{port: 80}"), "service-port"},
		{"both ports", ingress("{port: 80}, {port: 8080}"), ""},
		{"the endpoints' port", ingress("{port: 8080}"), ""},
		{"the port's name", egress(pods, "{port: dns, protocol: UDP}"), ""},
		{"a port that no Service has", ingress("{port: 81}"), ""},
	} {
		got := runMain(t, "", "lint", writeFiles(t, servicesWorld+test.policy)[0])
		for _, code := range []string{"service-address", "service-port"} {
			if found := strings.Contains(got.out, "("+code+")"); found != (code == test.code) {
				t.Errorf("%s: %s %v\n%s%s", test.name, code, found, got.out, got.errOut)
			}
		}
	}
}
