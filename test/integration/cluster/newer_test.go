package cluster

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

var _ = Describe("CustomResourceDefinitions of a newer version", Ordered, func() {
	policy := func(name string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
			"selector": "app == 'shop'",
			"ingress":  []any{map[string]any{"action": "Allow", "wish": "of a version to come"}, map[string]any{"action": "Allow", "protocol": "TCP"}},
		}}}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("GlobalNetworkPolicy"))
		u.SetName(name)
		return u
	}
	BeforeAll(func() {
		withCRDs()
		crd := &unstructured.Unstructured{}
		crd.SetAPIVersion("apiextensions.k8s.io/v1")
		crd.SetKind("CustomResourceDefinition")
		crd.SetName("globalnetworkpolicies." + v1alpha1.GroupVersion.Group)
		key := client.ObjectKeyFromObject(crd)
		change := func(edit func(rule map[string]any)) {
			GinkgoHelper()
			Expect(admin.Get(ctx(), key, crd)).To(Succeed())
			versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
			Expect(err).NotTo(HaveOccurred())
			rule, _, err := unstructured.NestedMap(versions[0].(map[string]any),
				"schema", "openAPIV3Schema", "properties", "spec", "properties", "ingress", "items", "properties")
			Expect(err).NotTo(HaveOccurred())
			edit(rule)
			Expect(unstructured.SetNestedMap(versions[0].(map[string]any), rule,
				"schema", "openAPIV3Schema", "properties", "spec", "properties", "ingress", "items", "properties")).To(Succeed())
			Expect(unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions")).To(Succeed())
			Expect(admin.Update(ctx(), crd)).To(Succeed())
		}
		change(func(rule map[string]any) { rule["wish"] = map[string]any{"type": "string"} })
		DeferCleanup(func() { change(func(rule map[string]any) { delete(rule, "wish") }) })
	})

	It("have fields that close the rules of an agent that does not know them", func() {
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())
		p := policy("of-tomorrow")
		DeferCleanup(func() { Expect(admin.Delete(ctx(), p)).To(Succeed()) })
		Eventually(func() []any { // until the server has the new definition it prunes the field
			p = policy("of-tomorrow")
			Expect(client.IgnoreNotFound(admin.Delete(ctx(), p))).To(Succeed())
			Expect(admin.Create(ctx(), p)).To(Succeed())
			rules, _, _ := unstructured.NestedSlice(p.Object, "spec", "ingress")
			return rules
		}).Should(ContainElement(HaveKey("wish")))
		Eventually(r.report).Should(ContainSubstring("unknown field spec.ingress[0].wish"))
		got, ok := r.get("GlobalNetworkPolicy/of-tomorrow").(*v1alpha1.GlobalNetworkPolicy)
		Expect(ok).To(BeTrue())
		Expect(got.Spec.Ingress).To(HaveLen(2))
		Expect(got.Spec.Ingress[0].Source.Selector).To(Equal("!all()"))
		Expect(got.Spec.Ingress[1].Source.Selector).To(BeEmpty())

		By("mending it")
		p.Object["spec"].(map[string]any)["ingress"] = []any{map[string]any{"action": "Allow", "protocol": "UDP"}}
		Expect(admin.Update(ctx(), p)).To(Succeed())
		Eventually(r.report).Should(BeEmpty())
		got = r.get("GlobalNetworkPolicy/of-tomorrow").(*v1alpha1.GlobalNetworkPolicy)
		Expect(got.Spec.Ingress[0].Source.Selector).To(BeEmpty())
	})
})
