//go:build e2e

package e2e

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/test/cluster/install"
)

// nextTag is the image of the upgrade.
const nextTag = "v0.1.1-next"

// unharmed expects that nothing is lost or opened while something is done to
// Tierwall, until all of it is ready again.
func unharmed(ctx SpecContext, do func()) {
	GinkgoHelper()
	apply(ctx, isolated)
	expectIsolated(ctx)
	g := startGuards(ctx)
	do()
	Expect(install.Wait(ctx, bed, how)).To(Succeed())
	g.expectWhole(ctx)
	expectIsolated(ctx)
}

// rollout replaces all pods of a workload of Tierwall's.
func rollout(ctx SpecContext, workload string) {
	GinkgoHelper()
	kubectl(ctx, "rollout", "restart", "-n", install.Namespace, workload)
	kubectl(ctx, "rollout", "status", "-n", install.Namespace, workload, "--timeout=3m")
}

// restartSpecs replace agents and managers while packets are counted: not one
// that is allowed may be lost, and not one that is denied may get through.
func restartSpecs() {
	It("loses nothing and opens nothing when all agents are restarted", func(ctx SpecContext) {
		unharmed(ctx, func() { rollout(ctx, "daemonset/tierwall-agent") })
	}, SpecTimeout(5*minute))

	It("loses nothing and opens nothing when agents are killed", func(ctx SpecContext) {
		unharmed(ctx, func() {
			for _, node := range bed.Nodes() {
				killAgent(ctx, node)
			}
		})
	}, SpecTimeout(3*minute))

	It("loses nothing and opens nothing when the operator is restarted", func(ctx SpecContext) {
		unharmed(ctx, func() { rollout(ctx, "deployment/tierwall-manager") })
	}, SpecTimeout(5*minute))

	It("is upgraded, and goes back, with kubectl apply, and nothing is lost or opened", func(ctx SpecContext) {
		apply(ctx, isolated)
		expectIsolated(ctx)
		next := how
		next.Tag, next.Program = nextTag, ""
		var err error
		next.Program, err = install.Build(ctx, next) // nothing is counted while the compiler has the machine
		Expect(err).NotTo(HaveOccurred())
		_, err = install.Load(ctx, bed, next)
		Expect(err).NotTo(HaveOccurred())
		g := startGuards(ctx)
		start := time.Now()
		Expect(install.Apply(ctx, bed, next)).To(Succeed())
		AddReportEntry("upgrade of all", time.Since(start).Round(100*time.Millisecond).String())
		for _, node := range bed.Nodes() {
			Expect(kubectl(ctx, "get", "nodereports", node)).To(ContainSubstring(nextTag))
		}
		Expect(install.Apply(ctx, bed, how)).To(Succeed())
		for _, node := range bed.Nodes() {
			Expect(kubectl(ctx, "get", "nodereports", node)).NotTo(ContainSubstring(nextTag))
		}
		g.expectWhole(ctx)
		expectIsolated(ctx)
	}, SpecTimeout(10*minute))
}
