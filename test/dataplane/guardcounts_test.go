package dataplane

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// counted returns a node's metrics of a guard's packets by action, and the
// policies that have metrics of rules.
func (c *cluster) counted(node, guard string) (packets map[string]float64, policies []string) {
	GinkgoHelper()
	g, err := c.fleet.Collect(node)
	Expect(err).NotTo(HaveOccurred())
	families, err := g.Gather()
	Expect(err).NotTo(HaveOccurred())
	packets = map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			switch {
			case f.GetName() == "tierwall_guard_packets_total" && labels["guard"] == guard:
				packets[labels["action"]] = m.GetCounter().GetValue()
			case strings.HasPrefix(f.GetName(), "tierwall_rule_"):
				policies = append(policies, labels["policy"])
			}
		}
	}
	return packets, policies
}

var _ = onEach("Guards' packets", func(p *plane) {
	onBoth("are metrics of the agent", Label("issue11-guards"), func(g ground) {
		c := g.raise(p, field()+guards("Count"))
		c.run()
		tries := forged(where("free"), tcp(friend, guarded, webPort), udp(friend6, inner6, dnsPort))
		packets, _ := c.counted("n1", "source")
		Expect(packets).To(Equal(map[string]float64{"dropped": 0, "counted": 0}))
		c.passes(tries...)
		packets, policies := c.counted("n1", "source")
		Expect(packets).To(HaveKeyWithValue("counted", BeNumerically(">=", 2)))
		Expect(packets).To(HaveKeyWithValue("dropped", BeZero()))
		Expect(policies).NotTo(BeEmpty())
		Expect(policies).NotTo(ContainElement(HavePrefix("Guard/")))
		c.apply(guards("Enforce"))
		c.becomeStopped(tries...)
		packets, _ = c.counted("n1", "source")
		Expect(packets).To(HaveKeyWithValue("dropped", BeNumerically(">=", 2)))
	})
})
