//go:build e2e

package e2e

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hostSpecs are about nodes themselves.
func hostSpecs() {
	It("denies all to a host but failsafe ports, and keeps the node working", Label("short"), func(ctx SpecContext) {
		node := bed.Nodes()[0]
		guarded := pods.host(node)
		others := append([]*place{pods.cp}, pods.hosts...)
		in := flows(others, []*place{guarded}, tcp(hostPort), udp(hostPort))
		out := flows([]*place{guarded}, others, tcp(hostPort), udp(hostPort))
		expectAllowed(ctx, append(in, out...))
		hep := apply(ctx, hostEndpoint(node, "Deny"))
		expectDenied(ctx, append(in, out...))

		By("the kubelet's port, the API server and the node's own pods")
		Expect(kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+node+"/proxy/healthz")).To(Equal("ok"))
		expectHeartbeat(ctx, node)
		own := flows([]*place{guarded}, onNode(node), tcp(80), udp(80))
		expectAllowed(ctx, own)
		expectAllowed(ctx, flows(onNode(node), []*place{guarded}, tcp(hostPort)))

		By("what goes through the host to pods")
		expectAllowed(ctx, flows(pods.pods, pods.pods, tcp(80), udp(80)))

		By("allowing some")
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  selector: has(host)
  types: [Ingress, Egress]
  ingress:
  - {action: Allow, protocol: TCP, source: {nets: [10.200.0.1/32]}, destination: {ports: [7001]}}
  - {action: Allow, protocol: TCP, source: {nets: ["fd00:200::1/128"]}, destination: {ports: [7001]}}
  egress:
  - {action: Allow, protocol: UDP}
`)
		expectReadyOn(ctx, "hosts", "1/1")
		expect(ctx, in, func(f flow) bool { return f.from == pods.cp && f.network == "tcp" })
		expect(ctx, out, func(f flow) bool { return f.network == "udp" })

		By("removing the host endpoint")
		remove(ctx, hep...)
		expectAllowed(ctx, append(in, out...))
	}, SpecTimeout(3*minute))

	It("guards all nodes with automatic host endpoints, forwarded traffic too", func(ctx SpecContext) {
		kubectl(ctx, "patch", "tierwall", "default", "--type=merge", "-p", `{"spec":{"autoHostEndpoints":true}}`)
		DeferCleanup(func(ctx SpecContext) {
			kubectl(ctx, "patch", "tierwall", "default", "--type=merge", "-p", `{"spec":{"autoHostEndpoints":false}}`)
		})
		all := flows(append([]*place{pods.cp}, pods.pods...), append(pods.hosts, pods.pods...), tcp(80), tcp(hostPort))
		all = filter(all, func(f flow) bool { return (f.port == hostPort) == (f.to.pod.Namespace == "hosts") })
		expectAllowed(ctx, all)
		for _, node := range bed.Nodes() {
			kubectl(ctx, "label", "node", node, "guarded=yes")
			DeferCleanup(func(ctx SpecContext) { kubectl(ctx, "label", "node", node, "guarded-") })
		}
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: from-outside}
spec:
  selector: guarded == 'yes'
  applyOnForward: true
  types: [Ingress]
  ingress:
  - {action: Deny, source: {nets: [10.200.0.1/32]}}
  - {action: Deny, source: {nets: ["fd00:200::1/128"]}}
  - {action: Allow}
`)
		expect(ctx, all, func(f flow) bool { return f.from != pods.cp })
		Expect(kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+bed.Nodes()[0]+"/proxy/healthz")).To(Equal("ok"))
	}, SpecTimeout(2*minute))

	It("asks the host's policy about its own pods where endpointToHostAction says so", func(ctx SpecContext) {
		node := bed.Nodes()[0]
		up := flows(onNode(node), []*place{pods.host(node)}, tcp(hostPort))
		expectAllowed(ctx, up)
		DeferCleanup(func(ctx SpecContext) {
			kubectl(ctx, "patch", "tierwall", "default", "--type=merge", "-p", `{"spec":{"endpointToHostAction":"Accept"}}`)
			expectAllowed(ctx, up)
		})
		kubectl(ctx, "patch", "tierwall", "default", "--type=merge", "-p", `{"spec":{"endpointToHostAction":"Drop"}}`)
		expectDenied(ctx, up)
		expectAllowed(ctx, flows([]*place{pods.host(node)}, onNode(node), tcp(80)))
		kubectl(ctx, "patch", "tierwall", "default", "--type=merge", "-p", `{"spec":{"endpointToHostAction":"Return"}}`)
		expectAllowed(ctx, up)
		apply(ctx, hostEndpoint(node, "Deny"))
		expectDenied(ctx, up)
	}, SpecTimeout(2*minute))
}

// onNode is the pods of a node.
func onNode(node string) []*place {
	var some []*place
	for _, p := range pods.pods {
		if p.node == node {
			some = append(some, p)
		}
	}
	return some
}

func filter(all []flow, keep func(f flow) bool) []flow {
	var some []flow
	for _, f := range all {
		if keep(f) {
			some = append(some, f)
		}
	}
	return some
}

// expectHeartbeat waits until a node's kubelet has renewed its lease: it reaches
// the API server by new requests.
func expectHeartbeat(ctx context.Context, node string) {
	GinkgoHelper()
	renewed := func() time.Time {
		var l coordinationv1.Lease
		err := admin.Get(ctx, client.ObjectKey{Namespace: "kube-node-lease", Name: node}, &l)
		if err != nil || l.Spec.RenewTime == nil {
			return time.Time{}
		}
		return l.Spec.RenewTime.Time
	}
	since := renewed()
	Eventually(ctx, renewed).WithTimeout(minute).Should(BeTemporally(">", since))
}
