package status

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/cmd"
)

// statusCommand runs `tierwall status` as a member of a group.
func statusCommand(group string, args ...string) (exit int, out, errOut string) {
	GinkgoHelper()
	kubeconfig, err := server.Kubeconfig("alice", group)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(os.WriteFile(file, kubeconfig, 0o600)).To(Succeed())
	var o, e bytes.Buffer
	exit = cmd.Main(append([]string{"tierwall", "status", "--kubeconfig", file}, args...), strings.NewReader(""), &o, &e)
	return exit, o.String(), e.String()
}

var _ = Describe("tierwall status", func() {
	It("says how a cluster is doing", func() {
		nodes := threeNodes()
		for _, n := range nodes {
			o := &metav1.PartialObjectMetadata{}
			o.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("Node"))
			o.APIVersion, o.Kind, o.Name = "v1", "Node", n.name
			Expect(admin.Patch(ctx(), o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"kubernetes.io/os":"linux"}}}`)))).To(Succeed())
		}
		tw := &v1alpha1.Tierwall{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		Expect(admin.Create(ctx(), tw)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx(), tw)).To(Succeed()) })
		now := metav1.Now()
		for typ, value := range map[string]metav1.ConditionStatus{"Available": "True", "Progressing": "False", "Degraded": "False"} {
			tw.Status.Conditions = append(tw.Status.Conditions, metav1.Condition{Type: typ, Status: value, Reason: "Test", LastTransitionTime: now})
		}
		Expect(admin.Status().Update(ctx(), tw)).To(Succeed())
		p := globalPolicy("asked-for", nil)
		enforces(p, nodes...)
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 3/3 g1"))

		exit, out, errOut := statusCommand("system:masters")
		Expect(exit).To(Equal(0), out+errOut)
		Expect(out).To(And(HavePrefix("3 of 3 agents ok (v-test); 1 of 1 policies enforced\n"), ContainSubstring(nodes[2].name), HaveSuffix("nothing is wrong\n")))

		q := globalPolicy("asked-for-too", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Tier = "nowhere" })
		Eventually(line(q)).Should(HavePrefix("False/UnknownTier "))
		exit, out, _ = statusCommand("system:masters", "-o", "json")
		Expect(exit).To(Equal(1))
		var r struct {
			Healthy  bool
			Policies struct {
				NotEnforced []struct{ Policy, Reason string }
			}
		}
		Expect(json.Unmarshal([]byte(out), &r)).To(Succeed())
		Expect(r.Healthy).To(BeFalse())
		Expect(r.Policies.NotEnforced).To(HaveLen(1))
		Expect(r.Policies.NotEnforced[0].Policy).To(Equal("GlobalNetworkPolicy/asked-for-too"))
		Expect(r.Policies.NotEnforced[0].Reason).To(Equal("UnknownTier"))

		exit, _, errOut = statusCommand("nobodies")
		Expect(exit).To(Equal(2))
		Expect(errOut).To(ContainSubstring("permission missing"))
	})
})
