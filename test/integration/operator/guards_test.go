package operator

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

var _ = Describe("Guards", func() {
	BeforeEach(fresh)

	guards := func(want v1alpha1.GuardMode) {
		GinkgoHelper()
		Eventually(tierwall).Should(HaveField("Status.Guards", want))
		// The rest of the status, which is written later, leaves it alone.
		Eventually(state(operator.ConditionTunnelFailsafe)).Should(HavePrefix("True OpenByDefault"))
		Expect(tierwall()).To(HaveField("Status.Guards", want))
	}

	It("enforce in a new installation, and still after its upgrade", func() {
		first := start(operator.Options{})
		allInstalled()
		guards(v1alpha1.GuardEnforce)
		Eventually(state(operator.ConditionGuardsEnforced)).Should(Equal("True Enforced: all guards drop what they find"))
		first.stop()
		start(operator.Options{Image: "registry.example/tierwall:v2"})
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Image", "registry.example/tierwall:v2"))))
		change(func(tw *v1alpha1.Tierwall) { tw.Spec.AutoHostEndpoints = true })
		Eventually(tierwall).Should(HaveField("Status.ObservedGeneration", BeEquivalentTo(2)))
		guards(v1alpha1.GuardEnforce)
	})

	It("enforce where a person creates the Tierwall object", func() {
		start(operator.Options{NoDefault: true})
		own := &v1alpha1.Tierwall{}
		own.Name = v1alpha1.TierwallName
		Expect(admin.Create(ctx(), own)).To(Succeed())
		guards(v1alpha1.GuardEnforce)
	})

	It("count after an upgrade from a version without them, until people set them", func() {
		old := start(operator.Options{})
		allInstalled()
		Eventually(state(operator.ConditionAvailable)).Should(HavePrefix("False"))
		old.stop()
		// As an older version leaves it.
		Eventually(func() error {
			tw, err := tierwall()
			if err != nil {
				return err
			}
			tw.Status.Guards = ""
			return admin.Status().Update(ctx(), tw)
		}).Should(Succeed())

		second := start(operator.Options{Image: "registry.example/tierwall:v2"})
		guards(v1alpha1.GuardCount)
		Eventually(state(operator.ConditionGuardsEnforced)).Should(HavePrefix("False CountingSinceUpgrade: guards count only since the upgrade: set spec.sourceGuard, "))
		second.stop()
		start(operator.Options{Image: "registry.example/tierwall:v3"})
		change(func(tw *v1alpha1.Tierwall) {
			tw.Spec.SourceGuard, tw.Spec.LinkGuard = v1alpha1.GuardEnforce, v1alpha1.GuardEnforce
			tw.Spec.EncapsulationGuard, tw.Spec.WildcardGuard = v1alpha1.GuardEnforce, v1alpha1.GuardEnforce
		})
		Eventually(state(operator.ConditionGuardsEnforced)).Should(Equal("True Enforced: all guards drop what they find"))
		guards(v1alpha1.GuardCount)
	})

	It("count where nothing but the agents is left of the older version", func() {
		old := start(operator.Options{})
		allInstalled()
		old.stop()
		tw, err := tierwall()
		Expect(err).NotTo(HaveOccurred())
		tw.Finalizers = nil
		Expect(admin.Update(ctx(), tw)).To(Succeed())
		Expect(admin.Delete(ctx(), tw)).To(Succeed())
		start(operator.Options{Image: "registry.example/tierwall:v2"})
		guards(v1alpha1.GuardCount)
	})
})
