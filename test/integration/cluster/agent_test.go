package cluster

import (
	"context"
	"log/slog"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/dataplane"
	"github.com/tierwall/tierwall/dataplane/fake"
	"github.com/tierwall/tierwall/policy/model"
)

// enforce runs an agent of a node on a fake kernel until the spec ends, or stop
// is called.
func enforce(config *rest.Config, node string, kernel dataplane.Backend) (a *agent.Agent, stop func()) {
	GinkgoHelper()
	log := slog.New(slog.NewTextHandler(GinkgoWriter, nil))
	s, err := cluster.New(cluster.Options{Config: config, Node: node, Log: log})
	Expect(err).NotTo(HaveOccurred())
	a, err = agent.New(agent.Options{Node: node, Source: s, Backend: kernel, Log: log})
	Expect(err).NotTo(HaveOccurred())
	c, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- a.Run(c) }()
	stop = sync.OnceFunc(func() {
		cancel()
		Eventually(over).Should(Receive(BeNil()))
	})
	DeferCleanup(stop)
	return a, stop
}

// programsOf returns the programs of an endpoint in a fake kernel as text.
func programsOf(kernel *fake.Backend, name string) func() string {
	return func() string {
		GinkgoHelper()
		ref, err := model.ParseRef(name)
		Expect(err).NotTo(HaveOccurred())
		w := kernel.World()
		text := ""
		for _, id := range w.Endpoints[ref].Programs {
			text += w.Programs[id] + "\n"
		}
		return text
	}
}

var _ = Describe("Agent", Ordered, func() {
	var kernel *fake.Backend
	BeforeAll(func() {
		withCRDs()
		namespace("agent")
		Expect(admin.Create(ctx(), &corev1.Node{ObjectMeta: named("agent-node")})).To(Succeed())
		pod("agent", "here", "agent-node", "10.8.0.1", map[string]string{"app": "here"})
		pod("agent", "there", "other-node", "10.8.1.1", map[string]string{"app": "there"})
		Expect(admin.Create(ctx(), &networkingv1.NetworkPolicy{ObjectMeta: in("agent", "p"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "here"}},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "there"}},
			}}}},
		}})).To(Succeed())
		kernel = &fake.Backend{}
	})

	It("enforces what the cluster says, on its own pods", func() {
		a, _ := enforce(server.Admin(), "agent-node", kernel)
		Eventually(a.Ready).Should(Succeed())
		Expect(kernel.World().Endpoints).To(HaveLen(1))
		Expect(programsOf(kernel, "Pod/agent/here")()).NotTo(BeEmpty())

		By("following what happens")
		pod("agent", "new", "agent-node", "10.8.0.2", nil)
		Eventually(func() int { return len(kernel.World().Endpoints) }).Should(Equal(2))
	})

	It("goes on through an outage of the API server and follows it again", func() {
		a, _ := enforce(server.Admin(), "agent-node", kernel)
		Eventually(a.Ready).Should(Succeed())
		before := kernel.World()
		Expect(server.StopServer()).To(Succeed())
		Expect(a.Ready()).To(Succeed())
		Expect(a.Healthy()).To(Succeed())
		Expect(kernel.World()).To(Equal(before))
		Expect(server.StartServer()).To(Succeed())
		pod("agent", "after", "agent-node", "10.8.0.3", nil)
		Eventually(func() int { return len(kernel.World().Endpoints) }).Should(Equal(3))
		Expect(a.Ready()).To(Succeed())
	})

	It("leaves the kernel alone if it starts while the API server is away, and says that it is not ready", func() {
		before := kernel.World()
		Expect(server.StopServer()).To(Succeed())
		a, _ := enforce(server.Admin(), "agent-node", kernel)
		Eventually(a.Ready).Should(MatchError(ContainSubstring("the API server cannot be reached")))
		a.Resync() // as after a change of somebody else's
		Consistently(kernel.World, "300ms").Should(Equal(before))
		Expect(a.Healthy()).To(Succeed())
		Expect(server.StartServer()).To(Succeed())
		Eventually(a.Ready).Should(Succeed())
		Expect(kernel.World()).To(Equal(before))
	})
})
