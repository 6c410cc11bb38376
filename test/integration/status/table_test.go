package status

import (
	"encoding/json"
	"errors"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/controllers/agent"
)

// columns is what `kubectl get` shows of an object: the cells by column.
func columns(path string) map[string]string {
	GinkgoHelper()
	c, err := kubernetes.NewForConfig(server.Admin())
	Expect(err).NotTo(HaveOccurred())
	body, err := c.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx())
	Expect(err).NotTo(HaveOccurred())
	var t metav1.Table
	Expect(json.Unmarshal(body, &t)).To(Succeed())
	Expect(t.Rows).To(HaveLen(1))
	out := map[string]string{}
	for i, d := range t.ColumnDefinitions {
		out[d.Name] = fmt.Sprint(t.Rows[0].Cells[i])
	}
	return out
}

var _ = Describe("kubectl get", func() {
	It("shows tier, order and readiness of a policy, and how a node is doing", func() {
		nodes := threeNodes()
		p := globalPolicy("shown", func(s *v1alpha1.GlobalNetworkPolicySpec) { s.Order = new(10.5) })
		enforces(p, nodes[0], nodes[1])
		Eventually(line(p)).Should(Equal("True/Accepted True/Enforced 2/2 g1"))
		Expect(columns("/apis/tierwall.io/v1alpha1/globalnetworkpolicies/shown")).To(And(
			HaveKeyWithValue("Tier", "default"), HaveKeyWithValue("Order", "10.5"), HaveKeyWithValue("Ready", "2/2"), HaveKeyWithValue("Enforcement", "Enforced")))
		Expect(columns("/apis/tierwall.io/v1alpha1/nodereports/" + nodes[0].name)).To(And(
			HaveKeyWithValue("Version", "v-test"), HaveKeyWithValue("Dataplane", "NFTables"), HaveKeyWithValue("In sync", "true"),
			HaveKeyWithValue("Policies", "1"), HaveKeyWithValue("Endpoints", "0"), HaveKeyWithValue("Slowest apply", "1ms")))

		nodes[2].failed = []agent.Failure{{Ref: refOf(p), Generation: 1, Err: errors.New("no")}}
		nodes[2].say()
		Eventually(columns).WithArguments("/apis/tierwall.io/v1alpha1/nodereports/" + nodes[2].name).Should(HaveKeyWithValue("In sync", "false"))
	})
})
