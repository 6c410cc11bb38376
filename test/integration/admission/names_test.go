package admission

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
)

// reaching is a policy with one egress rule by DNS name.
func reaching(name string, action v1alpha1.Action, to v1alpha1.EntityRule) *v1alpha1.GlobalNetworkPolicy {
	return global(name, func(s *v1alpha1.GlobalNetworkPolicySpec) {
		s.Types = []v1alpha1.PolicyType{v1alpha1.PolicyTypeEgress}
		s.Egress = []v1alpha1.Rule{{Action: action, Destination: to}}
	})
}

var _ = Describe("rules by DNS name", func() {
	byName := func(domains ...string) v1alpha1.EntityRule { return v1alpha1.EntityRule{Domains: domains} }
	refused := func(o client.Object, says string) {
		GinkgoHelper()
		err := admin.Create(ctx(), o, client.DryRunAll)
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%s: %v", o.GetName(), err)
		Expect(err).To(MatchError(ContainSubstring(says)), o.GetName())
	}

	It("are refused by the API server itself where they deny, pass on or stand beside other peers", func() {
		const action = "domains needs action Allow or Log"
		refused(reaching("denied", v1alpha1.Deny, byName("api.example.com")), action)
		refused(reaching("passed", v1alpha1.Pass, byName("api.example.com")), action)
		const beside = "domains cannot be combined with nets, selector, namespaceSelector, serviceAccounts and services"
		for field, to := range map[string]v1alpha1.EntityRule{
			"selector":          {Selector: "app == 'web'"},
			"nets":              {Nets: []string{"192.0.2.0/24"}},
			"namespaceselector": {NamespaceSelector: "all()"},
			"serviceaccounts":   {ServiceAccounts: &v1alpha1.ServiceAccountMatch{Names: []string{"web"}}},
		} {
			to.Domains = []string{"api.example.com"}
			refused(reaching("beside-"+field, v1alpha1.Allow, to), beside)
		}
		ingress := reaching("senders", v1alpha1.Allow, byName())
		ingress.Spec.Egress[0].Source = byName("api.example.com")
		refused(ingress, "domains is only allowed in the destination of an egress rule")
		for _, a := range []v1alpha1.Action{v1alpha1.Allow, v1alpha1.Log} {
			Expect(admin.Create(ctx(), reaching("good", a, byName("api.example.com", "*.example.net")), client.DryRunAll)).To(Succeed())
		}
	})

	It("are refused by the webhook where a name cannot be read, with its field", func() {
		r := manage(admission.Options{NoInstall: true})
		webhookAt(r.port)
		answers()
		for _, bad := range []string{"*", "www*.example.com", "example.*", "192.0.2.1", "a..example", "-a.example", "exa mple.com"} {
			p := reaching("bad", v1alpha1.Allow, byName("api.example.com", bad))
			err := admin.Create(ctx(), p, client.DryRunAll)
			Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%s: %v", bad, err)
			Expect(err.(apierrors.APIStatus).Status().Details.Causes).To(ConsistOf(HaveField("Field", "spec.egress[0].destination.domains[1]")), bad)
			set := &v1alpha1.GlobalNetworkSet{
				ObjectMeta: metav1.ObjectMeta{Name: "bad"},
				Spec:       v1alpha1.NetworkSetSpec{AllowedEgressDomains: []string{bad}},
			}
			refused(set, "spec.allowedEgressDomains[0]: invalid DNS name")
		}
		heard.take()
		made(reaching("spelling", v1alpha1.Allow, byName("Bücher.Example.", "a.*.shop.example")))
		Expect(heard.take()).To(ConsistOf(And(HavePrefix("spec.egress[0].destination.domains[0]: "), ContainSubstring("xn--bcher-kva.example"))))
	})
})
