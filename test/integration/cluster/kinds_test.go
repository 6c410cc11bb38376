package cluster

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	clusterv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// pod creates a pod on a node; with an address it runs.
func pod(namespace, name, node, ip string, labels map[string]string) *corev1.Pod {
	GinkgoHelper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "c", Image: "none", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {ContainerPort: 9090}},
		}}},
	}
	Expect(admin.Create(ctx(), p)).To(Succeed())
	if ip != "" {
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		Expect(admin.Status().Update(ctx(), p)).To(Succeed())
	}
	return p
}

func namespace(name string) *corev1.Namespace {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": name}}}
	Expect(admin.Create(ctx(), ns)).To(Succeed())
	return ns
}

func remove(o client.Object) {
	GinkgoHelper()
	Expect(admin.Delete(ctx(), o, client.GracePeriodSeconds(0))).To(Succeed())
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func in(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

var _ = Describe("Source", Ordered, func() {
	It("is in sync in a cluster that has no kinds of Tierwall, and picks them up when they come", func() {
		withoutCRDs()
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())
		Expect(r.report()).To(BeEmpty())
		Expect(r.names("Namespace")).To(ContainElement("Namespace/default"))

		withCRDs()
		tier := &v1alpha1.Tier{ObjectMeta: named("late")}
		Expect(admin.Create(ctx(), tier)).To(Succeed())
		Eventually(r.names).WithArguments("Tier").Should(ContainElement("Tier/late"))
		cnp := &clusterv1alpha2.ClusterNetworkPolicy{ObjectMeta: named("late"), Spec: clusterv1alpha2.ClusterNetworkPolicySpec{
			Tier: clusterv1alpha2.AdminTier, Priority: 3, Subject: clusterv1alpha2.ClusterNetworkPolicySubject{Namespaces: &metav1.LabelSelector{}},
		}}
		Expect(admin.Create(ctx(), cnp)).To(Succeed())
		Eventually(r.get).WithArguments("ClusterNetworkPolicy/late").ShouldNot(BeNil())
		remove(tier)
		remove(cnp)
		Eventually(r.names).WithArguments("Tier", "ClusterNetworkPolicy").Should(BeEmpty())
		Eventually(r.report).Should(BeEmpty())
	})

	It("delivers every built-in kind, its changes, and that it is gone, with what counts and no more", func() {
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())
		namespace("kinds")
		node := &corev1.Node{ObjectMeta: named("kinds-node"), Spec: corev1.NodeSpec{PodCIDR: "10.9.0.0/24", PodCIDRs: []string{"10.9.0.0/24"}}}
		Expect(admin.Create(ctx(), node)).To(Succeed())
		account := &corev1.ServiceAccount{ObjectMeta: in("kinds", "runner")}
		Expect(admin.Create(ctx(), account)).To(Succeed())
		policy := &networkingv1.NetworkPolicy{ObjectMeta: in("kinds", "deny")}
		policy.Annotations = map[string]string{v1alpha1.EnforcementAnnotation: "Audit", "other": "gone"}
		Expect(admin.Create(ctx(), policy)).To(Succeed())
		p := pod("kinds", "p", "kinds-node", "10.9.0.5", map[string]string{"app": "p"})

		for _, name := range []string{
			"Namespace/kinds", "Node/kinds-node", "ServiceAccount/kinds/runner", "NetworkPolicy/kinds/deny", "Pod/kinds/p",
		} {
			Eventually(r.get).WithArguments(name).ShouldNot(BeNil(), name)
		}
		Eventually(r.get).WithArguments("Pod/kinds/p").Should(Equal(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kinds", Name: "p", UID: p.UID, Labels: map[string]string{"app": "p"}},
			Spec: corev1.PodSpec{
				NodeName: "kinds-node", ServiceAccountName: p.Spec.ServiceAccountName, DeprecatedServiceAccount: p.Spec.DeprecatedServiceAccount,
				TerminationGracePeriodSeconds: p.Spec.TerminationGracePeriodSeconds,
				Containers:                    []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}},
			},
			Status: corev1.PodStatus{PodIP: "10.9.0.5", PodIPs: []corev1.PodIP{{IP: "10.9.0.5"}}},
		}))
		Expect(r.get("NetworkPolicy/kinds/deny")).To(HaveField("Annotations", Equal(map[string]string{v1alpha1.EnforcementAnnotation: "Audit"})))

		By("saying nothing of changes that nobody reads")
		told := r.told("Node/kinds-node")
		node.Status.NodeInfo.KernelVersion = "6.0"
		Expect(admin.Status().Update(ctx(), node)).To(Succeed())
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.9"}}
		Expect(admin.Status().Update(ctx(), node)).To(Succeed())
		Eventually(r.get).WithArguments("Node/kinds-node").Should(HaveField("Status.Addresses", HaveLen(1)))
		Expect(r.told("Node/kinds-node")).To(Equal(told + 1))

		By("delivering changes")
		p.Labels["app"] = "q"
		Expect(admin.Update(ctx(), p)).To(Succeed())
		Eventually(r.get).WithArguments("Pod/kinds/p").Should(HaveField("Labels", HaveKeyWithValue("app", "q")))

		By("counting a pod that has finished as none")
		p.Status.Phase = corev1.PodSucceeded
		Expect(admin.Status().Update(ctx(), p)).To(Succeed())
		Eventually(r.get).WithArguments("Pod/kinds/p").Should(BeNil())

		By("delivering that objects are gone")
		for _, o := range []client.Object{p, policy, account, node} {
			remove(o)
		}
		Eventually(func() []string { return r.names("Node", "NetworkPolicy", "ServiceAccount", "Pod") }).
			ShouldNot(ContainElement(ContainSubstring("kinds")))
		Expect(r.report()).To(BeEmpty())
	})

	It("delivers every kind of Tierwall's", func() {
		withCRDs()
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())
		namespace("own")
		objects := map[string]client.Object{
			"Tier/own":                          &v1alpha1.Tier{ObjectMeta: named("own")},
			"GlobalNetworkPolicy/own":           &v1alpha1.GlobalNetworkPolicy{ObjectMeta: named("own"), Spec: v1alpha1.GlobalNetworkPolicySpec{Selector: "all()"}},
			"NetworkPolicy.tierwall.io/own/own": &v1alpha1.NetworkPolicy{ObjectMeta: in("own", "own"), Spec: v1alpha1.NetworkPolicySpec{Selector: "all()"}},
			"GlobalNetworkSet/own":              &v1alpha1.GlobalNetworkSet{ObjectMeta: named("own"), Spec: v1alpha1.NetworkSetSpec{Nets: []string{"192.0.2.0/24"}}},
			"NetworkSet/own/own":                &v1alpha1.NetworkSet{ObjectMeta: in("own", "own"), Spec: v1alpha1.NetworkSetSpec{Nets: []string{"192.0.2.0/24"}}},
			"HostEndpoint/own":                  &v1alpha1.HostEndpoint{ObjectMeta: named("own"), Spec: v1alpha1.HostEndpointSpec{Node: "n", InterfaceName: "*"}},
			"Tierwall/" + v1alpha1.TierwallName: &v1alpha1.Tierwall{ObjectMeta: named(v1alpha1.TierwallName)},
		}
		for name, o := range objects {
			Expect(admin.Create(ctx(), o)).To(Succeed(), name)
			Eventually(r.get).WithArguments(name).ShouldNot(BeNil(), name)
			Expect(r.get(name)).To(And(HaveField("ManagedFields", BeEmpty()), HaveField("Generation", int64(1)), HaveField("UID", o.GetUID())), name)
		}

		By("telling nothing of a change of status, and all of a change of spec")
		gnp := objects["GlobalNetworkPolicy/own"].(*v1alpha1.GlobalNetworkPolicy)
		told := r.told("GlobalNetworkPolicy/own")
		gnp.Status.Conditions = []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Valid", LastTransitionTime: metav1.Now()}}
		Expect(admin.Status().Update(ctx(), gnp)).To(Succeed())
		gnp.Spec.Selector = "app == 'x'"
		Expect(admin.Update(ctx(), gnp)).To(Succeed())
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/own").Should(HaveField("Spec.Selector", "app == 'x'"))
		Expect(r.told("GlobalNetworkPolicy/own")).To(Equal(told + 1))

		for name, o := range objects {
			remove(o)
			Eventually(r.get).WithArguments(name).Should(BeNil(), name)
		}
		Expect(r.report()).To(BeEmpty())
	})

	It("reads EndpointSlices once a policy names a Service, and holds that policy until they are known", func() {
		namespace("services")
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: in("services", "web-1"), AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.9.0.5"}, TargetRef: &corev1.ObjectReference{Name: "p"}}},
		}
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web", "other": "label"}
		Expect(admin.Create(ctx(), slice)).To(Succeed())
		var some []rbacv1.PolicyRule
		for _, rule := range rules() {
			if rule.APIGroups[0] != "discovery.k8s.io" {
				some = append(some, rule)
			}
		}
		role := user("agent-services", some)
		r, _ := watch(server.As("agent-services"), "")
		Eventually(r.inSync).Should(BeTrue())
		Expect(r.report()).To(BeEmpty())
		Expect(r.names("EndpointSlice")).To(BeEmpty())

		policy := &v1alpha1.NetworkPolicy{ObjectMeta: in("services", "to-web"), Spec: v1alpha1.NetworkPolicySpec{Selector: "all()"}}
		Expect(admin.Create(ctx(), policy)).To(Succeed())
		Eventually(r.get).WithArguments("NetworkPolicy.tierwall.io/services/to-web").ShouldNot(BeNil())
		policy.Spec.Egress = []v1alpha1.Rule{{Action: v1alpha1.Allow, Destination: v1alpha1.EntityRule{Services: &v1alpha1.ServiceMatch{Name: "web"}}}}
		Expect(admin.Update(ctx(), policy)).To(Succeed())
		Eventually(r.report).Should(ContainSubstring("endpointslices.discovery.k8s.io: permission missing"))
		Expect(r.get("NetworkPolicy.tierwall.io/services/to-web")).To(HaveField("Spec.Egress", BeEmpty()))

		By("delivering both once the slices can be read")
		role.Rules = rules()
		Expect(admin.Update(ctx(), role)).To(Succeed())
		Eventually(r.get).WithArguments("NetworkPolicy.tierwall.io/services/to-web").Should(HaveField("Spec.Egress", HaveLen(1)))
		Expect(r.get("EndpointSlice/services/web-1")).To(And(
			HaveField("Labels", Equal(map[string]string{discoveryv1.LabelServiceName: "web"})),
			HaveField("Endpoints", ConsistOf(discoveryv1.Endpoint{Addresses: []string{"10.9.0.5"}}))))
		Eventually(r.report).Should(BeEmpty())

		By("delivering them before an agent that starts now is in sync")
		late, _ := watch(server.Admin(), "")
		Eventually(late.inSync).Should(BeTrue())
		Expect(late.get("NetworkPolicy.tierwall.io/services/to-web")).NotTo(BeNil())
		Expect(late.get("EndpointSlice/services/web-1")).NotTo(BeNil())

		By("following them")
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.9.0.6"}})
		Expect(admin.Update(ctx(), slice)).To(Succeed())
		Eventually(r.get).WithArguments("EndpointSlice/services/web-1").Should(HaveField("Endpoints", HaveLen(2)))
		remove(slice)
		Eventually(r.get).WithArguments("EndpointSlice/services/web-1").Should(BeNil())
		remove(policy)
	})

	It("makes the automatic host endpoints of all nodes, below those that people write", func() {
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "auto", Labels: map[string]string{"rack": "1"}}}
		Expect(admin.Create(ctx(), node)).To(Succeed())
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.77"}}
		Expect(admin.Status().Update(ctx(), node)).To(Succeed())
		settings := &v1alpha1.Tierwall{ObjectMeta: named(v1alpha1.TierwallName), Spec: v1alpha1.TierwallSpec{AutoHostEndpoints: true}}
		Expect(admin.Create(ctx(), settings)).To(Succeed())
		Eventually(r.get).WithArguments("HostEndpoint/auto-auto-hep").Should(And(
			HaveField("Labels", HaveKeyWithValue("rack", "1")), HaveField("Spec.InterfaceName", "*"),
			HaveField("Spec.ExpectedIPs", ConsistOf("192.0.2.77")), HaveField("Spec.DefaultAction", HaveValue(Equal(v1alpha1.Allow))),
		))

		By("letting a written one count before it")
		written := &v1alpha1.HostEndpoint{ObjectMeta: named("auto-auto-hep"), Spec: v1alpha1.HostEndpointSpec{Node: "auto", InterfaceName: "eth0"}}
		Expect(admin.Create(ctx(), written)).To(Succeed())
		Eventually(r.get).WithArguments("HostEndpoint/auto-auto-hep").Should(HaveField("Spec.InterfaceName", "eth0"))
		remove(written)
		Eventually(r.get).WithArguments("HostEndpoint/auto-auto-hep").Should(HaveField("Spec.InterfaceName", "*"))

		By("taking them away with the setting and with the node")
		node.Labels["rack"] = "2"
		Expect(admin.Update(ctx(), node)).To(Succeed())
		Eventually(r.get).WithArguments("HostEndpoint/auto-auto-hep").Should(HaveField("Labels", HaveKeyWithValue("rack", "2")))
		settings.Spec.AutoHostEndpoints = false
		Expect(admin.Update(ctx(), settings)).To(Succeed())
		Eventually(r.names).WithArguments("HostEndpoint").Should(BeEmpty())
		remove(settings)
		remove(node)
	})

	It("reports that its node is not in the cluster", func() {
		r, _ := watch(server.Admin(), "absent")
		Eventually(r.report).Should(ContainSubstring("Node/absent: the cluster has no such node"))
		node := &corev1.Node{ObjectMeta: named("absent")}
		Expect(admin.Create(ctx(), node)).To(Succeed())
		Eventually(r.report).Should(BeEmpty())
		remove(node)
		Eventually(r.report).Should(ContainSubstring("Node/absent"))
	})

	It("survives many specs of itself without a trace", func() {
		for i := range 3 {
			r, stop := watch(server.Admin(), "")
			Eventually(r.inSync).Should(BeTrue(), fmt.Sprint(i))
			stop()
		}
	})
})
