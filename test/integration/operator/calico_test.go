package operator

import (
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/install"
	"github.com/tierwall/tierwall/test/integration/env"
)

var _ = Describe("config/calico", func() {
	It("takes existing manifests unchanged, also what Tierwall refuses or does not know", func() {
		crds, err := install.Render("config/calico")
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error { return apply(crds...) }).Should(Succeed())

		files, err := filepath.Glob(filepath.Join(server.Root(), "policy", "translate", "testdata", "*.in.yaml"))
		Expect(err).NotTo(HaveOccurred())
		var manifests []*unstructured.Unstructured
		for _, f := range files {
			objects, err := env.Read(f)
			Expect(err).NotTo(HaveOccurred())
			manifests = append(manifests, objects...)
		}
		manifests = append(manifests, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": map[string]any{"name": "not-understood"},
			"spec": map[string]any{
				"selector": "has(", "types": []any{"Sideways"}, "futureField": map[string]any{"a": int64(1)},
				"ingress": []any{map[string]any{"action": "Allow", "http": map[string]any{"methods": []any{"GET"}}, "source": map[string]any{"nets": []any{"no block"}}}},
			},
		}})
		// Calico has more kinds, which say nothing of policy: profiles, address pools.
		defined := map[string]bool{}
		for _, o := range crds {
			kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
			defined[kind] = true
		}
		kinds := map[string]int{}
		for _, o := range manifests {
			if o.GroupVersionKind().Group != "projectcalico.org" || !defined[o.GetKind()] {
				continue
			}
			kinds[o.GetKind()]++
			if ns := o.GetNamespace(); ns != "" {
				Expect(client.IgnoreAlreadyExists(admin.Create(ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))).To(Succeed())
			}
			created := o.DeepCopy()
			created.SetResourceVersion("") // some were read from a cluster
			created.SetUID("")
			create := func() error { return client.IgnoreAlreadyExists(admin.Create(ctx(), created)) }
			Eventually(create).Should(Succeed(), "%s/%s", o.GetKind(), o.GetName())
			if created.GetUID() == "" {
				continue // another file has one of that name
			}
			DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), created))).To(Succeed()) })
			Expect(read(created)).To(HaveField("Object", HaveKeyWithValue("spec", Equal(o.Object["spec"]))))
		}
		Expect(kinds).To(And(HaveKey("GlobalNetworkPolicy"), HaveKey("NetworkPolicy"), HaveKey("GlobalNetworkSet"), HaveKey("HostEndpoint"), HaveKey("Tier")))
	})
})
