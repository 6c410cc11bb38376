//go:build e2e

package e2e

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/cluster/install"
)

// outageSpecs take away what Tierwall needs.
func outageSpecs() {
	It("keeps all policies while the API server is away, also across a restart of an agent", func(ctx SpecContext) {
		apply(ctx, isolated)
		expectIsolated(ctx)
		g := startGuards(ctx)
		DeferCleanup(func(ctx SpecContext) { Expect(bed.StartServer(ctx)).To(Succeed()) })
		Expect(bed.StopServer(ctx)).To(Succeed())
		expectIsolated(ctx)
		node := pods.at("alpha/db").node
		killAgent(ctx, node)
		Eventually(ctx, func() string { return agentProcess(ctx, node) }).WithTimeout(minute).ShouldNot(BeEmpty())
		expectIsolated(ctx)
		g.expectWhole(ctx)

		By("the API server coming back")
		Expect(bed.StartServer(ctx)).To(Succeed())
		Eventually(ctx, func() error { return install.Wait(ctx, bed, how) }).WithTimeout(3 * minute).Should(Succeed())
		expectIsolated(ctx)
		// An API server that ends takes itself out of Service kubernetes, and kube-proxy
		// takes up to a minute to hear of it again. The agent that was started
		// meanwhile has no other way to it.
		for _, n := range bed.Nodes() {
			Eventually(ctx, func() error {
				_, err := run(ctx, n, "bash", "-c", "exec 3<>/dev/tcp/10.96.0.1/443")
				return err
			}).WithTimeout(2 * minute).Should(Succeed())
		}
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: after}
spec: {order: 1, selector: role == 'db', ingress: [{action: Allow}]}
`)
		expect(ctx, flows(pods.pods, pods.pods, tcp(80)), func(f flow) bool {
			return strings.HasSuffix(f.to.name, "/db") || sameTeam(f)
		})
	}, SpecTimeout(8*minute))

	It("stores what is valid while no manager answers, and enforces it", func(ctx SpecContext) {
		kubectl(ctx, "scale", "-n", install.Namespace, "deployment/tierwall-manager", "--replicas=0")
		DeferCleanup(func(ctx SpecContext) {
			kubectl(ctx, "scale", "-n", install.Namespace, "deployment/tierwall-manager", "--replicas=2")
			Expect(install.Wait(ctx, bed, how)).To(Succeed())
		})
		kubectl(ctx, "wait", "-n", install.Namespace, "--for=delete", "pod", "-l", "app.kubernetes.io/component=manager", "--timeout=2m")
		apply(ctx, isolated)
		expectIsolated(ctx)
		By("and what is not, without opening anything")
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: broken}
spec: {order: 1, selector: has(role), ingress: [{action: Allow, source: {selector: "team =="}}]}
`)
		for range 3 {
			expectIsolated(ctx)
		}
	}, SpecTimeout(5*minute))

	It("enforces again on a node that was restarted, while the others go on", func(ctx SpecContext) {
		apply(ctx, isolated)
		expectIsolated(ctx)
		nodes := bed.Nodes()
		last := nodes[len(nodes)-1]
		var others []*place
		for _, p := range pods.pods {
			if p.node != last {
				others = append(others, p)
			}
		}
		DeferCleanup(func(ctx SpecContext) { Expect(bed.PowerOn(ctx, last)).To(Succeed()) })
		Expect(bed.PowerOff(ctx, last)).To(Succeed())
		if len(others) > 0 {
			expect(ctx, flows(others, others, tcp(80), udp(80)), sameTeam)
		}
		on := time.Now()
		Expect(bed.PowerOn(ctx, last)).To(Succeed())
		pods.await(ctx, last, on)
		Expect(install.Wait(ctx, bed, how)).To(Succeed())
		expectIsolated(ctx)
		expectReady(ctx, "isolated")
		out, err := status(ctx)
		Expect(err).NotTo(HaveOccurred(), out)
	}, SpecTimeout(6*minute))
}

// agentProcess is the number of a node's agent as the node counts; empty: none.
func agentProcess(ctx context.Context, node string) string {
	out, err := run(ctx, node, "pgrep", "-f", "^/usr/bin/tierwall agent")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// killAgent ends a node's agent as the kernel would for want of memory.
func killAgent(ctx context.Context, node string) {
	GinkgoHelper()
	pid := agentProcess(ctx, node)
	Expect(pid).To(MatchRegexp(`^[0-9]+$`))
	_, err := run(ctx, node, "kill", "-KILL", pid)
	Expect(err).NotTo(HaveOccurred())
	Eventually(ctx, func() string { return agentProcess(ctx, node) }).ShouldNot(Equal(pid))
}
