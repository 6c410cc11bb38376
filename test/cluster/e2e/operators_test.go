//go:build e2e

package e2e

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster/install"
	"github.com/tierwall/tierwall/test/cluster/probe"
)

// isolated lets the pods of each namespace in from their own alone: what the
// specs of repairs, restarts and failures hold against the traffic.
const isolated = `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: isolated}
spec:
  selector: team == 'alpha'
  types: [Ingress]
  ingress: [{action: Allow, source: {selector: team == 'alpha'}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: isolated, namespace: beta}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}
`

// sameTeam is what isolated comes to.
func sameTeam(f flow) bool { return f.from.pod.Namespace == f.to.pod.Namespace }

// expectIsolated looks at all pairs of pods.
func expectIsolated(ctx context.Context) {
	GinkgoHelper()
	expect(ctx, flows(pods.pods, pods.pods, tcp(80), udp(80)), sameTeam)
}

// harm is what somebody does to the rules in a node's kernel.
type harm struct{ name, command string }

// harms are those that open the node until they are repaired.
func harms() []harm {
	if how.Dataplane != v1alpha1.DataplaneIPTables {
		return []harm{{"flush of the table", "nft flush table inet tierwall"}, {"end of the table", "nft delete table inet tierwall"}}
	}
	return []harm{
		{"flush of the chains", `for c in iptables ip6tables; do
			{ echo '*filter'; $c-save -t filter | sed -n 's/^:\(TW-[^ ]*\).*/-F \1/p'; echo COMMIT; } | $c-restore --wait --noflush
		done`},
		{"end of the jumps", `for c in iptables ip6tables; do $c --wait -D FORWARD 1; done`},
	}
}

// operatorSpecs are about what people do to what the operator keeps.
func operatorSpecs() {
	It("puts back rules that somebody flushed or deleted", Label("short"), func(ctx SpecContext) {
		apply(ctx, isolated)
		expectIsolated(ctx)
		db := pods.at("alpha/db")
		allowed := startStreams(ctx, "alpha/web", "alpha/db", probe.Connection, probe.Datagrams, probe.Connections)
		for _, harm := range harms() {
			_, err := run(ctx, db.node, "bash", "-euc", harm.command)
			Expect(err).NotTo(HaveOccurred())
			start := time.Now()
			Eventually(ctx, func() []string {
				return tryAll(ctx, flows([]*place{pods.at("beta/web")}, []*place{db}, udp(80)), sameTeam)
			}).WithPolling(10 * time.Millisecond).Should(BeEmpty())
			AddReportEntry(harm.name+" to a denial that was waited for", time.Since(start).Round(time.Millisecond).String())
			expectIsolated(ctx)
		}
		for _, s := range allowed {
			s.expectWhole(ctx)
		}
	}, SpecTimeout(2*minute))

	It("makes the DaemonSet anew that somebody deleted, and takes back what somebody changed", func(ctx SpecContext) {
		apply(ctx, isolated)
		expectIsolated(ctx)
		guards := startGuards(ctx)
		key := client.ObjectKey{Namespace: install.Namespace, Name: "tierwall-agent"}
		var old appsv1.DaemonSet
		Expect(admin.Get(ctx, key, &old)).To(Succeed())
		kubectl(ctx, "delete", "daemonset", "-n", install.Namespace, key.Name)
		Eventually(ctx, func(g Gomega) {
			var now appsv1.DaemonSet
			g.Expect(admin.Get(ctx, key, &now)).To(Succeed())
			g.Expect(now.UID).NotTo(Equal(old.UID))
		}).Should(Succeed())
		Expect(install.Wait(ctx, bed, how)).To(Succeed())

		By("editing it")
		kubectl(ctx, "patch", "daemonset", "-n", install.Namespace, key.Name, "--type=json", "-p",
			`[{"op":"add","path":"/spec/template/spec/nodeSelector/nobody","value":"has-it"},{"op":"replace","path":"/spec/template/spec/containers/0/args/0","value":"version"}]`)
		Eventually(ctx, func(g Gomega) {
			var now appsv1.DaemonSet
			g.Expect(admin.Get(ctx, key, &now)).To(Succeed())
			g.Expect(now.Spec.Template.Spec.NodeSelector).NotTo(HaveKey("nobody"))
			g.Expect(now.Spec.Template.Spec.Containers[0].Args[0]).To(Equal("agent"))
		}).Should(Succeed())
		kubectl(ctx, "delete", "clusterrolebinding", "tierwall-agent")
		Eventually(ctx, func() string {
			return kubectl(ctx, "get", "clusterrolebinding", "tierwall-agent", "--ignore-not-found", "-o", "name")
		}).ShouldNot(BeEmpty())
		Expect(install.Wait(ctx, bed, how)).To(Succeed())
		guards.expectWhole(ctx)
		expectIsolated(ctx)
	}, SpecTimeout(4*minute))
}

// guards are streams that must be whole, and streams of which nothing may get
// through, across nodes and in one.
type guards struct {
	allowed, denied []*stream
}

// startGuards begins them; isolated must be in force.
func startGuards(ctx context.Context) guards {
	GinkgoHelper()
	var g guards
	for _, pair := range [][2]string{{"alpha/web", "alpha/db"}, {"beta/db", "beta/api"}} {
		g.allowed = append(g.allowed, startStreams(ctx, pair[0], pair[1], probe.Connection, probe.Datagrams, probe.Connections, probe.Flows)...)
	}
	for _, pair := range [][2]string{{"alpha/web", "beta/db"}, {"beta/web", "alpha/web"}, {"beta/api", "alpha/db"}} {
		g.denied = append(g.denied, beginStreams(ctx, pair[0], pair[1], probe.Connections, probe.Flows)...)
	}
	return g
}

// expectWhole ends them all, and says what is wrong with any.
func (g guards) expectWhole(ctx context.Context) {
	GinkgoHelper()
	var wrong []string
	note := func(s string) {
		if s != "" {
			wrong = append(wrong, s)
		}
	}
	for _, s := range g.allowed {
		note(s.notWhole(ctx))
	}
	for _, s := range g.denied {
		note(s.notNothing(ctx))
	}
	Expect(wrong).To(BeEmpty(), "%s", strings.Join(wrong, "\n"))
}
