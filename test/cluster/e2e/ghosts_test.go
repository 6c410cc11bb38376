//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/api/v1alpha1"
	"github.com/tierwall/tierwall/test/cluster"
	"github.com/tierwall/tierwall/test/cluster/probe"
)

const (
	// roaming is a block of pods' addresses that is in no node's podCIDR.
	roaming = "10.230.1.0/24"
	// staying is how long the pod runs on at least.
	staying = 20 * time.Second
)

// roam has the next pods of a node get addresses of block roaming until the spec is
// over, as where the pod network has an IPAM of its own, and leads the others there.
func roam(ctx SpecContext, node string) {
	GinkgoHelper()
	const config = "/etc/cni/net.d/10-pods.conflist"
	sh := func(ctx context.Context, machine, script string) {
		GinkgoHelper()
		out, err := run(ctx, machine, "bash", "-ec", script)
		Expect(err).NotTo(HaveOccurred(), "%s: %s", machine, out)
	}
	n := nodeObject(ctx, node)
	own := ""
	for _, c := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(c); err == nil && p.Addr().Is4() {
			own = p.String()
		}
	}
	gateway := ""
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() && a.Type == corev1.NodeInternalIP {
			gateway = ip.String()
		}
	}
	Expect(own).NotTo(BeEmpty())
	Expect(gateway).NotTo(BeEmpty())
	swap := func(from, to string) string {
		return fmt.Sprintf("sed 's|%s|%s|' %s >/tmp/roam.$$ && cat /tmp/roam.$$ >%s; rm /tmp/roam.$$; grep -q '%s' %s", from, to, config, config, to, config)
	}
	others := append([]string{"cp"}, bed.Nodes()...)
	DeferCleanup(func(ctx SpecContext) {
		sh(ctx, node, swap(roaming, own))
		for _, o := range others {
			if o != node {
				sh(ctx, o, "ip route del "+roaming)
			}
		}
	}, NodeTimeout(minute))
	sh(ctx, node, swap(own, roaming))
	for _, o := range others {
		if o != node {
			sh(ctx, o, fmt.Sprintf("ip route add %s via %s", roaming, gateway))
		}
	}
	time.Sleep(2 * time.Second) // the runtime reads the folder when it is told of a change
}

// halt stops a node's kubelet, as one that hangs, until the returned function is
// called or the spec is over. One that runs ends a pod without an object in seconds,
// whatever its grace period.
func halt(ctx SpecContext, node string) (goOn func()) {
	GinkgoHelper()
	signal := func(ctx context.Context, name string) {
		GinkgoHelper()
		out, err := run(ctx, node, "bash", "-c", fmt.Sprintf(
			`for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = kubelet ] && kill -%s ${p#/proc/} && found=1; done; test -n "$found"`, name))
		Expect(err).NotTo(HaveOccurred(), "%s: %s", node, out)
	}
	signal(ctx, "STOP")
	DeferCleanup(func(ctx SpecContext) { signal(ctx, "CONT") }, NodeTimeout(minute))
	return func() { signal(ctx, "CONT") }
}

func nodeObject(ctx context.Context, name string) *corev1.Node {
	GinkgoHelper()
	var n corev1.Node
	Expect(admin.Get(ctx, client.ObjectKey{Name: name}, &n)).To(Succeed())
	return &n
}

// ghostSpecs are about pods whose object is gone while their containers run on.
func ghostSpecs() {
	It("denies a pod that was deleted by force until its sandbox has stopped, outside podCIDRs", Label("ghosts"), func(ctx SpecContext) {
		if bed.Options().PodNetwork == cluster.Bridge {
			Skip("the bridge of a node has an address of the node's block, and the CNI plugin takes no other one")
		}
		node := bed.Nodes()[0]
		roam(ctx, node)
		apply(ctx, `
apiVersion: tierwall.io/v1alpha1
kind: Tier
metadata: {name: security}
spec: {order: 10}
---
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: roamers}
spec:
  tier: security
  selector: role == 'roamer'
  types: [Egress]
  egress: [{action: Deny, destination: {notSelector: role == 'db'}}, {action: Pass}]
`)
		By("a pod")
		pod := probePod("alpha", "roamer", node, "roamer", fmt.Sprint(port80))
		pod.Labels = map[string]string{"team": "alpha", "role": "roamer"}
		create(ctx, pod)
		p := &place{name: "alpha/roamer", node: node, pod: client.ObjectKeyFromObject(pod), probe: probe.NewClient(control("roamer"))}
		Eventually(ctx, func(g Gomega) {
			var now corev1.Pod
			g.Expect(admin.Get(ctx, p.pod, &now)).To(Succeed())
			g.Expect(now.Status.PodIP).NotTo(BeEmpty())
			p.addresses = []netip.Addr{netip.MustParseAddr(now.Status.PodIP)}
			_, err := p.probe.Seen(ctx, "nothing")
			g.Expect(err).NotTo(HaveOccurred())
		}).WithTimeout(2 * minute).Should(Succeed())
		Expect(netip.MustParsePrefix(roaming).Contains(p.addresses[0])).To(BeTrue(), "%v", p.addresses)
		out := v4(flows([]*place{p}, pods.pods, tcp(80), udp(80)))
		in := v4(flows(pods.pods, []*place{p}, tcp(80), udp(80)))
		expect(ctx, out, func(f flow) bool { return strings.HasSuffix(f.to.name, "/db") })

		By("its object goes, and it runs on")
		goOn := halt(ctx, node)
		gone := time.Now()
		Expect(admin.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(ctx, func() bool {
			return apierrors.IsNotFound(admin.Get(ctx, p.pod, &corev1.Pod{}))
		}).Should(BeTrue())
		for time.Since(gone) < staying {
			expectDenied(ctx, out) // by probes of its own: it runs
			expectDenied(ctx, in)
		}
		Eventually(ctx, func(g Gomega) {
			var r v1alpha1.NodeReport
			g.Expect(admin.Get(ctx, client.ObjectKey{Name: node}, &r)).To(Succeed())
			g.Expect(r.Report.Ghosts).To(HaveLen(1))
			g.Expect(r.Report.Ghosts[0].Address).To(Equal(p.addresses[0].String()))
		}).WithTimeout(2 * minute).Should(Succeed())
		expectDenied(ctx, out)

		By("its sandbox stops, and nothing is left of it")
		goOn()
		ending := time.Now()
		Eventually(ctx, func(g Gomega) {
			var r v1alpha1.NodeReport
			g.Expect(admin.Get(ctx, client.ObjectKey{Name: node}, &r)).To(Succeed())
			g.Expect(r.Report.RenewTime.Time).To(BeTemporally(">", ending))
			g.Expect(r.Report.Counts.Ghosts).To(BeZero())
			g.Expect(r.Report.Ghosts).To(BeEmpty())
		}).WithTimeout(4 * minute).Should(Succeed())
	}, SpecTimeout(10*minute))
}

// v4 leaves out flows of IPv6.
func v4(all []flow) []flow {
	var out []flow
	for _, f := range all {
		if f.address.Is4() {
			out = append(out, f)
		}
	}
	return out
}
