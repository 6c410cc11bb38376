package status

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
)

// realAgent runs an agent that is real but for the kernel, which fails while it is told to.
func realAgent(name string, fails *atomic.Bool) {
	GinkgoHelper()
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(admin.Create(ctx(), o)).To(Succeed())
	DeferCleanup(func() {
		Expect(admin.Delete(ctx(), o)).To(Succeed())
		Expect(client.IgnoreNotFound(admin.Delete(ctx(), &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: name}}))).To(Succeed())
	})
	from, err := cluster.New(cluster.Options{Config: server.Admin(), Node: name})
	Expect(err).NotTo(HaveOccurred())
	rep, err := reporter.New(reporter.Options{
		Client: agents(), Node: name, Version: "v-real", Dataplane: v1alpha1.DataplaneNFTables, Window: 100 * time.Millisecond,
	})
	Expect(err).NotTo(HaveOccurred())
	a, err := agent.New(agent.Options{Node: name, Source: from, Reporter: rep, Backend: &fake.Backend{
		Before: func(fake.Op, *dataplane.State) error {
			if fails.Load() {
				return errors.New("the kernel says no")
			}
			return nil
		},
	}})
	Expect(err).NotTo(HaveOccurred())
	run, cancel := context.WithCancel(context.Background())
	over := make(chan error, 2)
	go func() { over <- a.Run(run) }()
	go func() { over <- rep.Run(run) }()
	DeferCleanup(func() {
		cancel()
		Eventually(over).Should(Receive(BeNil()))
		Eventually(over).Should(Receive(BeNil()))
	})
}

// podOn makes a running pod with an address.
func podOn(node, name, address string) {
	GinkgoHelper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": name}}}
	p.Spec.NodeName, p.Spec.Containers = node, []corev1.Container{{Name: "c", Image: "i"}}
	p.Spec.AutomountServiceAccountToken = new(false)
	Expect(admin.Create(ctx(), p)).To(Succeed())
	DeferCleanup(func() { Expect(admin.Delete(ctx(), p, client.GracePeriodSeconds(0))).To(Succeed()) })
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
	Expect(admin.Status().Update(ctx(), p)).To(Succeed())
}

var _ = Describe("A whole agent", func() {
	It("and the manager together say of each generation whether it is in the kernel", func() {
		Expect(client.IgnoreAlreadyExists(admin.Create(ctx(), &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "default"}}))).To(Succeed()) // no controller makes it here
		fails := &atomic.Bool{}
		realAgent("whole", fails)
		podOn("whole", "whole-web", "10.9.0.1")
		p := globalPolicy("whole", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "app == 'whole-web'" })
		other := globalPolicy("whole-other", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "app == 'nobody'" })
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 1/1 g1"))
		Eventually(line(other)).Should(Equal("True/Accepted True/NoEndpoints 0/0 g1"))

		fails.Store(true)
		p.Spec.Ingress[0].Source.Nets = []string{"192.0.2.0/24"}
		Expect(admin.Update(ctx(), p)).To(Succeed())
		Eventually(line(p)).Should(Equal("True/Accepted False/NodesFailed 0/1 g2"))
		r := &v1alpha1.NodeReport{}
		Expect(admin.Get(ctx(), client.ObjectKey{Name: "whole"}, r)).To(Succeed())
		Expect(r.Report.InSync).To(BeFalse())
		Expect(r.Report.Policies).To(HaveKeyWithValue("GlobalNetworkPolicy/whole", int64(1)), "the kernel still has the generation before")

		fails.Store(false)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 1/1 g2"))

		// A policy's own status is no news to the agents.
		Expect(admin.Get(ctx(), client.ObjectKey{Name: "whole"}, r)).To(Succeed())
		Consistently(func() string {
			now := &v1alpha1.NodeReport{}
			Expect(admin.Get(ctx(), client.ObjectKey{Name: "whole"}, now)).To(Succeed())
			return now.ResourceVersion
		}).Should(Equal(r.ResourceVersion))
	})
})
