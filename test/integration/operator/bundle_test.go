package operator

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/admission"
	"github.com/tierwall/tierwall/controllers/operator"
	"github.com/tierwall/tierwall/test/integration/env"
)

// csv is what OLM takes from a ClusterServiceVersion to install it.
type csv struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Install struct {
			Strategy string `json:"strategy"`
			Spec     struct {
				ClusterPermissions []permissions `json:"clusterPermissions"`
				Permissions        []permissions `json:"permissions"`
				Deployments        []struct {
					Name  string                `json:"name"`
					Label map[string]string     `json:"label"`
					Spec  appsv1.DeploymentSpec `json:"spec"`
				} `json:"deployments"`
			} `json:"spec"`
		} `json:"install"`
	} `json:"spec"`
}

type permissions struct {
	ServiceAccountName string              `json:"serviceAccountName"`
	Rules              []rbacv1.PolicyRule `json:"rules"`
}

// readCSV reads the bundle's.
func readCSV() csv {
	GinkgoHelper()
	data, err := os.ReadFile(filepath.Join(server.Root(), "bundle", "manifests", "tierwall.clusterserviceversion.yaml"))
	Expect(err).NotTo(HaveOccurred())
	var c csv
	Expect(yaml.Unmarshal(data, &c)).To(Succeed())
	return c
}

// olm applies a bundle into a namespace the way OLM does, and returns the
// manager's Deployment.
func olm(into string) *appsv1.Deployment {
	GinkgoHelper()
	folder := filepath.Join(server.Root(), "bundle", "manifests")
	objects, err := env.Read(folder)
	Expect(err).NotTo(HaveOccurred())
	namespaced := map[string]bool{"Service": true, "PodDisruptionBudget": true}
	for _, o := range objects {
		if o.GetKind() == "ClusterServiceVersion" {
			continue
		}
		if namespaced[o.GetKind()] {
			o.SetNamespace(into)
		}
		Expect(admin.Apply(ctx(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("olm"), client.ForceOwnership)).To(Succeed(), o.GetName())
	}
	c := readCSV()
	install := c.Spec.Install.Spec
	Expect(c.Spec.Install.Strategy).To(Equal("deployment"))
	Expect(install.Deployments).To(HaveLen(1))

	create := func(o client.Object) {
		GinkgoHelper()
		Expect(admin.Create(ctx(), o)).To(Succeed())
		DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed()) })
	}
	name := func(namespace string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: c.Metadata.Name, Namespace: namespace}
	}
	for _, p := range install.ClusterPermissions {
		create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: into, Name: p.ServiceAccountName}})
		create(&rbacv1.ClusterRole{ObjectMeta: name(""), Rules: p.Rules})
		create(&rbacv1.ClusterRoleBinding{
			ObjectMeta: name(""), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: c.Metadata.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: into, Name: p.ServiceAccountName}},
		})
	}
	for _, p := range install.Permissions {
		create(&rbacv1.Role{ObjectMeta: name(into), Rules: p.Rules})
		create(&rbacv1.RoleBinding{
			ObjectMeta: name(into), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: c.Metadata.Name},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: into, Name: p.ServiceAccountName}},
		})
	}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: into, Name: install.Deployments[0].Name, Labels: install.Deployments[0].Label},
		Spec:       install.Deployments[0].Spec,
	}
	create(d)
	return d
}

var _ = Describe("The bundle", func() {
	BeforeEach(fresh)

	It("has an example of each kind that the API server takes", func() {
		var examples []map[string]any
		Expect(json.Unmarshal([]byte(readCSV().Metadata.Annotations["alm-examples"]), &examples)).To(Succeed())
		kinds := map[string]bool{}
		for _, fields := range examples {
			u := &unstructured.Unstructured{Object: fields}
			kinds[u.GetKind()] = true
			Expect(admin.Create(ctx(), u, client.DryRunAll, client.FieldValidation("Strict"))).To(Succeed(), u.GetKind())
		}
		for _, o := range installed {
			if o.GetKind() == "CustomResourceDefinition" {
				kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
				Expect(kinds).To(HaveKey(kind))
			}
		}
	})

	It("is installed as OLM installs it, in a namespace of its choice: the manager comes up and reconciles", func() {
		const into = "operators"
		Expect(client.IgnoreAlreadyExists(admin.Create(ctx(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: into}}))).To(Succeed())
		// What config/default has installed is not there before OLM.
		Expect(admin.DeleteAllOf(ctx(), &admissionv1.ValidatingAdmissionPolicy{})).To(Succeed())
		Expect(admin.DeleteAllOf(ctx(), &admissionv1.ValidatingWebhookConfiguration{})).To(Succeed())
		ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: into, Name: operator.AgentName}}
		DeferCleanup(func() {
			for _, o := range []client.Object{
				ds, &corev1.Service{ObjectMeta: ds.ObjectMeta}, &corev1.ServiceAccount{ObjectMeta: ds.ObjectMeta},
			} {
				Expect(client.IgnoreNotFound(admin.Delete(ctx(), o))).To(Succeed())
			}
		})

		d := olm(into)
		image := d.Spec.Template.Spec.Containers[0].Image
		r := replicaOf(d, build(), "tierwall-manager-olm")
		Eventually(r.ready).Should(Succeed())
		Eventually(read[*appsv1.DaemonSet]).WithArguments(ds).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Image", image))))
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))

		// OLM applies no admission policies, and the manager may not; it does what leads to
		// the webhook, and says what is missing.
		hook := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: admission.WebhookName}}
		Eventually(read[*admissionv1.ValidatingWebhookConfiguration]).WithArguments(hook).Should(HaveField("Webhooks", Not(BeEmpty())))
		Eventually(r.Err).Should(gbytes.Say("ValidatingAdmissionPolicy/tierwall-tier-ownership is missing"))
		// An administrator does, and the manager works on within its limits.
		for _, o := range installed {
			if strings.HasPrefix(o.GetKind(), "ValidatingAdmissionPolicy") {
				Expect(apply(o)).To(Succeed())
			}
		}
		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Dataplane = v1alpha1.DataplaneNFTables })
		Eventually(read[*appsv1.DaemonSet]).WithArguments(ds).Should(HaveField("Spec.Template.Spec.Containers", ContainElement(HaveField("Args", ContainElement("--dataplane=nftables")))))
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		// Nothing that the manager was refused.
		Expect(string(r.Err.Contents())).NotTo(ContainSubstring("forbidden"))
	})
})
