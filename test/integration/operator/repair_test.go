package operator

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

// content is what an object says, without what the API server keeps about it.
func content(g Gomega, o client.Object) map[string]any {
	g.Expect(admin.Get(ctx(), client.ObjectKeyFromObject(o), o)).To(Succeed())
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	g.Expect(err).NotTo(HaveOccurred())
	u := &unstructured.Unstructured{Object: fields}
	labels, applied := u.GetLabels(), u.GetAnnotations()["tierwall.io/applied"]
	delete(fields, "metadata")
	delete(fields, "status")
	fields["labels"], fields["applied"] = labels, applied
	return fields
}

// edit changes an object the way `kubectl edit` does.
func edit[T client.Object](how func(T)) func(client.Object) {
	return func(o client.Object) {
		GinkgoHelper()
		t, ok := o.(T)
		Expect(ok).To(BeTrue(), "%T", o)
		Eventually(func() error {
			if err := admin.Get(ctx(), client.ObjectKeyFromObject(o), o); err != nil {
				return err
			}
			how(t)
			return admin.Update(ctx(), t, client.FieldOwner("kubectl-edit"))
		}).Should(Succeed())
	}
}

// deleted deletes an object by hand.
func deleted(o client.Object) {
	GinkgoHelper()
	Expect(admin.Delete(ctx(), o)).To(Succeed())
}

func pod(ds *appsv1.DaemonSet) *corev1.PodSpec { return &ds.Spec.Template.Spec }

