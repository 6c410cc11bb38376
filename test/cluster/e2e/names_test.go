//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tierwall/tierwall/test/cluster/probe"
)

// byName lets the pods of alpha ask the cluster's DNS, and reach what it answers for some
// names. Which servers count nothing says: they are those of the Service kube-dns.
const byName = `
apiVersion: tierwall.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: by-name}
spec:
  selector: team == 'alpha'
  types: [Egress]
  egress:
  - {action: Allow, protocol: UDP, destination: {selector: k8s-app == 'kube-dns', namespaceSelector: all(), ports: [53]}}
  - {action: Allow, protocol: TCP, destination: {selector: k8s-app == 'kube-dns', namespaceSelector: all(), ports: [53]}}
  - {action: Allow, protocol: TCP, destination: {domains: ["*.race.example", www.shop.example], ports: [7001]}}
`

// namesAsked is how many names have been, of which each is asked for once.
var namesAsked int

// newNames are names that nobody has asked for yet.
func newNames(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("n%d-%d.race.example", namesAsked/250, 1+namesAsked%250)
		namesAsked++
	}
	return all
}

// askers are the pods of alpha, one a node.
func askers() []*place {
	return slices.DeleteFunc(slices.Clone(pods.pods), func(p *place) bool { return !strings.HasPrefix(p.name, "alpha/") })
}

