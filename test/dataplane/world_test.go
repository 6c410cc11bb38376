package dataplane

import (
	"fmt"
	"strings"
)

// The pods of the world, and a host outside. Those of n1 are in 10.1.1.0/24,
// those of n2 in 10.1.2.0/24.
const (
	client, client6         = "10.1.1.10", "fd00:1:1::10"
	near, near6             = "10.1.1.11", "fd00:1:1::11" // a server on the client's node
	here                    = "10.1.1.12"                 // elsewhere, on n1
	server, server6         = "10.1.2.10", "fd00:1:2::10"
	intruder, intruder6     = "10.1.2.11", "fd00:1:2::11"
	there                   = "10.1.2.12" // elsewhere, on n2
	outside, outside6       = "203.0.113.9", "2001:db8:ffff::9"
	webPort, dnsPort        = 80, 53
	mdnsPort                = 5353 // as dnsPort, without a stream that listens there
	closedPort, extraPort   = 81, 8888
	elsewhereA, elsewhereB  = 7000, 7001
	serverRules, clientRule = "servers", "clients"
)

// node is a manifest of node n<number>.
func node(number int) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Node
metadata: {name: n%[1]d}
spec: {podCIDRs: [10.1.%[1]d.0/24, "fd00:1:%[1]d::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.%[1]d}, {type: InternalIP, address: "2001:db8::%[1]d"}]}
`, number)
}

// pod is a manifest of a pod on node n<number>, with its addresses.
func pod(name, role string, number int, addrs ...string) string {
	var ips []string
	for _, a := range addrs {
		ips = append(ips, fmt.Sprintf("{ip: %q}", a))
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {namespace: app, name: %s, labels: {role: %s}}
spec: {nodeName: n%d}
status: {phase: Running, podIP: %q, podIPs: [%s]}
`, name, role, number, addrs[0], strings.Join(ips, ", "))
}

// allow is a policy of tier platform that selects a role and allows these rules
// of a direction, each "protocol port peer", and no more. A peer is a role.
func allow(name, selects, types string, rules ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: %s}
spec:
  tier: platform
  order: 10
  selector: role == '%s'
  types: [%s]
`, name, selects, types)
	for i, r := range rules {
		way, text, _ := strings.Cut(r, " ")
		f := strings.Fields(text)
		if i == 0 || !strings.HasPrefix(rules[i-1], way+" ") {
			fmt.Fprintf(&b, "  %s:\n", way)
		}
		if way == "ingress" {
			fmt.Fprintf(&b, "  - {action: Allow, protocol: %s, source: {selector: role == '%s'}, destination: {ports: [%s]}}\n", f[0], f[2], f[1])
		} else {
			fmt.Fprintf(&b, "  - {action: Allow, protocol: %s, destination: {selector: role == '%s', ports: [%s]}}\n", f[0], f[2], f[1])
		}
	}
	return b.String()
}

// serversPolicy lets clients in on their ports, and others on the rules given.
func serversPolicy(more ...string) string {
	rules := append([]string{"ingress TCP 80 client", "ingress UDP 53,5353 client"}, more...)
	return allow(serverRules, "server", "Ingress", rules...)
}

func clientsPolicy() string {
	return allow(clientRule, "client", "Ingress, Egress", "egress TCP 80 server", "egress UDP 53 server")
}

// elsewherePolicy lets pods elsewhere reach each other on a port.
func elsewherePolicy(port int) string {
	return allow("elsewhere", "elsewhere", "Ingress", fmt.Sprintf("ingress TCP %d elsewhere", port))
}

// mute has servers send nothing but replies, so that what a server sends of a
// connection that was cut does not begin a connection of its own.
var mute = allow("mute", "server", "Egress")

const tier = `---
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: platform}
spec: {order: 100}
`

const namespace = `---
apiVersion: v1
kind: Namespace
metadata: {name: app}
`

// world is two nodes: clients may reach servers on two ports, servers nobody's
// clients, and nobody else anything of theirs.
func world() string {
	return node(1) + node(2) + namespace + tier +
		pod("client", "client", 1, client, client6) + pod("near", "server", 1, near, near6) + pod("here", "elsewhere", 1, here) +
		pod("server", "server", 2, server, server6) + pod("intruder", "intruder", 2, intruder, intruder6) + pod("there", "elsewhere", 2, there) +
		serversPolicy() + clientsPolicy() + elsewherePolicy(elsewhereA)
}
