package admission

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
	"github.com/tierwall/tierwall/controllers/status"
)

var _ = Describe("the webhook", func() {
	up := func() replica {
		GinkgoHelper()
		r := manage(admission.Options{NoInstall: true})
		webhookAt(r.port)
		answers()
		return r
	}
	merge := func(patch string) client.Patch {
		return client.RawPatch("application/merge-patch+json", []byte(patch))
	}

	It("refuses what the CRD cannot check, and names the field", func() {
		up()
		err := admin.Create(ctx(), global("bad", func(s *v1alpha1.GlobalNetworkPolicySpec) {
			s.Selector = "app = 'web'"
			s.Ingress = []v1alpha1.Rule{
				{Action: v1alpha1.Allow},
				{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{NamespaceSelector: "env in {'prod'"}},
			}
		}))
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(And(
			ContainSubstring(`admission webhook "validation.tierwall.io" denied the request: spec.selector: `),
			ContainSubstring("spec.ingress[1].source.namespaceSelector: "),
		)))
		causes := err.(apierrors.APIStatus).Status().Details.Causes
		Expect(causes).To(ConsistOf(
			HaveField("Field", "spec.selector"), HaveField("Field", "spec.ingress[1].source.namespaceSelector")))
	})

	It("agrees with the CRDs about good objects", func() {
		up()
		all := documents("good")
		for _, d := range all["tiers.yaml"] {
			Expect(admin.Create(ctx(), d.object, client.DryRunAll)).To(Succeed(), d.object.GetName())
		}
		delete(all, "tiers.yaml")
		made(&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "security"}})
		for file, list := range all {
			for _, d := range list {
				Expect(admin.Create(ctx(), d.object, client.DryRunAll)).To(Succeed(), "%s: %s", file, d.object.GetName())
			}
		}
	})

	It("refuses a policy of a tier that does not exist, and takes it once there is one", func() {
		up()
		p := global("early", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "late" })
		Expect(admin.Create(ctx(), p.DeepCopy())).To(MatchError(ContainSubstring(`spec.tier: tier "late" does not exist`)))
		made(&v1alpha1.Tier{ObjectMeta: metav1.ObjectMeta{Name: "late"}})
		// At once: it does not matter whether the manager has seen the tier.
		made(p)
	})

	It("warns of what will not do what was meant", func() {
		up()
		made(global("odd", func(s *v1alpha1.GlobalNetworkPolicySpec) {
			s.Ingress = []v1alpha1.Rule{{Action: v1alpha1.Allow, Source: v1alpha1.EntityRule{
				Nets: []string{"192.0.2.0/24"}, NotNets: []string{"192.0.2.0/23"},
			}}}
		}))
		Expect(heard.take()).To(ConsistOf("spec.ingress[0]: never matches: the source notNets exclude all of its nets"))
		made(global("plain", nil))
		Expect(heard.take()).To(BeEmpty())
	})

	It("lets an object that is invalid already be labelled, with a warning, and be deleted", func() {
		bad := made(global("old", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "(" }))
		up()
		Expect(admin.Patch(ctx(), bad, merge(`{"metadata":{"labels":{"a":"b"},"finalizers":["example.org/hold"]}}`))).To(Succeed())
		Expect(heard.take()).To(ConsistOf(HavePrefix("spec.selector: ")))
		Expect(admin.Patch(ctx(), bad, merge(`{"spec":{"order":1}}`))).To(WithTransform(apierrors.IsInvalid, BeTrue()))
		Expect(admin.Delete(ctx(), bad)).To(Succeed())
		Expect(admin.Patch(ctx(), bad, merge(`{"metadata":{"finalizers":null}}`))).To(Succeed())
		Expect(admin.Get(ctx(), client.ObjectKeyFromObject(bad), bad)).To(WithTransform(apierrors.IsNotFound, BeTrue()))
	})

	It("is not waited for: without it an invalid object is stored, and its status says so", func() {
		r := up()
		p := global("unchecked", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "app = 'web'" })
		Expect(admin.Create(ctx(), p.DeepCopy())).To(WithTransform(apierrors.IsInvalid, BeTrue()))
		r.stop()
		made(p)
		manage(admission.Options{NoInstall: true, Port: -1}, func(m ctrl.Manager) error { return status.Add(m, status.Options{}) })
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(ctx(), client.ObjectKeyFromObject(p), p)).To(Succeed())
			c := meta.FindStatusCondition(p.Status.Conditions, status.Accepted)
			g.Expect(c).NotTo(BeNil())
			g.Expect(c.Status).To(Equal(metav1.ConditionFalse))
			g.Expect(c.Message).To(ContainSubstring("spec.selector"))
		}).Should(Succeed())
	})

	It("is not waited for while it hangs", func() {
		port := freePort()
		hang(port)
		webhookAt(port)
		bounded, cancel := context.WithTimeout(ctx(), time.Minute)
		defer cancel()
		Expect(admin.Create(bounded, global("patient", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Selector = "(" }), client.DryRunAll)).To(Succeed())
	})
})
