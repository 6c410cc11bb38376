package status

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent/reporter"
	"github.com/tierwall/tierwall/controllers/operator"
)

// agentOn is a client with an agent's token, which is bound to a pod of a node.
func agentOn(node string) client.Client {
	GinkgoHelper()
	config := server.As("system:serviceaccount:tierwall-system:tierwall-agent")
	if node != "" {
		config.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {node}}
	}
	c, err := reporter.NewClient(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

var _ = Describe("An agent", func() {
	BeforeEach(func() {
		Expect(server.Apply(ctx(), "config/admission/node-reports.yaml")).To(Succeed())
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "test-agent"}, Rules: operator.AgentRules()}
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "test-agent"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "test-agent"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "tierwall-system", Name: "tierwall-agent"}},
		}
		for _, o := range []client.Object{role, binding} {
			Expect(admin.Create(ctx(), o)).To(Succeed())
			DeferCleanup(func() { Expect(admin.Delete(ctx(), o)).To(Succeed()) })
		}
	})

	It("has the rights that its reports need, and can report on its own node only", func() {
		forged := func(as client.Client) error {
			return as.Create(ctx(), &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, client.DryRunAll)
		}
		Eventually(func() error { return forged(agentOn("own")) }).Should(MatchError(
			ContainSubstring(`an agent can report on its own node only, which by its token is "own", not other`)))
		Expect(apierrors.IsForbidden(forged(agentOn("own")))).To(BeTrue())
		Expect(forged(agentOn(""))).To(MatchError(ContainSubstring(`by its token is "", not other`)))

		other := newNode("other", 1, agentOn("other"))
		other.say()
		Eventually(func() error {
			return admin.Get(ctx(), client.ObjectKey{Name: "other"}, &v1alpha1.NodeReport{})
		}).Should(Succeed())
		r := &v1alpha1.NodeReport{ObjectMeta: metav1.ObjectMeta{Name: "other"}}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"report":{"inSync":false}}`))
		Expect(apierrors.IsForbidden(agentOn("own").Patch(ctx(), r, patch))).To(BeTrue())
		Expect(agentOn("other").Patch(ctx(), r, patch)).To(Succeed())
		Expect(apierrors.IsForbidden(agentOn("other").Delete(ctx(), r))).To(BeTrue())
	})
})
