package operator

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/operator"
)

// admitted asks the API server whether it would create a pod in a namespace that
// enforces a pod security level.
func admitted(level string, spec corev1.PodSpec) error {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "level-" + level, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
	Expect(client.IgnoreAlreadyExists(admin.Create(ctx(), ns))).To(Succeed())
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "p"}, Spec: *spec.DeepCopy()}
	return admin.Create(ctx(), p, client.DryRunAll)
}

var _ = Describe("Pod security", func() {
	It("admits the manager at the level restricted", func() {
		Expect(admitted("restricted", managerDeployment(installed).Spec.Template.Spec)).To(Succeed())
	})

	It("admits the agents at the level privileged alone, for the node's network and NET_ADMIN", func() {
		for _, cleanup := range []bool{false, true} {
			objects := operator.Desired(&v1alpha1.Tierwall{}, operator.Settings{Image: image, Cleanup: cleanup})
			ds, ok := objects[len(objects)-1].(*appsv1.DaemonSet)
			Expect(ok).To(BeTrue())
			spec := ds.Spec.Template.Spec
			Expect(admitted("privileged", spec)).To(Succeed())
			err := admitted("baseline", spec)
			Expect(err).To(MatchError(And(ContainSubstring("hostNetwork=true"), ContainSubstring(`"NET_ADMIN"`))))
			Expect(err).NotTo(MatchError(ContainSubstring("seccomp")))
		}
	})
})