// race has a pod resolve names that are new and connect at once, over each family.
func race(ctx context.Context, from *place, names int, tcp bool) ([]probe.RaceResult, error) {
	var all []probe.RaceResult
	for _, server := range dnsServers(ctx) {
		r, err := from.probe.Race(ctx, probe.RaceRequest{
			Server: server, IPv6: server.Addr().Is6(), TCP: tcp, Names: newNames(names), Port: hostPort,
		})
		if err != nil {
			return nil, fmt.Errorf("%s asks %s: %w", from, server, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// expectRaces wants every answer of every pod, over UDP and TCP, and with it the first
// packet of the connection.
func expectRaces(ctx context.Context, names int) {
	GinkgoHelper()
	for _, from := range askers() {
		for _, tcp := range []bool{false, true} {
			results, err := race(ctx, from, names, tcp)
			Expect(err).NotTo(HaveOccurred())
			for i, r := range results {
				what := fmt.Sprintf("%s, family %d, over TCP %t: %s", from, i, tcp, r)
				AddReportEntry("names", what)
				Expect(r.Answered).To(Equal(names), what)
				Expect(r.Lost+r.Failed).To(BeZero(), what)
			}
		}
	}
}

// settled waits until all pods reach what a name leads to the first time: agents learn of
// servers as they do of all else, a moment after the API server.
func settled(ctx context.Context) {
	GinkgoHelper()
	for _, from := range askers() {
		Eventually(ctx, func(g Gomega) {
			results, err := race(ctx, from, 3, false)
			g.Expect(err).NotTo(HaveOccurred()) // kube-proxy may not know the Service yet
			for _, r := range results {
				g.Expect(r.Lost+r.Failed).To(BeZero(), "%s: %s", from, r)
				g.Expect(r.Answered).To(Equal(3), "%s: %s", from, r)
			}
		}).WithTimeout(minute).Should(Succeed())
	}
}

// nameSpecs are about rules by DNS name.
func nameSpecs() {
	BeforeAll(deployDNS, NodeTimeout(3*minute))

	It("loses no first packet of pods that resolve and connect at once, with servers that are found by the Service", Label("short"), func(ctx SpecContext) {
		apply(ctx, byName)
		expectReady(ctx, "by-name")
		expectRaces(ctx, 100)

		By("reaching what a name leads to by CNAME, which agents have asked for themselves, as the rule says")
		web := pods.at("alpha/web")
		for i, server := range dnsServers(ctx) {
			to := netip.AddrPortFrom(shop()[i], hostPort).String()
			Eventually(ctx, func(g Gomega) {
				results, err := web.probe.Probes(ctx, []probe.Request{{Network: probe.TCP, To: to}, {Network: probe.UDP, To: to}})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect([]probe.Outcome{results[0].Outcome, results[1].Outcome}).To(Equal([]probe.Outcome{probe.Answered, probe.Dropped}))
			}).Should(Succeed(), to)
			r, err := web.probe.Race(ctx, probe.RaceRequest{Server: server, IPv6: server.Addr().Is6(), Names: []string{"www.shop.example"}, Port: hostPort})
			Expect(err).NotTo(HaveOccurred())
			Expect(r.Answered-r.Lost-r.Failed).To(Equal(1), r.String())
		}

		By("saying which name brought an address, when, and until when, and nothing of one that none brought")
		explain := func(to string) (string, error) {
			return run(ctx, "cp", how.Program, "explain", "--kubeconfig", bed.Kubeconfig(), "--from", "alpha/web", "--to", to, "--port", fmt.Sprint(hostPort))
		}
		for _, to := range []string{shop()[0].String(), "www.shop.example"} {
			out, err := explain(to)
			Expect(err).NotTo(HaveOccurred(), out)
			Expect(out).To(MatchRegexp(`DNS has brought 10\.220\.255\.1 for [a-z.]+ \(first at [0-9TZ:-]+, [0-9ms]+ ago; known until [0-9TZ:-]+, for [0-9ms]+\)`))
		}
		out, err := explain("10.220.255.2")
		Expect(err).To(HaveOccurred())
		Expect(out).To(ContainSubstring("no DNS answer that is known has brought 10.220.255.2"))

		By("reaching nothing that no name leads to")
		results, err := web.probe.Probes(ctx, []probe.Request{{Network: probe.TCP, To: "10.220.255.2:7001"}})
		Expect(err).NotTo(HaveOccurred())
		Expect(results[0].Outcome).To(Equal(probe.Dropped))

		By("letting pods without rules by name go where they like")
		free, err := pods.at("beta/web").probe.Probes(ctx, []probe.Request{{Network: probe.TCP, To: "10.220.255.2:7001"}})
		Expect(err).NotTo(HaveOccurred())
		Expect(free[0].Outcome).To(Equal(probe.Answered))
	}, SpecTimeout(2*minute))

	It("follows the endpoints of the Service", Label("short"), func(ctx SpecContext) {
		apply(ctx, byName)
		settled(ctx)
		old := awaitDNS(ctx)
		Expect(admin.Delete(ctx, &old, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(ctx, func() string { return awaitDNS(ctx).Status.PodIP }).ShouldNot(Equal(old.Status.PodIP))
		settled(ctx)
		expectRaces(ctx, 20)
	}, SpecTimeout(3*minute))

	It("learns nothing from a server that no Service leads to any more", func(ctx SpecContext) {
		apply(ctx, byName)
		settled(ctx)
		service := parse(dnsService)[0]
		remove(ctx, service)
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Create(ctx, parse(dnsService)[0])).To(Succeed()) })
		web := pods.at("alpha/web")
		server := netip.AddrPortFrom(netip.MustParseAddr(awaitDNS(ctx).Status.PodIP), 53)
		Eventually(ctx, func(g Gomega) {
			r, err := web.probe.Race(ctx, probe.RaceRequest{Server: server, Names: newNames(3), Port: hostPort, Patience: 500 * time.Millisecond})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect([]int{r.Answered, r.Failed}).To(Equal([]int{3, 3}), r.String())
		}).WithTimeout(minute).Should(Succeed())
	}, SpecTimeout(3*minute))

	It("lets DNS and what is known go on when agents are killed, and learns again when they are back", func(ctx SpecContext) {
		apply(ctx, byName)
		settled(ctx)
		server := dnsServers(ctx)[0]
		for _, from := range askers() {
			// A name that the rule spells out makes no room for the many. The agent has asked for
			// it itself.
			to := netip.AddrPortFrom(shop()[0], hostPort).String()
			Eventually(ctx, func(g Gomega) {
				results, err := from.probe.Probes(ctx, []probe.Request{{Network: probe.TCP, To: to}})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(results[0].Outcome).To(Equal(probe.Answered), "%s to %s", from, to)
			}).Should(Succeed())
			stream, err := from.probe.Start(ctx, probe.StreamRequest{Kind: probe.Connections, To: to})
			Expect(err).NotTo(HaveOccurred())
			whole := func(when string) {
				GinkgoHelper()
				c, err := from.probe.Counts(ctx, stream)
				Expect(err).NotTo(HaveOccurred())
				AddReportEntry("known", fmt.Sprintf("%s, %s: %s", from, when, c))
				Expect(c.Refused+c.Failed+c.Again).To(BeZero(), "%s, %s: %s", from, when, c)
			}

			// Answers alone: what nobody learns cannot be reached meanwhile.
			var meanwhile probe.RaceResult
			var asking sync.WaitGroup
			asking.Go(func() {
				defer GinkgoRecover()
				meanwhile, err = from.probe.Race(ctx, probe.RaceRequest{Server: server, Names: newNames(6000), Patience: 100 * time.Millisecond})
				Expect(err).NotTo(HaveOccurred())
			})
			whole("before the agent is killed")
			killAgent(ctx, from.node)
			whole("killed")
			asking.Wait()
			whole("after the answers")
			AddReportEntry("killed", fmt.Sprintf("%s: %s", from, meanwhile))
			// The second that answers may be held after the last sign of life, and the time
			// that a machine with other things to do takes.
			Expect(meanwhile.Silence).To(BeNumerically("<", 2*time.Second), meanwhile.String())
			Expect(meanwhile.Asked-meanwhile.Answered).To(BeNumerically("<", 25), meanwhile.String())
			Eventually(ctx, func() string { return agentProcess(ctx, from.node) }).WithTimeout(minute).ShouldNot(BeEmpty())
			whole("with another agent")
			counts, err := from.probe.Stop(ctx, stream)
			Expect(err).NotTo(HaveOccurred())
			Expect(counts.Lost()+counts.Refused+counts.Failed+counts.Again).To(BeZero(), "%s", counts)
		}
		settled(ctx)
		expectRaces(ctx, 50)
	}, SpecTimeout(6*minute))
}

// shop is the addresses of www.shop.example, one a family.
func shop() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.220.255.1"), netip.MustParseAddr("fd00:220::255:1")}
}
