package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/cmd"
)

// outcome of a command.
type outcome struct {
	status   int
	out, err string
}

// tierwall runs a command under the name of a program.
func tierwall(program, stdin string, args ...string) outcome {
	var out, errOut bytes.Buffer
	status := cmd.Main(append([]string{program}, args...), strings.NewReader(stdin), &out, &errOut)
	return outcome{status, out.String(), errOut.String()}
}

// file writes a file of the spec's and returns its path.
func file(name string, data []byte) string {
	GinkgoHelper()
	path := filepath.Join(GinkgoT().TempDir(), name)
	Expect(os.WriteFile(path, data, 0o600)).To(Succeed())
	return path
}

// kubeconfigOf returns the path of a kubeconfig of a user.
func kubeconfigOf(user string, groups ...string) string {
	GinkgoHelper()
	data, err := server.Kubeconfig(user, groups...)
	Expect(err).NotTo(HaveOccurred())
	return file("kubeconfig", data)
}

var _ = Describe("Commands on the live cluster", Ordered, func() {
	var kubeconfig string
	BeforeAll(func() {
		withCRDs()
		namespace("live")
		pod("live", "web", "n1", "10.7.0.1", map[string]string{"app": "web"})
		pod("live", "db", "n2", "10.7.0.2", map[string]string{"app": "db"})
		tier := &v1alpha1.Tier{ObjectMeta: named("live"), Spec: v1alpha1.TierSpec{Order: new(float64(7))}}
		gnp := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: named("live-db"), Spec: v1alpha1.GlobalNetworkPolicySpec{
			Tier: "live", Selector: "app == 'db'", Types: []v1alpha1.PolicyType{"Ingress"},
			Ingress: []v1alpha1.Rule{{Action: v1alpha1.Deny, Source: v1alpha1.EntityRule{Selector: "app == 'web'"}}, {Action: v1alpha1.Pass}},
		}}
		native := &networkingv1.NetworkPolicy{ObjectMeta: in("live", "native"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
		}}
		Expect(admin.Create(ctx(), tier)).To(Succeed())
		Expect(admin.Create(ctx(), gnp)).To(Succeed())
		Expect(admin.Create(ctx(), native)).To(Succeed())
		DeferCleanup(func() {
			remove(tier)
			remove(gnp)
			remove(native)
		})
		kubeconfig = kubeconfigOf("commands", "system:masters")
	})

	It("effective shows the merged policy of a pod", func() {
		o := tierwall("tierwall", "", "effective", "--kubeconfig", kubeconfig, "live/db")
		Expect(o.err).To(BeEmpty())
		Expect(o.status).To(Equal(0))
		Expect(o.out).To(And(ContainSubstring("tier live (order 7)"), ContainSubstring("GlobalNetworkPolicy/live-db"), ContainSubstring("NetworkPolicy/live/native")))
	})

	It("effective names what is near if there is no such pod", func() {
		o := tierwall("kubectl-tierwall", "", "effective", "--kubeconfig", kubeconfig, "live/bd")
		Expect(o.status).To(Equal(2))
		Expect(o.err).To(ContainSubstring("no such endpoint; did you mean Pod/live/db?"))
	})

	It("explain says what decides", func() {
		o := tierwall("tierwall", "", "explain", "--kubeconfig", kubeconfig, "--from", "pod:live/web", "--to", "pod:live/db", "--port", "5432")
		Expect(o.err).To(BeEmpty())
		Expect(o.out).To(And(ContainSubstring("Deny"), ContainSubstring("GlobalNetworkPolicy/live-db rule 0")))
	})

	It("diff says what files would change, and the exit status whether anything does", func() {
		lift := file("lift.yaml", []byte(`
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: live-db}
spec:
  tier: live
  selector: app == 'db'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'web'}, destination: {ports: [5432]}}
  - {action: Pass}
`))
		o := tierwall("tierwall", "", "diff", "--kubeconfig", kubeconfig, "-f", lift)
		Expect(o.err).To(BeEmpty())
		Expect(o.status).To(Equal(1))
		Expect(o.out).To(And(ContainSubstring("Pod/live/web"), ContainSubstring("5432"), ContainSubstring("GlobalNetworkPolicy/live-db")))

		same := file("same.yaml", []byte("{apiVersion: v1, kind: Namespace, metadata: {name: live, labels: {team: live, kubernetes.io/metadata.name: live}}}"))
		o = tierwall("tierwall", "", "diff", "--kubeconfig", kubeconfig, "-f", same)
		Expect(o.err).To(BeEmpty())
		Expect(o.status).To(Equal(0), o.out)
	})

	It("lint finds what is wrong in the cluster", func() {
		lost := &v1alpha1.GlobalNetworkPolicy{ObjectMeta: named("live-lost"), Spec: v1alpha1.GlobalNetworkPolicySpec{Tier: "nowhere", Selector: "app == 'nothing'"}}
		Expect(admin.Create(ctx(), lost)).To(Succeed())
		DeferCleanup(func() { remove(lost) })
		o := tierwall("kubectl-tierwall", "", "lint", "--kubeconfig", kubeconfig)
		Expect(o.out).To(And(ContainSubstring("GlobalNetworkPolicy/live-lost"), ContainSubstring("nowhere")))
		Expect(o.status).To(Equal(1), o.err)
	})

	It("name all rights that are missing", func() {
		nobody := kubeconfigOf("nobody")
		for _, args := range [][]string{
			{"effective", "live/db"},
			{"explain", "--from", "pod:live/web", "--to", "pod:live/db", "--port", "1"},
			{"lint"},
			{"diff", "-f", file("tier.yaml", []byte("{apiVersion: tierwall.io/v1alpha1, kind: Tier, metadata: {name: t}}"))},
		} {
			o := tierwall("tierwall", "", append(args, "--kubeconfig", nobody)...)
			Expect(o.status).To(Equal(2), args[0])
			Expect(o.err).To(And(
				ContainSubstring("error: cluster: permission missing: list pods at the scope of the cluster"),
				ContainSubstring("error: cluster: permission missing: list globalnetworkpolicies.tierwall.io at the scope of the cluster"),
				ContainSubstring("error: cluster: permission missing: list networkpolicies.networking.k8s.io at the scope of the cluster")), args[0])
			Expect(o.out).To(BeEmpty())
		}
	})

	It("say that the cluster cannot be reached", func() {
		config := strings.ReplaceAll(string(mustRead(kubeconfig)), "server: https://127.0.0.1:", "server: https://127.0.0.1:1 # ")
		o := tierwall("tierwall", "", "effective", "--kubeconfig", file("away", []byte(config)), "live/db")
		Expect(o.status).To(Equal(2))
		Expect(o.err).To(ContainSubstring("connection refused"))
	})
})

func mustRead(path string) []byte {
	GinkgoHelper()
	data, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	return data
}
