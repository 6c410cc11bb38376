package cluster

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
)

// crd is a definition that takes anything.
func crd(group, version, plural, kind string, scope apiextensionsv1.ResourceScope) *apiextensionsv1.CustomResourceDefinition {
	anything := true
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: named(plural + "." + group),
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: scope,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &anything,
				}},
			}},
		},
	}
}

func foreign(apiVersion, kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// create creates an object of a kind that may just be coming to be served.
func create(o client.Object) {
	GinkgoHelper()
	Eventually(func() error {
		err := admin.Create(ctx(), o)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}).Should(Succeed())
}

var _ = Describe("Calico's kinds", Ordered, func() {
	const v3, old = "projectcalico.org", "crd.projectcalico.org"

	It("are translated when they come, settled among each other, and gone with their definitions", func() {
		withCRDs()
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())

		By("reading the older spelling")
		oldPolicies := crd(old, "v1", "globalnetworkpolicies", "GlobalNetworkPolicy", apiextensionsv1.ClusterScoped)
		felix := crd(old, "v1", "felixconfigurations", "FelixConfiguration", apiextensionsv1.ClusterScoped)
		create(oldPolicies)
		create(felix)
		create(foreign(old+"/v1", "GlobalNetworkPolicy", "", "default.calico", map[string]any{
			"tier": "default", "selector": "app == 'old'", "types": []any{"Ingress"},
		}))
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/calico").Should(HaveField("Spec.Selector", "app == 'old'"))

		By("letting the newer spelling count before the older")
		newPolicies := crd(v3, "v3", "globalnetworkpolicies", "GlobalNetworkPolicy", apiextensionsv1.ClusterScoped)
		create(newPolicies)
		create(foreign(v3+"/v3", "GlobalNetworkPolicy", "", "calico", map[string]any{
			"tier": "default", "selector": "app == 'new'", "types": []any{"Ingress"},
		}))
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/calico").Should(HaveField("Spec.Selector", "app == 'new'"))

		By("letting a Tierwall object of the name count before both")
		own := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: named("calico"), Spec: v1alpha1.GlobalNetworkPolicySpec{Selector: "app == 'own'"}}
		Expect(admin.Create(ctx(), own)).To(Succeed())
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/calico").Should(HaveField("Spec.Selector", "app == 'own'"))
		remove(own)
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/calico").Should(HaveField("Spec.Selector", "app == 'new'"))

		By("making settings of Felix's unless there are Tierwall's own")
		create(foreign(old+"/v1", "FelixConfiguration", "", "default", map[string]any{"defaultEndpointToHostAction": "Drop"}))
		Eventually(r.get).WithArguments("Tierwall/default").Should(HaveField("Spec.EndpointToHostAction", v1alpha1.EndpointToHostDrop))
		settings := &v1alpha1.Tierwall{ObjectMeta: named(v1alpha1.TierwallName)}
		Expect(admin.Create(ctx(), settings)).To(Succeed())
		Eventually(r.get).WithArguments("Tierwall/default").Should(HaveField("Spec.EndpointToHostAction", Not(Equal(v1alpha1.EndpointToHostDrop))))
		remove(settings)
		Eventually(r.get).WithArguments("Tierwall/default").Should(HaveField("Spec.EndpointToHostAction", v1alpha1.EndpointToHostDrop))

		By("denying what a policy governs that cannot be read, and saying so")
		create(foreign(v3+"/v3", "GlobalNetworkPolicy", "", "broken", map[string]any{"selector": "app == 'x'", "ingress": "everything"}))
		Eventually(r.report).Should(And(ContainSubstring("GlobalNetworkPolicy.projectcalico.org/broken"), ContainSubstring("cannot be decoded")))
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/broken").Should(And(
			HaveField("Spec.Selector", "app == 'x'"), HaveField("Spec.Ingress", ConsistOf(HaveField("Action", v1alpha1.Action("Unreadable"))))))

		By("dropping all of a definition that goes")
		remove(newPolicies)
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/calico").Should(HaveField("Spec.Selector", "app == 'old'"))
		Eventually(r.get).WithArguments("GlobalNetworkPolicy/broken").Should(BeNil())
		remove(oldPolicies)
		remove(felix)
		Eventually(r.names).WithArguments("GlobalNetworkPolicy", "Tierwall").Should(BeEmpty())
		Eventually(r.report).Should(BeEmpty())
	})

	It("do not keep the agent waiting if they are there in another version only", func() {
		other := crd(v3, "v4", "networksets", "NetworkSet", apiextensionsv1.NamespaceScoped)
		create(other)
		r, _ := watch(server.Admin(), "")
		Eventually(r.inSync).Should(BeTrue())
		Eventually(r.report).Should(And(ContainSubstring("networksets.projectcalico.org"), ContainSubstring("this version of it is not served")))
		remove(other)
		Eventually(r.report).Should(BeEmpty())
	})
})
