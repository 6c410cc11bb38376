package operator

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/tierwall/tierwall/controllers/operator"
)

var _ = Describe("Conditions", func() {
	var f fleet

	BeforeEach(func() {
		fresh()
		f = newFleet(12)
		start(operator.Options{Clock: f.clock})
		allInstalled()
	})

	It("follow the agents from the first to the last, and a node that fails", func() {
		f.roll(f.nodes[:10]...)
		Eventually(state(operator.ConditionProgressing)).Should(Equal("True RollingOut: 10 of 12 agents are of the current version"))
		Eventually(state(operator.ConditionAvailable)).Should(Equal("True AgentsAvailable: 10 of 12 agents are available"))
		f.roll(f.nodes[10:]...)
		Eventually(state(operator.ConditionProgressing)).Should(Equal("False RolledOut: all 12 agents are of the current version"))
		Expect(state(operator.ConditionDegraded)()).To(Equal("False AsDesired: everything is as it should be"))

		f.set("n3", corev1.ConditionFalse, "CrashLoopBackOff")
		f.set("n11", corev1.ConditionFalse, "ImagePullBackOff")
		f.report()
		Eventually(state(operator.ConditionDegraded)).Should(Equal("True AgentsFailing: 2 of 12 agents fail: n11 (ImagePullBackOff), n3 (CrashLoopBackOff)"))
		Eventually(state(operator.ConditionAvailable)).Should(Equal("True AgentsAvailable: 10 of 12 agents are available"))
		f.set("n4", corev1.ConditionFalse, "")
		f.report()
		Eventually(state(operator.ConditionAvailable)).Should(Equal("False AgentsUnavailable: 9 of 12 agents are available"))
		f.clock.Step(6 * time.Minute)
		f.set("n3", corev1.ConditionTrue, "")
		f.set("n11", corev1.ConditionTrue, "")
		f.report()
		Eventually(state(operator.ConditionDegraded)).Should(Equal("True AgentsFailing: 1 of 12 agents fail: n4 (not ready for 5m0s)"))
		f.set("n4", corev1.ConditionTrue, "")
		f.report()
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		Eventually(state(operator.ConditionAvailable)).Should(Equal("True AgentsAvailable: 12 of 12 agents are available"))
	})

	It("say that no node is for the agents", func() {
		f.nodes = nil
		f.report()
		Eventually(state(operator.ConditionAvailable)).Should(HavePrefix("False NoNodes"))
	})
})
