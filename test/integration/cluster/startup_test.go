package cluster

import (
	"context"
	"log/slog"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
	"github.com/tierwall/tierwall/controllers/cluster"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/controllers/startup"
	"github.com/tierwall/tierwall/dataplane/fake"
)

// agentToken is what an agent's token makes of a client: bound to a pod of a node.
func agentToken(node string) *rest.Config {
	config := server.As("system:serviceaccount:tierwall-system:tierwall-agent")
	config.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
	return config
}

// enforceEarly runs the agent of a node as cmd does, on a fake kernel.
func enforceEarly(node string, kernel *fake.Backend) *startup.Overlay {
	GinkgoHelper()
	log := slog.New(slog.NewTextHandler(GinkgoWriter, nil))
	s, err := cluster.New(cluster.Options{Config: agentToken(node), Node: node, Log: log})
	Expect(err).NotTo(HaveOccurred())
	store, err := startup.NewStore(agentToken(node), node)
	Expect(err).NotTo(HaveOccurred())
	announcer, err := startup.NewReportWriter(startup.ReportWriterOptions{Store: store, Log: log})
	Expect(err).NotTo(HaveOccurred())
	overlay, err := startup.New(startup.Options{Node: node, Source: s, Announcer: announcer, Log: log})
	Expect(err).NotTo(HaveOccurred())
	a, err := agent.New(agent.Options{Node: node, Source: overlay, Backend: kernel, Log: log})
	Expect(err).NotTo(HaveOccurred())
	overlay.Attach(a)
	c, cancel := context.WithCancel(context.Background())
	over := make(chan error, 2)
	go func() { over <- a.Run(c) }()
	go func() { over <- announcer.Run(c) }()
	DeferCleanup(func() {
		cancel()
		Eventually(over).Should(Receive(BeNil()))
		Eventually(over).Should(Receive(BeNil()))
	})
	Eventually(a.Ready).Should(Succeed())
	return overlay
}

var _ = Describe("A pod that starts", Ordered, func() {
	var here, there *fake.Backend
	var overlay *startup.Overlay
	BeforeAll(func() {
		withCRDs()
		Expect(server.Apply(ctx(), "config/admission/node-reports.yaml")).To(Succeed())
		role := &rbacv1.ClusterRole{ObjectMeta: named("startup-agent"), Rules: operator.AgentRules()}
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: named("startup-agent"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "startup-agent"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "tierwall-system", Name: "tierwall-agent"}},
		}
		namespace("startup")
		for _, o := range []client.Object{
			role, binding, &corev1.Node{ObjectMeta: named("startup-here")}, &corev1.Node{ObjectMeta: named("startup-there")},
			&networkingv1.NetworkPolicy{ObjectMeta: in("startup", "p"), Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "server"}},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
					PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "client"}},
				}}}},
			}},
		} {
			Expect(admin.Create(ctx(), o)).To(Succeed())
			DeferCleanup(func() { remove(o) })
		}
		pod("startup", "server", "startup-there", "10.9.1.1", map[string]string{"app": "server"})
		here, there = &fake.Backend{}, &fake.Backend{}
		overlay = enforceEarly("startup-here", here)
		enforceEarly("startup-there", there)
	})

	sandbox := func(p *corev1.Pod, ip string) startup.Sandbox {
		return startup.Sandbox{ID: "s-" + p.Name, Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Addrs: []netip.Addr{netip.MustParseAddr(ip)}}
	}
	report := func() []v1alpha1.StartedPod {
		GinkgoHelper()
		r := &v1alpha1.PodAddressReport{}
		Expect(client.IgnoreNotFound(admin.Get(ctx(), client.ObjectKey{Name: "startup-here"}, r))).To(Succeed())
		return r.Pods
	}

	It("is in its node's kernel and announced when its start goes on, and then on the other node", func() {
		p := pod("startup", "client", "startup-here", "", map[string]string{"app": "client"})
		Expect(overlay.Started(ctx(), sandbox(p, "10.9.0.1"))).To(Succeed())
		Expect(here.World().Endpoints).To(HaveKey(HaveField("Name", "client")))
		Expect(report()).To(ConsistOf(v1alpha1.StartedPod{Namespace: "startup", Name: "client", UID: string(p.UID), IPs: []string{"10.9.0.1"}}))
		r := &v1alpha1.PodAddressReport{}
		Expect(admin.Get(ctx(), client.ObjectKey{Name: "startup-here"}, r)).To(Succeed())
		Expect(r.OwnerReferences).To(ConsistOf(And(HaveField("Kind", "Node"), HaveField("Name", "startup-here"))))
		Eventually(func() int { return len(setsWith(there, "10.9.0.1")) }).Should(Equal(1))

		By("the kubelet reporting it")
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, "10.9.0.1", []corev1.PodIP{{IP: "10.9.0.1"}}
		Expect(admin.Status().Update(ctx(), p)).To(Succeed())
		Eventually(report).Should(BeEmpty())
		Expect(setsWith(there, "10.9.0.1")).To(HaveLen(1))
		Expect(here.World().Endpoints).To(HaveKey(HaveField("Name", "client")))
		remove(p)
		Eventually(func() int { return len(setsWith(there, "10.9.0.1")) }).Should(BeZero())
	})

	It("is not what another node says of it", func() {
		p := pod("startup", "forged", "startup-here", "", map[string]string{"app": "client"})
		thief, err := server.Client(agentToken("startup-there"))
		Expect(err).NotTo(HaveOccurred())
		forged := &v1alpha1.PodAddressReport{ObjectMeta: named("startup-here"), Pods: []v1alpha1.StartedPod{{Namespace: "startup", Name: "forged", UID: string(p.UID), IPs: []string{"10.9.66.6"}}}}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"pods":null}`))
		Expect(apierrors.IsForbidden(thief.Patch(ctx(), forged, patch))).To(BeTrue())
		forged.Name = "startup-elsewhere"
		Expect(apierrors.IsForbidden(thief.Create(ctx(), forged))).To(BeTrue())
		Expect(admin.Create(ctx(), forged)).To(Succeed())
		DeferCleanup(func() { remove(forged) })
		Consistently(func() int { return len(setsWith(there, "10.9.66.6")) }, "300ms").Should(BeZero())
		remove(p)
	})
})

// setsWith are the sets of a fake kernel that have an address.
func setsWith(kernel *fake.Backend, addr string) (out []string) {
	for id, members := range kernel.World().Sets {
		for _, m := range members {
			if m.Prefix.Addr().String() == addr {
				out = append(out, id)
			}
		}
	}
	return out
}
