package operator

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

var _ = Describe("Installing", func() {
	BeforeEach(fresh)

	It("creates Tierwall/default where there is none, and installs the agents and the tiers", func() {
		start(operator.Options{})
		Eventually(tierwall).Should(HaveField("Finalizers", ConsistOf(operator.Finalizer)))
		allInstalled()
		Eventually(state(operator.ConditionAvailable)).Should(HavePrefix("False RollingOut"))
		Eventually(state(operator.ConditionProgressing)).Should(HavePrefix("True RollingOut"))
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		ds, err := daemonSet()
		Expect(err).NotTo(HaveOccurred())
		Expect(ds.Spec.Template.Spec.Containers[0].Image).To(Equal(image))
		for name, want := range map[string]v1alpha1.TierSpec{
			"kube-admin":    {Order: ptr.To(1e3), DefaultAction: ptr.To(v1alpha1.Pass)},
			"default":       {Order: ptr.To(1e6), DefaultAction: ptr.To(v1alpha1.Deny)},
			"kube-baseline": {Order: ptr.To(1e7), DefaultAction: ptr.To(v1alpha1.Pass)},
		} {
			tier, err := read(&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: name}})
			Expect(err).NotTo(HaveOccurred())
			Expect(tier.Spec).To(Equal(want))
		}
	})

	It("creates none if it is told not to, and installs what a person creates", func() {
		start(operator.Options{NoDefault: true})
		own := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.TierwallName}}
		own.Spec.Agent = v1alpha1.AgentSpec{
			Image:        "registry.example/other:v2",
			NodeSelector: map[string]string{"pool": "workers"},
			Tolerations:  []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}},
			Resources:    corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}},
		}
		Expect(admin.Create(ctx(), own)).To(Succeed())
		Eventually(daemonSet).ShouldNot(BeNil())
		ds, err := daemonSet()
		Expect(err).NotTo(HaveOccurred())
		spec := ds.Spec.Template.Spec
		Expect(spec.Containers[0].Image).To(Equal("registry.example/other:v2"))
		Expect(spec.NodeSelector).To(Equal(map[string]string{"pool": "workers", "kubernetes.io/os": "linux"}))
		Expect(spec.Tolerations).To(Equal(own.Spec.Agent.Tolerations))
		Expect(spec.Containers[0].Resources.Limits.Memory().String()).To(Equal("1Gi"))
	})

	It("takes the image that the manager itself runs, unless it is told another", func() {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tierwall-manager-x"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "proxy", Image: "registry.example/proxy"}, {Name: operator.ManagerContainer, Image: "mirror.example/tierwall@sha256:00"},
			}},
		}
		Expect(admin.Create(ctx(), pod)).To(Succeed())
		first := start(operator.Options{Pod: pod.Name})
		hasImage := func(image string) types.GomegaMatcher {
			return HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Image", image)))
		}
		Eventually(daemonSet).Should(hasImage("mirror.example/tierwall@sha256:00"))
		first.stop()
		start(operator.Options{Pod: pod.Name, Image: "registry.example/tierwall:v3"})
		Eventually(daemonSet).Should(hasImage("registry.example/tierwall:v3"))
	})

	It("follows the settings that take a restart, and no others", func() {
		start(operator.Options{})
		allInstalled()
		Eventually(tierwall).Should(HaveField("Status.Conditions", Not(BeEmpty())))
		before, err := daemonSet()
		Expect(err).NotTo(HaveOccurred())
		account, err := read(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName}})
		Expect(err).NotTo(HaveOccurred())

		// Agents read these by themselves.
		change(func(tw *v1alpha1.Tierwall) {
			tw.Spec.UnknownWorkloads = v1alpha1.Allow
			tw.Spec.AutoHostEndpoints = true
			tw.Spec.Logging.RatePerRule = ptr.To[int32](1)
			tw.Spec.Failsafe.Inbound = &[]v1alpha1.FailsafePort{{Port: 22}}
		})
		Eventually(tierwall).Should(HaveField("Status.ObservedGeneration", BeEquivalentTo(2)))
		Expect(daemonSet()).To(HaveField("ResourceVersion", before.ResourceVersion))

		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Metrics.Port = ptr.To[int32](0) })
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", ContainElement("--metrics-addr=127.0.0.1:9477")))))
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operator.AgentName}}
		Eventually(gone).WithArguments(service).Should(BeTrue())
		Expect(daemonSet()).To(HaveField("Generation", before.Generation+1))
		// What has not changed is not written.
		Expect(read(account.DeepCopy())).To(HaveField("ResourceVersion", account.ResourceVersion))

		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Metrics.Port = ptr.To[int32](9999) })
		Eventually(read[*corev1.Service]).WithArguments(service).Should(HaveField("Spec.Ports", ConsistOf(HaveField("Port", BeEquivalentTo(9999)))))
	})

	It("replaces the agents when the manager has a new image", func() {
		f := newFleet(3)
		first := start(operator.Options{Clock: f.clock})
		allInstalled()
		f.roll(f.nodes...)
		Eventually(state(operator.ConditionProgressing)).Should(Equal("False RolledOut: all 3 agents are of the current version"))
		first.stop()

		start(operator.Options{Clock: f.clock, Image: "registry.example/tierwall:v2"})
		Eventually(daemonSet).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Image", "registry.example/tierwall:v2"))))
		f.roll("n0")
		Eventually(state(operator.ConditionProgressing)).Should(Equal("True RollingOut: 1 of 3 agents are of the current version"))
		Expect(state(operator.ConditionAvailable)()).To(Equal("True AgentsAvailable: 3 of 3 agents are available"))
		f.roll("n1", "n2")
		Eventually(state(operator.ConditionProgressing)).Should(HavePrefix("False RolledOut"))
	})
})

// change changes the Tierwall object as a person would.
func change(how func(*v1alpha1.Tierwall)) {
	GinkgoHelper()
	Eventually(func() error {
		tw, err := tierwall()
		if err != nil {
			return err
		}
		how(tw)
		err = admin.Update(ctx(), tw)
		if !apierrors.IsConflict(err) {
			Expect(err).NotTo(HaveOccurred())
		}
		return err
	}).Should(Succeed())
}
