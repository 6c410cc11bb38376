//go:build e2e

package e2e

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tierwall/tierwall/test/cluster/probe"
)

// nativeSpecs are about Kubernetes' own NetworkPolicy.
func nativeSpecs() {
	all := func(ports ...service) []flow { return flows(pods.pods, pods.pods, ports...) }
	inside := func(f flow, ns string) bool { return strings.HasPrefix(f.to.name, ns+"/") }

	It("denies all ingress of a namespace, allows some, and is gone when deleted", Label("short"), func(ctx SpecContext) {
		deny := apply(ctx, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: alpha}
spec: {podSelector: {}, policyTypes: [Ingress]}
`)
		expect(ctx, all(tcp(80), udp(80)), func(f flow) bool { return !inside(f, "alpha") })
		// A node reaches its own pods, and no other node's.
		expect(ctx, flows(append(pods.hosts, pods.cp), pods.pods, tcp(80)), func(f flow) bool {
			return !inside(f, "alpha") || f.from.node == f.to.node
		})

		By("allowing the pods of another namespace to one port")
		allow := apply(ctx, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: alpha}
spec:
  podSelector: {}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {team: beta}}, podSelector: {matchLabels: {role: web}}}]
    ports: [{port: 80}]
`)
		expect(ctx, all(tcp(80), tcp(81), udp(80)), func(f flow) bool {
			return !inside(f, "alpha") || f.from.name == "beta/web" && f.network == probe.TCP && f.port == 80
		})

		By("changing the allow to others and a range of ports")
		apply(ctx, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: alpha}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - from: [{podSelector: {}}]
    ports: [{port: 81, endPort: 90}, {port: dgram, protocol: UDP}]
`)
		expect(ctx, all(tcp(80), tcp(81), udp(80)), func(f flow) bool {
			return !inside(f, "alpha") ||
				f.to.name == "alpha/db" && !strings.HasPrefix(f.from.name, "beta/") && (f.port == 81 || f.network == probe.UDP)
		})

		By("deleting both")
		remove(ctx, append(deny, allow...)...)
		expectAllowed(ctx, all(tcp(80), tcp(81), udp(80)))
	}, SpecTimeout(3*minute))

	It("governs egress, with blocks, exceptions and named ports", Label("short"), func(ctx SpecContext) {
		web, db := pods.at("beta/web"), pods.at("alpha/db")
		apply(ctx, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: egress, namespace: beta}
spec:
  podSelector: {matchLabels: {role: web}}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {}}]
    ports: [{port: http}]
  - to:
    - ipBlock: {cidr: `+block(db)+`}
  - to:
    - ipBlock: {cidr: 10.200.0.0/24, except: [10.200.0.11/32]}
`)
		expect(ctx, flows([]*place{web}, pods.pods, tcp(80), tcp(81), udp(80)), func(f flow) bool {
			http := 80
			if strings.HasSuffix(f.to.name, "/db") {
				http = 81
			}
			return f.to == db && f.address.Is4() || f.network == probe.TCP && f.port == http
		})
		// Its own node, n1, is among the exceptions.
		expect(ctx, flows([]*place{web}, append(pods.hosts, pods.cp), tcp(hostPort)), func(f flow) bool {
			return f.address.Is4() && f.to.node != bed.Nodes()[0]
		})
		expectAllowed(ctx, flows([]*place{pods.at("beta/api")}, pods.pods, tcp(80), tcp(81)))
	}, SpecTimeout(2*minute))

	It("cuts established connections that it no longer allows, and no others", Label("short"), func(ctx SpecContext) {
		cut := startStreams(ctx, "beta/web", "alpha/db", probe.Connection, probe.Datagrams)
		kept := startStreams(ctx, "alpha/web", "alpha/db", probe.Connection, probe.Datagrams)
		apply(ctx, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: own, namespace: alpha}
spec:
  podSelector: {}
  ingress: [{from: [{podSelector: {}}]}]
`)
		for _, s := range cut {
			s.expectSilent(ctx)
		}
		for _, s := range kept {
			s.expectWhole(ctx)
		}
	}, SpecTimeout(minute))

	It("follows the labels of pods and namespaces", func(ctx SpecContext) {
		apply(ctx, `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: trusted, namespace: beta}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {trusted: "yes"}}}, {namespaceSelector: {matchLabels: {trusted: "yes"}}}]
`)
		to := flows(pods.pods, []*place{pods.at("beta/db")}, tcp(80))
		expectDenied(ctx, to)
		label(ctx, "Pod", pods.at("beta/api").pod, "trusted", "yes")
		expect(ctx, to, func(f flow) bool { return f.from.name == "beta/api" })
		label(ctx, "Namespace", keyOf("alpha"), "trusted", "yes")
		expect(ctx, to, func(f flow) bool { return f.from.name != "beta/web" })
		label(ctx, "Pod", pods.at("beta/api").pod, "trusted", "")
		expect(ctx, to, func(f flow) bool { return strings.HasPrefix(f.from.name, "alpha/") })
	}, SpecTimeout(2*minute))
}
