package tiers

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// calico is a policy of group projectcalico.org; "" leaves the tier unset.
func calico(kind, namespace, name, tier string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "projectcalico.org/v3", "kind": kind, "spec": map[string]any{},
	}}
	o.SetName(name)
	o.SetNamespace(namespace)
	if tier != "" {
		o.Object["spec"] = map[string]any{"tier": tier}
	}
	return o
}

var _ = Describe("tier ownership of Calico's kinds, where Tierwall serves them", func() {
	// Users carl and cleo may do everything with Calico's policies; cleo has tier security.
	BeforeEach(func() {
		Expect(server.Apply(ctx(), "config/calico/globalnetworkpolicies.yaml", "config/calico/networkpolicies.yaml", "config/calico/stagedglobalnetworkpolicies.yaml",
			"config/calico/stagednetworkpolicies.yaml", "config/admission/calico/tier-ownership.yaml")).To(Succeed())
		write := rbacv1.PolicyRule{APIGroups: []string{"projectcalico.org"}, Resources: []string{globals, policies, "staged" + globals, "staged" + policies}, Verbs: anything}
		tier := rule([]string{"create", "update", "delete"}, []string{"tiers/" + policies, "tiers/" + globals}, "security")
		for user, rules := range map[string][]rbacv1.PolicyRule{"carl": {write}, "cleo": {write, tier}} {
			made(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules})
			made(&rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: user},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
			})
		}
		// The server serves a kind, and takes up a binding, a moment after it has it.
		Eventually(func() error {
			return as("carl").Create(ctx(), calico("GlobalNetworkPolicy", "", "probe", "security"), client.DryRunAll)
		}).Should(refused("carl", "create", "security", globals))
		Eventually(func() error {
			return as("cleo").Create(ctx(), calico("NetworkPolicy", "shop", "probe", "security"), client.DryRunAll)
		}).Should(Succeed())
		Eventually(func() error {
			return as("cleo").Create(ctx(), calico("StagedNetworkPolicy", "shop", "probe", "security"), client.DryRunAll)
		}).Should(Succeed())
		Eventually(func() error {
			return as("cleo").Create(ctx(), calico("StagedGlobalNetworkPolicy", "", "probe", "security"), client.DryRunAll)
		}).Should(Succeed())
	})

	It("asks for the tiers of staged policies too", func() {
		carl, cleo := as("carl"), as("cleo")
		Expect(carl.Create(ctx(), calico("StagedNetworkPolicy", "shop", "web", "security"), client.DryRunAll)).To(refused("carl", "create", "security", policies))
		Expect(carl.Create(ctx(), calico("StagedGlobalNetworkPolicy", "", "web", "security"), client.DryRunAll)).To(refused("carl", "create", "security", globals))
		Expect(cleo.Create(ctx(), calico("StagedGlobalNetworkPolicy", "", "web", ""), client.DryRunAll)).To(refused("cleo", "create", "default", globals))
		made(calico("StagedGlobalNetworkPolicy", "", "security.web", "security"))
		Expect(carl.Delete(ctx(), calico("StagedGlobalNetworkPolicy", "", "security.web", ""))).To(refused("carl", "delete", "security", globals))
		Expect(cleo.Delete(ctx(), calico("StagedGlobalNetworkPolicy", "", "security.web", ""))).To(Succeed())
	})

	It("asks for the same tiers", func() {
		carl, cleo := as("carl"), as("cleo")
		Expect(carl.Create(ctx(), calico("NetworkPolicy", "shop", "web", "security"), client.DryRunAll)).To(refused("carl", "create", "security", policies))
		Expect(cleo.Create(ctx(), calico("NetworkPolicy", "shop", "web", "security"), client.DryRunAll)).To(Succeed())
		Expect(cleo.Create(ctx(), calico("GlobalNetworkPolicy", "", "web", "security"), client.DryRunAll)).To(Succeed())
		Expect(cleo.Create(ctx(), calico("GlobalNetworkPolicy", "", "web", ""), client.DryRunAll)).To(refused("cleo", "create", "default", globals))

		By("deleting what somebody else has made")
		made(calico("GlobalNetworkPolicy", "", "security.web", "security"))
		Expect(carl.Delete(ctx(), calico("GlobalNetworkPolicy", "", "security.web", ""))).To(refused("carl", "delete", "security", globals))
		Expect(cleo.Delete(ctx(), calico("GlobalNetworkPolicy", "", "security.web", ""))).To(Succeed())
	})

	It("refuses a tier that is no name", func() {
		o := calico("GlobalNetworkPolicy", "", "web", "")
		o.Object["spec"] = map[string]any{"tier": int64(5)}
		Expect(as("cleo").Create(ctx(), o, client.DryRunAll)).To(HaveOccurred())
	})
})
