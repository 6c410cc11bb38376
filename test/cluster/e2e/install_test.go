//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster/install"
)

// installSpecs install Tierwall for all that follow.
func installSpecs() {
	It("lets everything through where it is not installed", func(ctx SpecContext) {
		expectAllowed(ctx, flows(everywhere(), pods.pods, tcp(80), udp(80)))
		expectAllowed(ctx, flows(everywhere(), pods.hosts, tcp(hostPort)))
	}, SpecTimeout(minute))

	It("is ready on all nodes after kubectl apply -k config/default", func(ctx SpecContext) {
		var err error
		how.Program, err = install.Build(ctx, how)
		Expect(err).NotTo(HaveOccurred())
		start := time.Now()
		Expect(install.Tierwall(ctx, bed, how)).To(Succeed())
		AddReportEntry("apply to ready", time.Since(start).Round(100*time.Millisecond).String())

		var agents appsv1.DaemonSet
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: install.Namespace, Name: "tierwall-agent"}, &agents)).To(Succeed())
		Expect(agents.Status.NumberReady).To(BeEquivalentTo(len(bed.Nodes())))
		var l corev1.PodList
		Expect(admin.List(ctx, &l, client.InNamespace(install.Namespace))).To(Succeed())
		for _, p := range l.Items {
			for _, s := range p.Status.ContainerStatuses {
				Expect(s.RestartCount).To(BeZero(), "%s has been restarted", p.Name)
			}
		}
		var t v1alpha1.Tierwall
		Expect(admin.Get(ctx, client.ObjectKey{Name: "default"}, &t)).To(Succeed())
		Expect(meta.IsStatusConditionFalse(t.Status.Conditions, "Degraded")).To(BeTrue(), "%v", t.Status.Conditions)
	}, SpecTimeout(10*minute))

	It("changes nothing where there are no policies", func(ctx SpecContext) {
		expectAllowed(ctx, flows(everywhere(), pods.pods, tcp(80), tcp(81), udp(80)))
		expectAllowed(ctx, flows(everywhere(), pods.hosts, tcp(hostPort), udp(hostPort)))
	}, SpecTimeout(minute))

	It("is known to kubectl by the short names of its kinds", func(ctx SpecContext) {
		Expect(kubectl(ctx, "get", "tiers.tierwall.io")).To(SatisfyAll(
			ContainSubstring("kube-admin"), ContainSubstring("default"), ContainSubstring("kube-baseline")))
		for _, name := range []string{"gnp", "tnp", "gns", "netset", "hep"} {
			Expect(kubectl(ctx, "get", name, "-A", "-o", "name")).To(BeEmpty(), name)
		}
		for _, node := range bed.Nodes() {
			Expect(kubectl(ctx, "get", "nodereports", node)).To(ContainSubstring("true"))
		}
	}, SpecTimeout(minute))

	It("refuses through the webhook's Service what the API server cannot judge", func(ctx SpecContext) {
		for _, bad := range []struct{ manifest, said string }{
			{"kind: GlobalNetworkPolicy\nmetadata: {name: bad}\nspec: {selector: \"a ==\"}", "spec.selector"},
			{"kind: GlobalNetworkPolicy\nmetadata: {name: bad}\nspec: {tier: nobodys, selector: all()}", "nobodys"},
			{"kind: NetworkPolicy\nmetadata: {name: bad, namespace: alpha}\n" +
				"spec: {ingress: [{action: Allow, source: {nets: [10.0.0.0/8, \"fd00::/8\"]}}]}", "spec.ingress"},
		} {
			// The API server takes a moment to learn of the webhook and its certificate.
			Eventually(ctx, func() (string, error) {
				_, err := install.Kubectl(ctx, bed, how, "apiVersion: tierwall.io/v1alpha1\n"+bad.manifest, "apply", "--dry-run=server", "-f", "-")
				return fmt.Sprint(err), nil
			}).Should(ContainSubstring(bad.said), bad.manifest)
		}
	}, SpecTimeout(minute))

	It("says with tierwall status and in conditions that all nodes enforce a policy", func(ctx SpecContext) {
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: everybody}
spec:
  selector: has(role)
  ingress: [{action: Allow}]
`)
		expectReady(ctx, "everybody")
		Expect(kubectl(ctx, "get", "gnp", "everybody")).To(ContainSubstring(allNodes()))
		kubectl(ctx, "wait", "--for=condition=Enforced", "gnp/everybody", "--timeout=10s")
		out, err := status(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(ContainSubstring(fmt.Sprintf("%d of %d agents ok", len(bed.Nodes()), len(bed.Nodes()))))

		By("one that selects a pod of one node")
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: NetworkPolicy
metadata: {name: one, namespace: alpha}
spec:
  selector: role == 'db'
  ingress: [{action: Allow}]
`)
		Eventually(ctx, func() string { return kubectl(ctx, "get", "tnp", "-n", "alpha", "one") }).Should(ContainSubstring("1/1"))
	}, SpecTimeout(minute))
}

// everywhere is all places.
func everywhere() []*place { return append(append([]*place{pods.cp}, pods.pods...), pods.hosts...) }

// allNodes is how the status says it.
func allNodes() string { return fmt.Sprintf("%d/%d", len(bed.Nodes()), len(bed.Nodes())) }

// expectReady waits until a GlobalNetworkPolicy is enforced on all nodes.
func expectReady(ctx context.Context, name string) {
	GinkgoHelper()
	expectReadyOn(ctx, name, allNodes())
}

// expectReadyOn waits until it is enforced on as many nodes as nodes says.
func expectReadyOn(ctx context.Context, name, nodes string) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		var p v1alpha1.GlobalNetworkPolicy
		g.Expect(admin.Get(ctx, client.ObjectKey{Name: name}, &p)).To(Succeed())
		g.Expect(p.Status.Nodes).NotTo(BeNil())
		g.Expect(p.Status.Nodes.Ready).To(Equal(nodes))
		g.Expect(meta.IsStatusConditionTrue(p.Status.Conditions, "Accepted")).To(BeTrue(), "%v", p.Status.Conditions)
		g.Expect(meta.IsStatusConditionTrue(p.Status.Conditions, "Enforced")).To(BeTrue(), "%v", p.Status.Conditions)
	}).Should(Succeed())
}

// status is what `tierwall status` prints.
func status(ctx context.Context) (string, error) {
	return run(ctx, "cp", how.Program, "status", "--kubeconfig", bed.Kubeconfig())
}

// asUser runs kubectl as somebody who has a certificate and what RBAC gives him.
func asUser(ctx context.Context, stdin, user string, groups []string, args ...string) error {
	GinkgoHelper()
	config, err := bed.UserKubeconfig(user, groups...)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(work, user+".kubeconfig")
	Expect(os.WriteFile(file, config, 0o600)).To(Succeed())
	// The later flag counts.
	_, err = install.Kubectl(ctx, bed, how, stdin, append([]string{"--kubeconfig", file}, args...)...)
	return err
}
