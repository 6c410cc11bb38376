package operator

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

// cleaning matches a DaemonSet whose agents remove their table.
var cleaning = HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", ContainElements("agent", "--cleanup", "--stay"))))

// enforcing matches one whose agents enforce.
var enforcing = HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", And(ContainElement("agent"), Not(ContainElement("--cleanup"))))))

var _ = Describe("Removing", func() {
	var f fleet

	BeforeEach(func() {
		fresh()
		f = newFleet(2)
	})

	remove := func() {
		GinkgoHelper()
		tw, err := tierwall()
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Delete(ctx(), tw)).To(Succeed())
	}
	allGone := func() {
		GinkgoHelper()
		Eventually(gone).WithArguments(&v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}).Should(BeTrue())
		for i, o := range objects() {
			// Policies may be in the tiers.
			Expect(gone(o)).To(Equal(i < 5), "%T %s", o, o.GetName())
		}
		reports := &v1alpha1.NodeReportList{}
		Expect(admin.List(ctx(), reports)).To(Succeed())
		Expect(reports.Items).To(BeEmpty())
	}

	It("cleans every node, then deletes what was installed, then lets the object go", func() {
		first := start(operator.Options{Clock: f.clock})
		allInstalled()
		f.roll(f.nodes...)
		Eventually(state(operator.ConditionAvailable)).Should(Equal("True AgentsAvailable: 2 of 2 agents are available"))
		Expect(admin.Create(ctx(), &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "n0"}})).To(Succeed())

		remove()
		Eventually(daemonSet).Should(And(cleaning, HaveField("Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.StrVal", "100%")))
		Eventually(state(operator.ConditionProgressing)).Should(And(HavePrefix("True CleaningUp: 0 nodes are clean"), HaveSuffix("for: all nodes")))
		f.report()
		Eventually(state(operator.ConditionProgressing)).Should(HaveSuffix("for: n0, n1"))
		f.roll("n1")
		Eventually(state(operator.ConditionProgressing)).Should(And(HavePrefix("True CleaningUp: 1 nodes are clean"), HaveSuffix("for: n0")))
		Expect(state(operator.ConditionAvailable)()).To(HavePrefix("False CleaningUp"))
		// Whatever somebody does to the DaemonSet meanwhile.
		deleted(objects()[0])
		Eventually(daemonSet).Should(cleaning)
		f.report()
		Eventually(state(operator.ConditionProgressing)).Should(HaveSuffix("for: n0"))
		// Another replica takes over in the midst of it.
		first.stop()
		start(operator.Options{Clock: f.clock})
		f.roll("n0")
		allGone()
		m, err := read(mark())
		Expect(err).NotTo(HaveOccurred())
		Expect(m.Data).To(And(HaveKeyWithValue("uid", Not(BeEmpty())), Not(HaveKey("notCleaned"))))
	})

	It("is not undone by the manager, but by a person", func() {
		first := start(operator.Options{Clock: f.clock})
		allInstalled()
		f.nodes = nil
		f.report()
		remove()
		Eventually(daemonSet).Should(cleaning)
		f.report()
		allGone()
		first.stop()

		start(operator.Options{Clock: f.clock})
		Expect(admin.Create(ctx(), &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}})).To(Succeed())
		Eventually(daemonSet).Should(enforcing)
		Eventually(gone).WithArguments(mark()).Should(BeTrue())
	})

	It("goes on without nodes that do not answer, after a time, and names them", func() {
		start(operator.Options{Clock: f.clock, CleanupTimeout: 10 * time.Minute})
		allInstalled()
		f.roll(f.nodes...)
		remove()
		Eventually(daemonSet).Should(cleaning)
		f.roll("n0")
		tw, err := tierwall()
		Expect(err).NotTo(HaveOccurred())
		until := tw.DeletionTimestamp.Add(10 * time.Minute).UTC().Format(time.RFC3339)
		Eventually(state(operator.ConditionProgressing)).Should(HaveSuffix("waiting until " + until + " for: n1"))
		f.clock.Step(11 * time.Minute)
		f.set("n1", corev1.ConditionFalse, "") // something happens; the operator's own timer is real
		allGone()
		Expect(read(mark())).To(HaveField("Data", HaveKeyWithValue("notCleaned", "n1")))
		Eventually(func(g Gomega) {
			events := &corev1.EventList{}
			g.Expect(admin.List(ctx(), events, client.MatchingFields{"reason": "NodesNotCleaned"})).To(Succeed())
			g.Expect(events.Items).To(ContainElement(HaveField("Message", ContainSubstring("still holds Tierwall's table: n1. On each, run: nft delete table inet tierwall"))))
		}).Should(Succeed())
	})
})