var _ = Describe("Repairing", Ordered, func() {
	BeforeAll(func() {
		fresh()
		start(operator.Options{})
		allInstalled()
	})

	DescribeTable("what was changed by hand",
		func(which int, change func(client.Object)) {
			o := objects()[which]
			var before map[string]any
			Eventually(func(g Gomega) {
				before = content(g, o)
				g.Expect(before).To(HaveKeyWithValue("applied", Not(BeEmpty())))
			}).Should(Succeed())
			version := o.GetResourceVersion()
			change(o)
			Eventually(func(g Gomega) {
				fresh, ok := o.DeepCopyObject().(client.Object)
				g.Expect(ok).To(BeTrue())
				g.Expect(content(g, fresh)).To(Equal(before))
				g.Expect(fresh.GetResourceVersion()).NotTo(Equal(version))
			}).Should(Succeed())
		},
		Entry("DaemonSet: image", 0, edit(func(d *appsv1.DaemonSet) { pod(d).Containers[0].Image = "evil" })),
		Entry("DaemonSet: a capability more", 0, edit(func(d *appsv1.DaemonSet) {
			c := pod(d).Containers[0].SecurityContext.Capabilities
			c.Add = append(c.Add, "SYS_ADMIN")
		})),
		Entry("DaemonSet: a node selector that no node has", 0, edit(func(d *appsv1.DaemonSet) { pod(d).NodeSelector["nowhere"] = "true" })),
		Entry("DaemonSet: an affinity", 0, edit(func(d *appsv1.DaemonSet) {
			pod(d).Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n0"}}}}},
			}}}
		})),
		Entry("DaemonSet: another container", 0, edit(func(d *appsv1.DaemonSet) {
			pod(d).Containers = append(pod(d).Containers, corev1.Container{Name: "sidecar", Image: "sidecar", TerminationMessagePolicy: "File"})
		})),
		Entry("DaemonSet: no tolerations", 0, edit(func(d *appsv1.DaemonSet) { pod(d).Tolerations = nil })),
		Entry("DaemonSet: no probe", 0, edit(func(d *appsv1.DaemonSet) { pod(d).Containers[0].ReadinessProbe = nil })),
		Entry("DaemonSet: replaced on deletion only", 0, edit(func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
		})),
		Entry("DaemonSet: a label of ours", 0, edit(func(d *appsv1.DaemonSet) { d.Labels["app.kubernetes.io/part-of"] = "else" })),
		Entry("DaemonSet: our annotation", 0, edit(func(d *appsv1.DaemonSet) { d.Annotations["tierwall.io/applied"] = "x" })),
		Entry("DaemonSet: applied by somebody else, with force", 0, func(o client.Object) {
			u := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "apps/v1", "kind": "DaemonSet",
				"metadata": map[string]any{"name": o.GetName(), "namespace": o.GetNamespace()},
				"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
					"hostPID":    true,
					"containers": []any{map[string]any{"name": "agent", "image": "evil", "env": []any{map[string]any{"name": "GODEBUG", "value": "x"}}}},
				}}},
			}}
			Expect(admin.Apply(ctx(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("gitops"), client.ForceOwnership)).To(Succeed())
		}),
		Entry("DaemonSet: deleted", 0, deleted),
		Entry("DaemonSet: replaced by one that selects others", 0, func(o client.Object) {
			d, ok := o.(*appsv1.DaemonSet)
			Expect(ok).To(BeTrue())
			other := &appsv1.DaemonSet{ObjectMeta: *d.ObjectMeta.DeepCopy(), Spec: *d.Spec.DeepCopy()}
			other.UID, other.ResourceVersion, other.ManagedFields = "", "", nil
			other.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
			other.Spec.Template.Labels = map[string]string{"app": "other"}
			Eventually(func() error { // until it is there before the operator's
				_ = admin.Delete(ctx(), d)
				return admin.Create(ctx(), other.DeepCopy())
			}).Should(Succeed())
		}),
		Entry("Service: another port", 1, edit(func(s *corev1.Service) { s.Spec.Ports[0].Port = 1 })),
		Entry("Service: nothing selected", 1, edit(func(s *corev1.Service) { s.Spec.Selector["none"] = "such" })),
		Entry("Service: deleted", 1, deleted),
		Entry("ServiceAccount: deleted", 2, deleted),
		Entry("ClusterRole: no rules", 3, edit(func(r *rbacv1.ClusterRole) { r.Rules = nil })),
		Entry("ClusterRole: a rule more", 3, edit(func(r *rbacv1.ClusterRole) {
			r.Rules = append(r.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
		})),
		Entry("ClusterRole: deleted", 3, deleted),
		Entry("ClusterRoleBinding: a subject more", 4, edit(func(b *rbacv1.ClusterRoleBinding) {
			b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "eve"})
		})),
		Entry("ClusterRoleBinding: deleted", 4, deleted),
		Entry("ClusterRoleBinding: replaced by one of another role", 4, func(o client.Object) {
			b, ok := o.(*rbacv1.ClusterRoleBinding)
			Expect(ok).To(BeTrue())
			other := &rbacv1.ClusterRoleBinding{RoleRef: b.RoleRef, Subjects: b.Subjects}
			other.Name, other.RoleRef.Name = b.Name, "view"
			Eventually(func() error {
				_ = admin.Delete(ctx(), b)
				return admin.Create(ctx(), other.DeepCopy())
			}).Should(Succeed())
		}),
		Entry("Tier kube-admin: deleted", 5, deleted),
		Entry("Tier default: deleted", 6, deleted),
		Entry("Tier kube-baseline: deleted", 7, deleted),
	)

	It("leaves alone what others may add", func() {
		o := objects()
		edit(func(d *appsv1.DaemonSet) {
			d.Labels["team"] = "network"
			d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "2026-11-20T22:00:00Z"
		})(o[0])
		edit(func(a *corev1.ServiceAccount) {
			a.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "mirror"}}
		})(o[2])
		// A change that is repaired shows that all was looked at.
		edit(func(s *corev1.Service) { s.Spec.Ports[0].Port = 2 })(o[1])
		Eventually(read[*corev1.Service]).WithArguments(o[1].(*corev1.Service)).Should(HaveField("Spec.Ports", ConsistOf(HaveField("Port", BeEquivalentTo(9477)))))
		Expect(daemonSet()).To(And(
			HaveField("Labels", HaveKeyWithValue("team", "network")),
			HaveField("Spec.Template.Annotations", HaveKey("kubectl.kubernetes.io/restartedAt")),
		))
		Expect(read(o[2].(*corev1.ServiceAccount))).To(HaveField("ImagePullSecrets", HaveLen(1)))
	})

	It("says so in an event", func() {
		Eventually(func(g Gomega) {
			events := &corev1.EventList{}
			g.Expect(admin.List(ctx(), events)).To(Succeed())
			g.Expect(events.Items).To(ContainElement(And(
				HaveField("Reason", "Repaired"), HaveField("InvolvedObject.Kind", "Tierwall"),
				HaveField("Message", ContainSubstring("DaemonSet/tierwall-system/tierwall-agent")),
			)))
		}).Should(Succeed())
	})
})

var _ = Describe("An object that the API server refuses", func() {
	BeforeEach(fresh)

	It("is reported, keeps no other from being applied, and is well again when it is mended", func() {
		start(operator.Options{NoDefault: true})
		tw := &v1alpha1.Tierwall{}
		tw.Name = v1alpha1.TierwallName
		tw.Spec.Agent.NodeSelector = map[string]string{"pool": "not a label value"}
		tw.Spec.Metrics.Port = ptr.To[int32](9999)
		Expect(admin.Create(ctx(), tw)).To(Succeed())
		Eventually(state(operator.ConditionDegraded)).Should(And(HavePrefix("True NotApplied: DaemonSet/tierwall-system/tierwall-agent cannot be applied"), ContainSubstring("not a label value")))
		Expect(state(operator.ConditionProgressing)()).To(HavePrefix("True NotApplied"))
		for _, o := range objects()[1:] {
			Expect(gone(o)).To(BeFalse(), "%T", o)
		}
		change(func(tw *v1alpha1.Tierwall) { tw.Spec.Agent.NodeSelector["pool"] = "workers" })
		Eventually(state(operator.ConditionDegraded)).Should(HavePrefix("False AsDesired"))
		Expect(gone(objects()[0])).To(BeFalse())
	})
})
