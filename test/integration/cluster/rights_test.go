package cluster

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

// rules are all that an agent's source reads.
func rules() []rbacv1.PolicyRule {
	read := func(group string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: []string{"list", "watch"}}
	}
	return []rbacv1.PolicyRule{
		read("", "namespaces", "serviceaccounts", "nodes"),
		read("discovery.k8s.io", "endpointslices"),
		read("networking.k8s.io", "networkpolicies"),
		read("apiextensions.k8s.io", "customresourcedefinitions"),
		read("tierwall.io", "tierwalls", "tiers", "globalnetworkpolicies", "networkpolicies", "globalnetworksets", "networksets", "hostendpoints", "podaddressreports"),
		read("policy.networking.k8s.io", "clusternetworkpolicies"),
		read("", "pods"),
	}
}

// user gives a user of the name these rights, until the spec ends.
func user(name string, rules []rbacv1.PolicyRule) *rbacv1.ClusterRole {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: named(name), Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: named(name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
	Expect(admin.Create(ctx(), role)).To(Succeed())
	Expect(admin.Create(ctx(), binding)).To(Succeed())
	DeferCleanup(func() {
		remove(binding)
		remove(role)
	})
	return role
}

var _ = Describe("Rights", func() {
	BeforeEach(withCRDs)

	It("that the source needs are these and no others", func() {
		// Of Calico's kinds there are none here.
		user("agent-all", rules())
		r, _ := watch(server.As("agent-all"), "")
		Eventually(r.inSync).Should(BeTrue())
		Expect(r.report()).To(BeEmpty())
	})

	It("that the operator gives to agents are enough", func() {
		user("agent-operator", operator.AgentRules())
		policies := crd("projectcalico.org", "v3", "networkpolicies", "NetworkPolicy", apiextensionsv1.NamespaceScoped)
		create(policies)
		DeferCleanup(func() { remove(policies) })
		r, _ := watch(server.As("agent-operator"), "")
		Eventually(r.inSync).Should(BeTrue())
		Eventually(r.report).Should(BeEmpty())
	})

	It("that are missing are reported, and nothing is in sync until they are there", func() {
		all := rules()
		role := user("agent-some", all[:len(all)-1])
		r, _ := watch(server.As("agent-some"), "")
		Eventually(r.report).Should(And(
			ContainSubstring("pods: permission missing: list and watch at the scope of the cluster"), ContainSubstring(`resource "pods"`)))
		Eventually(r.names).WithArguments("Namespace").Should(ContainElement("Namespace/default"))
		Expect(r.inSync()).To(BeFalse())
		role.Rules = all
		Expect(admin.Update(ctx(), role)).To(Succeed())
		Eventually(r.inSync).Should(BeTrue())
		Eventually(r.report).Should(BeEmpty())
	})

	It("to read what other agents announce are reported where they are missing, and waited for by nothing", func() {
		some := rules()
		resources := &some[4].Resources
		*resources = (*resources)[:len(*resources)-1]
		role := user("agent-before-an-upgrade", some)
		r, _ := watch(server.As("agent-before-an-upgrade"), "")
		Eventually(r.inSync).Should(BeTrue())
		Eventually(r.report).Should(HavePrefix("podaddressreports.tierwall.io: permission missing"))
		role.Rules = rules()
		Expect(admin.Update(ctx(), role)).To(Succeed())
		Eventually(r.report).Should(BeEmpty())
	})

	It("to see which kinds there are is needed too", func() {
		var some []rbacv1.PolicyRule
		for _, rule := range rules() {
			if rule.APIGroups[0] != "apiextensions.k8s.io" {
				some = append(some, rule)
			}
		}
		user("agent-blind", some)
		r, _ := watch(server.As("agent-blind"), "")
		Eventually(r.report).Should(ContainSubstring("customresourcedefinitions.apiextensions.k8s.io: permission missing"))
		Expect(r.inSync()).To(BeFalse())
	})

	It("that are taken away later are reported; what was said stays, and the other kinds go on", func() {
		gns := &v1alpha1.GlobalNetworkSet{ObjectMeta: named("kept")}
		Expect(admin.Create(ctx(), gns)).To(Succeed())
		DeferCleanup(func() { remove(gns) })
		role := user("agent-less", rules())
		r, _ := watch(server.As("agent-less"), "")
		Eventually(r.inSync).Should(BeTrue())
		Expect(r.get("GlobalNetworkSet/kept")).NotTo(BeNil())

		// A watch that is under way goes on without its right; a restart of the
		// server ends it.
		role.Rules[4].Resources = []string{"tierwalls", "tiers", "globalnetworkpolicies", "networkpolicies", "networksets", "hostendpoints", "podaddressreports"}
		Expect(admin.Update(ctx(), role)).To(Succeed())
		Expect(server.StopServer()).To(Succeed())
		Eventually(r.report).Should(ContainSubstring("the API server cannot be reached; what it said last stays in force"))
		Expect(server.StartServer()).To(Succeed())
		Eventually(r.report).Should(HavePrefix("globalnetworksets.tierwall.io: permission missing"))
		Expect(r.get("GlobalNetworkSet/kept")).NotTo(BeNil())
		tier := &v1alpha1.Tier{ObjectMeta: named("goes-on")}
		Expect(admin.Create(ctx(), tier)).To(Succeed())
		Eventually(r.get).WithArguments("Tier/goes-on").ShouldNot(BeNil())
		remove(tier)
	})
})
